"""A registry with very many domains, filled by the database itself: a site a domain, of fewer tenants."""

from __future__ import annotations

import sqlalchemy as sa

from user_wsgi_wrapper.emperor_hook.config import Config
from user_wsgi_wrapper.emperor_hook.database import Database
from user_wsgi_wrapper.emperor_hook.registry import open_registry
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

FIRST_ID = 200_000
# What each database calls a list of numbers from 0, and a number with leading zeros.
_NUMBERS = {
    "sqlite": "(with recursive s(n) as (select 0 union all select n + 1 from s where n < {last}) select n from s) t",
    "postgresql": "generate_series(0, {last}) as t(n)",
    "mysql": "(select seq as n from seq_0_to_{last}) t",
}
_PADDED = {
    "sqlite": "printf('%07d', {number})",
    "postgresql": "lpad(cast({number} as text), 7, '0')",
    "mysql": "lpad({number}, 7, '0')",
}
_JOINED = {
    "sqlite": "'{0}' || {1} || '{2}'",
    "postgresql": "'{0}' || {1} || '{2}'",
    "mysql": "concat('{0}', {1}, '{2}')",
}


def domain(number: int) -> str:
    """The domain of that number, from 0."""
    return f"site{number:07}.example"


def username(number: int) -> str:
    """The user name of a tenant, from 0."""
    return f"User{number:07}"


def fill(config: Config, layout: Layout, domains: int, tenants: int) -> None:
    """Put `domains` sites of `tenants` tenants into an empty registry, in two statements."""
    registry = open_registry(config, layout)
    registry.find("nobody.example")  # makes the tables
    registry.close()
    url = config.registry.url
    backend = "mysql" if url.get_backend_name() == "mariadb" else url.get_backend_name()
    plain = Site(domain(0), username(0))
    settings = f"'{plain.wsgi_file}', '[]', '[]', 1, 1, {plain.idle}, '{plain.log_format}'"
    statements = (
        "insert into user_wsgi_users (username, folded, uid, gid) "
        f"select {_text(backend, 'User', 'n')}, {_text(backend, 'user', 'n')}, {FIRST_ID} + n, {FIRST_ID} + n "
        f"from {_NUMBERS[backend].format(last=tenants - 1)}",
        "insert into user_wsgi_sites "
        "(domain, username, wsgi_file, static, env, processes, threads, idle, log_format) "
        f"select {_text(backend, 'site', 'n', '.example')}, {_text(backend, 'User', f'n % {tenants}')}, {settings} "
        f"from {_NUMBERS[backend].format(last=domains - 1)}",
    )
    database = Database(url, 600.0, read_only=False)
    try:
        with database.writing() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
        if backend == "postgresql":
            with database.writing() as connection:
                connection.execute(sa.text("analyze"))
    finally:
        database.close()


def _text(backend: str, before: str, number: str, after: str = "") -> str:
    return _JOINED[backend].format(before, _PADDED[backend].format(number=number), after)
