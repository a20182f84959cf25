"""One rule for each kind of value in the configuration. Pure.

Every function gives back the value in the type that the program uses, or raises BadValueError whose text is the
rule alone; config.py puts the file and the key before it. No text repeats a database URL: it may hold a password.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from user_wsgi_wrapper.site import BadValueError, parse_domain, shorten

# What stands before `://` in a URL, and the dialect and driver that serve it.
DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mariadb+pymysql": "mariadb+pymysql",
}
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# Parameters that may be repeated for one address: the front listens to each of them in two server blocks.
_LISTEN_PARAMETERS = ("ssl", "http2", "proxy_protocol")
_HEADER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
PROXY_PROTOCOL = "proxy_protocol"
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_TOO_LONG_TO_QUOTE = 200


def text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise BadValueError(f"{_quote(value)} is not a string")
    return value


def number(least: int, most: int) -> Callable[[object], int]:
    """The rule of a whole number within bounds, both included."""

    def parse(value: object) -> int:
        whole = whole_number(value)
        if not least <= whole <= most:
            raise BadValueError(f"{_quote(value)}: from {least} to {most} is allowed")
        return whole

    return parse


def number_or_zero(least: int, most: int) -> Callable[[object], int]:
    """The rule of a whole number within bounds, both included, or 0."""

    def parse(value: object) -> int:
        whole = whole_number(value)
        if whole and not least <= whole <= most:
            raise BadValueError(f"{_quote(value)}: 0, or from {least} to {most} is allowed")
        return whole

    return parse


def one_of(*words: str) -> Callable[[object], str]:
    """The rule of a string that is one of `words`."""

    def parse(value: object) -> str:
        if text(value) not in words:
            raise BadValueError(f"{_quote(value)}: one of {', '.join(words)} is needed")
        return text(value)

    return parse


def whole_number(value: object) -> int:
    """A whole number; TOML's booleans are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadValueError(f"{_quote(value)} is not a whole number")
    return value


def seconds(least: float, most: float) -> Callable[[object], float]:
    """The rule of a duration in seconds, whole or not, within bounds."""

    def parse(value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise BadValueError(f"{_quote(value)} is not a number of seconds")
        if not math.isfinite(value) or not least <= value <= most:
            raise BadValueError(f"{_quote(value)}: from {least:g} to {most:g} seconds are allowed")
        return float(value)

    return parse


def database_url(value: object) -> URL:
    """A URL in SQLAlchemy's form, for one of the databases that the registry knows, its driver filled in."""
    if not isinstance(value, str):
        raise BadValueError("not a string")
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise BadValueError("not a database URL (dialect://user:password@host:port/database)") from None
    if url.drivername not in DRIVERS:
        raise BadValueError(f"{_quote(url.drivername)}: one of {', '.join(DRIVERS)} is needed before ://")
    url = url.set(drivername=DRIVERS[url.drivername])
    if not url.database:
        raise BadValueError("the URL names no database")
    if url.get_backend_name() == "sqlite":
        _check_sqlite(url)
    return url


def _check_sqlite(url: URL) -> None:
    if url.host or url.query or not (url.database or "").startswith("/"):
        raise BadValueError("an SQLite URL is sqlite:// and the absolute path of a file: sqlite:////path")


def listen_addresses(value: object) -> tuple[str, ...]:
    """Arguments of nginx's `listen`: an address with a port, then at most `ssl`, `http2` and `proxy_protocol`."""
    addresses = tuple(_listen_address(one) for one in _strings(value))
    if not addresses:
        raise BadValueError("at least one address is needed")
    named = [one.split(" ")[0] for one in addresses]
    for one in named:
        if named.count(one) > 1:
            raise BadValueError(f"{_quote(one)} is there twice")
    return addresses


def _listen_address(value: str) -> str:
    address, *parameters = value.split(" ")
    if any(one not in _LISTEN_PARAMETERS or parameters.count(one) > 1 for one in parameters):
        raise BadValueError(
            f"{_quote(value)}: only {', '.join(_LISTEN_PARAMETERS)} may follow the address, each once"
        )
    host, separator, port = address.rpartition(":")
    if not _PORT.fullmatch(port) or int(port) > 65535 or not _is_listen_host(host, bool(separator)):
        raise BadValueError(f"{_quote(value)}: PORT, ADDRESS:PORT, [IPv6]:PORT or *:PORT is needed")
    return value


def _is_listen_host(host: str, given: bool) -> bool:
    if not given or host == "*":
        return True
    try:
        if host.startswith("[") and host.endswith("]"):
            return ipaddress.IPv6Address(host[1:-1]).scope_id is None
        return bool(ipaddress.IPv4Address(host))
    except ipaddress.AddressValueError:
        return False


def networks(value: object) -> tuple[str, ...]:
    """Networks and addresses in CIDR notation (RFC 4632), as nginx spells them."""
    return tuple(_network(one) for one in _strings(value))


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        raise BadValueError(f"{_quote(value)} is not a network in CIDR notation, its host bits 0") from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.scope_id is not None:
        raise BadValueError(f"{_quote(value)}: a network has no zone")
    return str(network)


def header(value: object) -> str:
    """The name of the header with the visitor's address, or `proxy_protocol`."""
    name = text(value)
    if name != PROXY_PROTOCOL and not _HEADER.fullmatch(name):
        raise BadValueError(f"{_quote(value)} is neither a header's name nor {PROXY_PROTOCOL}")
    return name


def host(value: object) -> str:
    """A host name in its canonical form."""
    return parse_domain(text(value))


def account(value: object) -> str:
    """The name of an account of this machine; whether there is one is for the caller to see."""
    name = text(value)
    if not _ACCOUNT.fullmatch(name):
        raise BadValueError(f"{_quote(value)} is not the name of an account")
    return name


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadValueError(f"{_quote(value)} is not a list of strings")
    return value


def _quote(value: object) -> str:
    try:
        return shorten(value) if isinstance(value, str) else repr(value)[:_TOO_LONG_TO_QUOTE]
    except ValueError:  # an int of more digits than Python prints
        return "the value"
