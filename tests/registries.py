"""What the tests of the registry share: configurations, a site with every field set, an operator's shell."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook.config import Config
from user_wsgi_wrapper.emperor_hook.database import Database
from user_wsgi_wrapper.emperor_hook.registry import RegistryDownError
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

TIMEOUT = 1.0
# An answer takes at most: a ping of the pooled connection, then a new connection, for which libpq takes 2 s at least.
DOWN_WITHIN = 6.0
LAYOUT = Layout(Path("/nowhere"))
# Every field differs from its default; text of the sort that a careless column would change.
FULL = Site(
    "full.example",
    "Alice",
    wsgi_file="/var/www/Größe/日本/𝄞.py",
    static=(("/static", "/var/www/static"), ("/m'ed\"ia", "/var/www/%s;--\\")),
    check_static="/var/www/Pub lic",
    virtualenv="/home/Alice/.venv",
    env=(("A", "1"), ("B", ""), ("C", "k=v ' \" \\ % :x 𝄞")),
    processes=2,
    threads=3,
    idle=4,
    memory=512,
    log_format="json",
    preflight="compile",
    tasks_max=5,
    memory_max=600,
    cpu_quota=70,
    open_files=800,
    log_rate=9,
)


def config_for(url: sa.URL) -> Config:
    """A configuration with this registry and little patience."""
    return Config(configuration.RegistrySettings(url, url, timeout=TIMEOUT))


def sqlite_config(path: Path) -> Config:
    """One with a registry in this file."""
    url = sa.URL.create("sqlite+pysqlite", database=str(path))
    return config_for(url)


def with_lookup(config: Config, query: str) -> Config:
    """The same, with a query over the operator's own tables."""
    return replace(config, registry=replace(config.registry, lookup_query=query))


def execute(config: Config, *statements: str) -> None:
    """What an operator types into the database's shell."""
    if config.registry.url.get_backend_name() == "sqlite":
        Path(config.registry.url.database).touch()
    database = Database(config.registry.url, TIMEOUT, read_only=False)
    with database.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    database.close()


# PyMySQL leaves a socket that was refused to the collector; assert_down_soon() has it come at once.
refused_sockets_linger = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def assert_down_soon(ask) -> str:
    """It says that the registry is down, soon; what it says."""
    began = time.monotonic()
    with pytest.raises(RegistryDownError) as caught:
        ask()
    assert time.monotonic() - began < DOWN_WITHIN
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    del caught
    gc.collect()
    return message
