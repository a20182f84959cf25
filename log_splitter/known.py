"""Which keys have logs at all: without that, every `Host` header that a visitor makes up would be a file."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from log_splitter import line
from log_splitter.errors import BadValueError, shorten

_SQLITE = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html section 1.3
_COLUMNS = "select domain from user_wsgi_sites"


class Known:
    """The keys that a file names, read again when it changes.

    It is a text file (a domain a line; what follows a `#` is a comment) or the registry, if that is SQLite's.
    Raises OSError or BadValueError if it can't be read to begin with; later the last good state stays.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.keys = read_known(self.path)
        self._state = self._look()

    def refresh(self) -> bool:
        """Read it again if it has changed; whether the keys have. Raises OSError or BadValueError."""
        state = self._look()
        if state == self._state:
            return False
        self._state = state
        keys, self.keys = self.keys, read_known(self.path)
        return keys != self.keys

    def _look(self) -> tuple[object, ...]:
        # a registry in WAL mode is written to beside its file first
        return tuple(map(_state_of, (self.path, self.path.with_name(self.path.name + "-wal"))))


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns


def read_known(path: Path) -> frozenset[bytes]:
    """The canonical keys that a file names. Raises OSError, or BadValueError for what isn't a domain."""
    with path.open("rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            return _read_registry(path)
    keys = set()
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        word = text.partition(b"#")[0].strip()
        key = line.canonical(word)
        if key is not None:
            keys.add(key)
        elif word:
            raise BadValueError(f"{path}, line {number}: {shorten(word.decode(errors='replace'))} is no domain")
    return frozenset(keys)


def _read_registry(path: Path) -> frozenset[bytes]:
    import sqlite3  # milliseconds that only this pays for

    try:
        with closing(sqlite3.connect(f"file:{os.fspath(path)}?mode=ro", uri=True, timeout=3)) as database:
            return frozenset(str(row[0]).encode() for row in database.execute(_COLUMNS))
    except sqlite3.Error as error:
        raise BadValueError(f"registry {path}: {error}") from None
