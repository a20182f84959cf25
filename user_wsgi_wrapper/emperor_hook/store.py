"""The registry's database with its tables in place: made by whoever needs them first, once, whoever else tries."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import URL, Connection
from sqlalchemy.schema import CreateColumn

from user_wsgi_wrapper.emperor_hook import tables
from user_wsgi_wrapper.emperor_hook.database import Database

_ADVISORY_LOCK = 0x75777367  # any number that others in the same PostgreSQL database don't use
_LOOK_AGAIN = 0.01


class Store:
    """Transactions on the registry's tables. Raises RegistryDownError."""

    def __init__(self, url: URL, timeout: float) -> None:
        self.database = Database(url, timeout, read_only=False)
        self._timeout = timeout
        self._is_ready = False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        self._prepare()
        with self.database.reading() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other writer's overlaps, in whichever process; all of it happens or nothing."""
        self._prepare()
        with self._turn(), self.database.writing() as connection:
            _lock(connection)
            yield connection

    def _turn(self) -> AbstractContextManager[None]:
        """SQLite's writers don't queue, they try again: with many threads one of them would come too late."""
        return self.database.turns() if self.database.backend == "sqlite" else nullcontext()

    def _prepare(self) -> None:
        if self._is_ready:
            return
        with self.database.turns():
            if not self._is_ready:
                self._prepare_alone()
                self._is_ready = True

    def _prepare_alone(self) -> None:
        if self.database.backend == "sqlite":
            self._prepare_file(Path(self.database.url.database or ""))
        with self.database.reading() as connection:
            version = _version(connection) if sa.inspect(connection).has_table(tables.schema.name) else None
        if version is None:
            version = self._create()
        if version < tables.VERSION:
            version = self._upgrade()
        if version != tables.VERSION:
            raise self.database.down(f"its tables are of version {version}, this program knows {tables.VERSION}")

    def _create(self) -> int:
        """Make what is missing of the tables, one creator at a time; the version that is there in the end."""
        with self._named_lock(), self.database.writing() as connection:
            if self.database.backend == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            tables.metadata.create_all(connection)
            version = _version(connection)
            if version is None:
                version = tables.VERSION
                connection.execute(tables.schema.insert().values(version=version))
            return version

    def _upgrade(self) -> int:
        """Add to the tables what later versions of this program have put there; the version that they are of then."""
        with self._named_lock(), self.database.writing() as connection:
            _lock(connection)
            version = _version(connection) or 0
            for columns in tables.ADDED[version - 1 :]:
                for column in columns:
                    connection.execute(_add_column(column, connection))
                version += 1
            connection.execute(tables.schema.update().values(version=version))
            return version

    @contextmanager
    def _named_lock(self) -> Iterator[None]:
        """MySQL commits before and after each CREATE, so there it takes a lock that outlives transactions."""
        if self.database.backend in ("sqlite", "postgresql"):
            yield
            return
        name = f"{tables.schema.name} {self.database.url.database}"[:64]
        with self.database.reading() as connection:
            if connection.scalar(sa.select(sa.func.get_lock(name, self._timeout / 2))) != 1:
                raise self.database.down("another process is creating the tables and does not come to an end")
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.release_lock(name)))

    def _prepare_file(self, path: Path) -> None:
        """An SQLite file that root alone may read, in WAL mode: readers then don't wait for a writer."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            self._set_wal(path)
        except OSError as error:
            raise self.database.down(error) from None
        except sqlite3.Error as error:
            raise self.database.down(error) from None

    def _set_wal(self, path: Path) -> None:
        """SQLite's own wait for a lock doesn't cover the change of mode, so several may have to try again."""
        deadline = time.monotonic() + self._timeout
        while True:
            connection = sqlite3.connect(path, timeout=self._timeout)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            finally:
                connection.close()
            time.sleep(_LOOK_AGAIN)


def _version(connection: Connection) -> int | None:
    return connection.scalar(sa.select(tables.schema.c.version))


def _add_column(column: sa.Column[Any], connection: Connection) -> sa.TextClause:
    definition = CreateColumn(column).compile(dialect=connection.dialect)
    return sa.text(f"ALTER TABLE {column.table.name} ADD COLUMN {definition}")


def _lock(connection: Connection) -> None:
    """Wait until no other writer is at work. SQLite's BEGIN IMMEDIATE has waited already and ignores FOR UPDATE."""
    connection.execute(sa.select(tables.schema.c.version).with_for_update()).all()
