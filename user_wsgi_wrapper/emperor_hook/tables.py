"""The registry's tables, and how a site becomes a row and a row a site.

The registry may share a database with an operator's own tables, so every name begins with user_wsgi_.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from user_wsgi_wrapper import site as law
from user_wsgi_wrapper.site import BadValueError, Site, parse_env, parse_static, shorten

VERSION = 3
MOST_BYTES = 65535  # of a site's static mappings, and of its environment

_MYSQL = ("mysql", "mariadb")


def _name(length: int) -> sa.types.TypeEngine[str]:
    """ASCII that is compared and sorted byte by byte; MySQL's own collations ignore case."""
    exact = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql").with_variant(exact, *_MYSQL)


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


metadata = sa.MetaData()
_IN_MYSQL: Any = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}

# One row. Whoever writes locks it first, so that writers take turns.
schema = sa.Table(
    "user_wsgi_schema", metadata, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False), **_IN_MYSQL
)
users = sa.Table(
    "user_wsgi_users",
    metadata,
    sa.Column("username", _name(64), primary_key=True),
    sa.Column("folded", _name(64), nullable=False, unique=True),
    sa.Column("uid", sa.BigInteger, nullable=False, unique=True),
    sa.Column("gid", sa.BigInteger, nullable=False, unique=True),
    **_IN_MYSQL,
)
sites = sa.Table(
    "user_wsgi_sites",
    metadata,
    sa.Column("domain", _name(253), primary_key=True),
    sa.Column("username", _name(64), sa.ForeignKey(users.c.username), nullable=False, index=True),
    sa.Column("wsgi_file", _text(), nullable=False),
    sa.Column("static", _text(), nullable=False),
    sa.Column("check_static", _text()),
    sa.Column("virtualenv", _text()),
    sa.Column("env", _text(), nullable=False),
    sa.Column("processes", sa.Integer, nullable=False),
    sa.Column("threads", sa.Integer, nullable=False),
    sa.Column("idle", sa.Integer, nullable=False),
    sa.Column("memory", sa.Integer),
    sa.Column("log_format", _name(16), nullable=False),
    sa.Column("preflight", _name(16), nullable=False, server_default="import"),
    *(sa.Column(name, sa.Integer) for name in law.LIMITS),
    **_IN_MYSQL,
)

# What each version has more than the one before, from the second on.
ADDED: tuple[tuple[sa.Column[Any], ...], ...] = ((sites.c.preflight,), tuple(sites.c[name] for name in law.LIMITS))

_PAIRS = ("static", "env")
_TYPES: Mapping[str, tuple[type, ...]] = {
    column.name: (*((type(None),) if column.nullable else ()), int if isinstance(column.type, sa.Integer) else str)
    for column in sites.columns
}


def to_row(site: Site) -> dict[str, Any]:
    """The row of a lawful site; raises BadValueError for any other."""
    check(site)
    row = {name: getattr(site, name) for name in _TYPES}
    for name in _PAIRS:
        row[name] = json.dumps(row[name])
        if len(row[name]) > MOST_BYTES:
            raise BadValueError(f"{name}: {len(row[name])} bytes in all, at most {MOST_BYTES} are allowed")
    return row


def to_site(columns: sa.Row[Any]) -> Site:
    """The site of a row of `sites`; raises BadValueError, which names the domain, for what is no lawful site."""
    row = columns._mapping
    try:
        return check(Site(**{name: _value(name, row[name]) for name in _TYPES}))
    except BadValueError as error:
        raise BadValueError(f"site {shorten(str(row['domain']))} in the registry: {error}") from None


def _value(name: str, value: object) -> Any:
    if not isinstance(value, _TYPES[name]):
        raise BadValueError(f"{name} {shorten(str(value))}: it is of the wrong type")
    return _pairs(name, str(value)) if name in _PAIRS else value


def _pairs(name: str, text: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = json.loads(text)
    except (ValueError, RecursionError):
        pairs = None
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise BadValueError(f"{name} {shorten(text)}: it is not a JSON list of pairs of strings")
    return tuple((first, second) for first, second in pairs)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)


def check(site: Site) -> Site:
    """The site itself, if it keeps the law and can be stored; raises BadValueError."""
    law.check(site)
    for pair in site.static:
        if parse_static("=".join(pair)) != pair:
            raise BadValueError(f"static mapping {shorten('='.join(pair))}: not in its canonical form")
    for pair in site.env:
        if parse_env("=".join(pair)) != pair:
            raise BadValueError(f"environment name {shorten(pair[0])}: '=' is not allowed in it")
    for text in _texts(site):
        if not _is_unicode(text):
            raise BadValueError(f"value {shorten(text)}: it is not valid text")
    return site


def _texts(site: Site) -> list[str]:
    paths = [site.wsgi_file, site.check_static or "", site.virtualenv or ""]
    return paths + [text for pair in (*site.static, *site.env) for text in pair]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
