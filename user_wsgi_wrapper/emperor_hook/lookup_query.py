"""The operator's own SELECT that maps a domain to a user. Pure: what is sent to the database, what its answer means.

The query is taken as it would be typed into the database's shell, but for its placeholders: `%s` or `:domain`,
outside quotes and comments. Nothing in it needs escaping: LIKE 'x%', '12:30' and id::text mean what they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from user_wsgi_wrapper.site import BadValueError, parse_username, shorten

LABELS = ("cased_username", "username")  # the column with the user name; the first that is there

_STRING = r"'(?:[^']|'')*'"
_BACKSLASH_STRING = r"'(?:[^'\\]|''|\\.)*'"
_QUOTED_NAME = r'"(?:[^"]|"")*"'
_BACKTICKED = r"`(?:[^`]|``)*`"
_DASHES = r"--[^\n]*"
_BLOCK_COMMENT = r"/\*.*?\*/"
_PLACEHOLDER = r"(?P<placeholder>%s(?![A-Za-z0-9_$])|(?<![:\w]):domain(?![A-Za-z0-9_$]))"
# What each database takes for a string, a quoted name or a comment.
_OPAQUE = {
    "sqlite": (_STRING, _QUOTED_NAME, _BACKTICKED, _DASHES, _BLOCK_COMMENT),
    "postgresql": (
        rf"(?<!\w)[eE]{_BACKSLASH_STRING}",
        _STRING,
        _QUOTED_NAME,
        r"(?<![\w$])\$(?P<tag>[A-Za-z_]?\w*)\$.*?\$(?P=tag)\$",
        _DASHES,
        _BLOCK_COMMENT,
    ),
    "mysql": (
        _BACKSLASH_STRING,
        r'"(?:[^"\\]|""|\\.)*"',
        _BACKTICKED,
        r"--(?=\s|\Z)[^\n]*",
        r"#[^\n]*",
        _BLOCK_COMMENT,
    ),
}
_OPAQUE["mariadb"] = _OPAQUE["mysql"]
_FIRST_WORD = re.compile(r"(?:select|with)\b", re.IGNORECASE)


@dataclass(frozen=True)
class LookupQuery:
    """A query cut at its placeholders: one piece more than there are placeholders."""

    pieces: tuple[str, ...]

    def statement(self, paramstyle: str) -> str:
        """The query for a driver (PEP 249 `paramstyle`), with a parameter of the name `domain`."""
        if paramstyle in ("format", "pyformat"):
            return "%(domain)s".join(piece.replace("%", "%%") for piece in self.pieces)
        return ":domain".join(self.pieces)


def parse(text: str, backend: str) -> LookupQuery:
    """Cut a query at its placeholders by the rules of `backend`: sqlite, postgresql, mysql or mariadb.

    Raises BadValueError for what is no single SELECT with a placeholder.
    """
    token = re.compile("|".join((*(f"(?:{one})" for one in _OPAQUE[backend]), _PLACEHOLDER, ".")), re.DOTALL)
    pieces = [""]
    for match in token.finditer(text.strip().removesuffix(";")):
        found = match.group()
        if match["placeholder"]:
            pieces.append("")
            continue
        if found in ("'", '"', ";", "\0"):
            _refuse(found)
        pieces[-1] += found
    if not _FIRST_WORD.match(pieces[0]):
        raise BadValueError(f"{shorten(text)} is not a SELECT")
    if len(pieces) == 1:
        raise BadValueError("there is no placeholder %s or :domain outside quotes and comments")
    return LookupQuery(tuple(pieces))


def _refuse(character: str) -> None:
    if character == ";":
        raise BadValueError("it is more than one statement")
    if character == "\0":
        raise BadValueError("a NUL character is not allowed")
    raise BadValueError(f"a quote ({character}) is not closed")


def username(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str | None:
    """The one user name that the rows tell, None if they tell none (no row, or NULL).

    Raises BadValueError if they tell several, if it is none by the naming law, or if it's unclear which column it is.
    """
    column = _column(columns)
    found: str | None = None
    for row in rows:
        name = _name(row[column])
        if found is not None and name is not None and name != found:
            raise BadValueError(f"it gives two users for one domain, {shorten(found)} and {shorten(name)}")
        found = found or name
    return found


def _column(columns: Sequence[str]) -> int:
    labels = [label.lower() for label in columns]
    for label in LABELS:
        if label in labels:
            return labels.index(label)
    if len(labels) == 1:
        return 0
    raise BadValueError(
        f"of its columns ({', '.join(map(shorten, columns))}) one must be named {' or '.join(LABELS)}"
    )


def _name(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):  # a binary column, MySQL's way to compare exactly
        value = value.decode("latin-1")
    if not isinstance(value, str):
        raise BadValueError(f"its username {shorten(repr(value))} is not text")
    return parse_username(value)
