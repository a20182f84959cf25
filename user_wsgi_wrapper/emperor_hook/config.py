"""The operator's configuration: one TOML file, every key optional, every value checked before anything uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomllib
from sqlalchemy import URL

from user_wsgi_wrapper import site
from user_wsgi_wrapper.emperor_hook import config_values as values
from user_wsgi_wrapper.emperor_hook import lookup_query
from user_wsgi_wrapper.emperor_hook.unix_ids import NOBODY
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site


class ConfigError(BadValueError):
    """The configuration breaks a rule; str() is one line that names the file, the key and the rule."""


@dataclass(frozen=True)
class RegistrySettings:
    """[registry]: where the sites are kept, and where else a domain is looked up.

    `lookup_query` is a SELECT with a placeholder, see lookup_query.py; `timeout`, in seconds, bounds the wait for a
    connection and for each answer.
    """

    url: URL
    lookup_url: URL
    lookup_query: str | None = None
    timeout: float = 3.0


@dataclass(frozen=True)
class IdRange:
    """[ids]: the numbers that uids and gids are allocated from, both ends included."""

    first: int = 200_000
    last: int = 299_999


@dataclass(frozen=True)
class Front:
    """[front]: nginx. `listen` are arguments of its directive of that name, `read_timeout` is in seconds."""

    listen: tuple[str, ...] = ("127.0.0.1:8080",)
    real_ip_from: tuple[str, ...] = ()
    real_ip_header: str = "X-Forwarded-For"
    max_body_mib: int = 100
    user: str = "www-data"
    read_timeout: int = 60


@dataclass(frozen=True)
class SiteDefaults:
    """[sites]: what a new site gets unless told otherwise; units as in Site."""

    idle: int = 600
    processes: int = 1
    threads: int = 1
    memory: int | None = None

    def site(self, domain: str, username: str) -> Site:
        """A site with these settings; raises BadValueError."""
        return site.check(Site(domain, username, **dataclasses.asdict(self)))


@dataclass(frozen=True)
class Warm:
    """[warm]: seconds until a waiting visitor gets the waiting page and until a warm-up is a failure.

    `user` is the account of initialize's HTTP side.
    """

    page_after: float = 5.0
    give_up_after: float = 60.0
    threads: int = 64
    user: str = "uww-initialize"


@dataclass(frozen=True)
class LimitDefaults:
    """[limits]: what holds for a site that has no limit of its own; 0 for no limit, units as in Site.

    `memory_max` is for each of a site's `processes`. `cgroups` says what to do where a control group can't be made:
    `auto` does without it, `required` serves no site then, `off` makes none at all. `log_size`, in MiB, is what
    an error or server log may grow to.
    """

    cgroups: str = "auto"
    tasks_max: int = 128
    memory_max: int = 1024
    cpu_quota: int = 0
    open_files: int = 1024
    log_rate: int = 256
    log_size: int = 256


@dataclass(frozen=True)
class Web:
    """[web]: the pages that tenants and the operator look at, if they are given a `host` name of their own.

    `streams` are the live tails at a time, `threads` what else is answered at a time; `splitter_counters` is the
    file, below the root, that a log-splitter of this machine reports to (its option --counters).
    """

    host: str | None = None
    threads: int = 8
    streams: int = 24
    splitter_counters: str = "/run/log-splitter/counters.json"


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    registry: RegistrySettings
    ids: IdRange = field(default_factory=IdRange)
    front: Front = field(default_factory=Front)
    sites: SiteDefaults = field(default_factory=SiteDefaults)
    warm: Warm = field(default_factory=Warm)
    limits: LimitDefaults = field(default_factory=LimitDefaults)
    web: Web = field(default_factory=Web)


# section -> key -> the function that gives back a value of the right type or raises BadValueError with the rule
_Parser = Callable[[object], Any]
_KEYS: Mapping[str, Mapping[str, _Parser]] = {
    "registry": {
        "url": values.database_url,
        "lookup_url": values.database_url,
        "lookup_query": values.text,
        "timeout": values.seconds(0.1, 60),
    },
    "ids": {"first": values.number(1000, 2**31 - 1), "last": values.number(1000, 2**31 - 1)},
    "front": {
        "listen": values.listen_addresses,
        "real_ip_from": values.networks,
        "real_ip_header": values.header,
        "max_body_mib": values.number(1, 1 << 20),
        "user": values.account,
        "read_timeout": values.number(1, 86400),
    },
    "sites": {
        "idle": values.whole_number,
        "processes": values.whole_number,
        "threads": values.whole_number,
        "memory": values.whole_number,
    },
    "warm": {
        "page_after": values.seconds(0, 600),
        "give_up_after": values.seconds(1, 3600),
        "threads": values.number(1, 1024),
        "user": values.account,
    },
    "limits": {
        "cgroups": values.one_of("auto", "required", "off"),
        **{name: values.number_or_zero(*bounds) for name, bounds in site.LIMITS.items()},
        "log_size": values.number_or_zero(2, 1 << 20),
    },
    "web": {
        "host": values.host,
        "threads": values.number(1, 256),
        "streams": values.number(1, 1024),
        "splitter_counters": values.text,
    },
}


def load(layout: Layout, path: Path | None) -> Config:
    """Read `path`, or the layout's own file if there is one, or nothing: then everything has its default.

    Raises ConfigError for a file that isn't there, can't be read, isn't TOML or breaks a rule.
    """
    file = path or layout.config_file
    try:
        document = file.read_bytes()
    except FileNotFoundError:
        if path is not None:
            raise ConfigError(f"{file}: there is no such file") from None
        document = b""
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    try:
        return parse(document, URL.create("sqlite+pysqlite", database=str(layout.sites_db.absolute())))
    except BadValueError as error:
        raise ConfigError(f"{file}: {error}") from None


def parse(document: bytes, default_url: URL) -> Config:
    """The configuration that a TOML document spells; raises BadValueError with the key and the rule it breaks."""
    sections = _sections(document)
    found = {section: _read_section(section, sections.pop(section, {})) for section in _KEYS}
    for section in sections:
        raise BadValueError(f"[{section}]: there is no such section; {', '.join(_KEYS)} are known")
    registry = found["registry"]
    url = registry.pop("url", default_url)
    config = Config(
        RegistrySettings(url=url, lookup_url=registry.pop("lookup_url", url), **registry),
        IdRange(**found["ids"]),
        Front(**found["front"]),
        SiteDefaults(**found["sites"]),
        Warm(**found["warm"]),
        LimitDefaults(**found["limits"]),
        Web(**found["web"]),
    )
    _check_together(config)
    return config


def _sections(document: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(document.decode())
    except UnicodeDecodeError:
        raise BadValueError("it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadValueError(f"it is not TOML: {error}") from None


def _read_section(section: str, table: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise BadValueError(f"{section}: it is not a section ([{section}] on a line of its own)")
    parsers = _KEYS[section]
    found = {}
    for key, value in table.items():
        if key not in parsers:
            raise BadValueError(
                f"{section}.{site.shorten(key)}: there is no such key; {', '.join(parsers)} are known"
            )
        try:
            found[key] = parsers[key](value)
        except BadValueError as error:
            raise BadValueError(f"{section}.{key}: {error}") from None
    return found


def _check_together(config: Config) -> None:
    """The rules that a value alone can't break."""
    if config.ids.first > config.ids.last:
        raise BadValueError(f"ids.first: {config.ids.first} is above ids.last, {config.ids.last}")
    if config.ids.first <= NOBODY <= config.ids.last:
        raise BadValueError(f"ids.first: the range has {NOBODY} (nobody) in it")
    front = config.front
    if front.real_ip_header == values.PROXY_PROTOCOL and not all("proxy_protocol" in one for one in front.listen):
        raise BadValueError("front.real_ip_header: proxy_protocol must stand at each address of front.listen too")
    if config.warm.user in ("root", front.user):
        raise BadValueError(f"warm.user: {config.warm.user} has other rights; an account of its own is needed")
    try:
        config.sites.site("site.example", "user")
    except BadValueError as error:
        raise BadValueError(f"sites: {error}") from None
    if config.registry.lookup_query is not None:
        try:
            lookup_query.parse(config.registry.lookup_query, config.registry.lookup_url.get_backend_name())
        except BadValueError as error:
            raise BadValueError(f"registry.lookup_query: {error}") from None
