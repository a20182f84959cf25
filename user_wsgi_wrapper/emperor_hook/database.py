"""One database reached in bounded time: how to connect to each kind, and what its failures are called."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from user_wsgi_wrapper.emperor_hook.turnstile import Turnstile
from user_wsgi_wrapper.site import BadValueError

_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}
# More would only wait for each other: between two answers of the database a look-up is at work in Python.
_CONNECTIONS = 8
_WRITES = "user_wsgi_wrapper_writes"
_HAS_CONCAT = (3, 44)  # the first SQLite with a concat() of its own


class RegistryDownError(Exception):
    """A database can't be asked: unreachable, too slow or refusing. str() is one line without a password."""


class Database:
    """A database and this process's connections to it; nothing is connected before it is needed.

    Safe with threads; a process that was forked off makes its own connections. `timeout` is in seconds.
    """

    def __init__(self, url: URL, timeout: float, *, read_only: bool) -> None:
        self.url = url
        self.backend = url.get_backend_name()
        self._timeout = timeout
        self._read_only = read_only
        self._process = _Process(None)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing. Raises RegistryDownError."""
        with self._connected() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, committed at the end unless an exception leaves it. Raises RegistryDownError."""
        with self._connected() as connection:
            connection = connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    @contextmanager
    def turns(self) -> Iterator[None]:
        """One thread of this process at a time. Raises RegistryDownError if the others take too long."""
        lock = self._current_process().turns
        if not lock.acquire(timeout=2 * self._timeout):
            raise self.down(f"it did not answer another thread within {2 * self._timeout:g} s")
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        """Close the connections that no one is using. They're made again when needed."""
        process = self._process
        if process.pid == os.getpid() and process.engine is not None:
            process.engine.dispose()

    def _current_process(self) -> _Process:
        process = self._process
        if process.pid != os.getpid():
            # uWSGI forks without Python's at-fork hooks, hence this look at the pid
            process = self._process = _Process(process)
        return process

    def _current_engine(self) -> Engine:
        process = self._current_process()
        with process.lock:
            if process.engine is None:
                process.engine = _make_engine(self.url, self._timeout, self._read_only)
            return process.engine

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection, first come, first served: by itself, the pool lets some threads starve."""
        places = self._current_process().places
        with self._explained(), places.turn(self._timeout), self._current_engine().connect() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self.down(error.orig) from None
        except (SQLAlchemyError, OSError) as error:
            raise self.down(error) from None

    def down(self, why: BaseException | str | None) -> RegistryDownError:
        """The error that says that this database can't be asked, and why, on one line."""
        text = why if isinstance(why, str) else _message(why)
        for secret in _secrets(self.url):
            text = text.replace(secret, "***")
        return RegistryDownError(f"registry {_public(self.url)}: {text}")


class _Process:
    """What belongs to one process. A child keeps its parent's from the collector: it may neither use nor close it."""

    def __init__(self, inherited: _Process | None) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.turns = threading.Lock()
        self.places = Turnstile(_CONNECTIONS)
        self.engine: Engine | None = None
        self._inherited = inherited


def _message(error: BaseException | None) -> str:
    parts = [part for part in getattr(error, "args", ()) if isinstance(part, str)]
    lines = [line.strip() for part in reversed(parts) for line in part.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _secrets(url: URL) -> list[str]:
    values = [url.password] if url.password else []
    for key, value in url.query.items():
        if "pass" in key.lower():
            values.extend([value] if isinstance(value, str) else value)
    return [value for value in values if value]


def _public(url: URL) -> str:
    return url.set(drivername=url.get_backend_name(), password=None, query={}).render_as_string()


def _make_engine(url: URL, timeout: float, read_only: bool) -> Engine:
    build = {"sqlite": _sqlite, "postgresql": _postgresql}.get(url.get_backend_name(), _mysql)
    try:
        return build(url, timeout, read_only)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(str(error.name), "")
        raise BadValueError(
            f"registry {_public(url)}: the driver {error.name} is not installed (user-wsgi-wrapper[{extra}])"
        ) from None


def _pooled(url: URL, timeout: float, **arguments: Any) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=timeout,
        pool_use_lifo=True,
        hide_parameters=True,
        **arguments,
    )


def _sqlite(url: URL, timeout: float, read_only: bool) -> Engine:
    """No pool: opening a file is cheap, and nothing of SQLite's may live through a fork."""
    file = f"file:{quote(url.database or '')}?mode={'ro' if read_only else 'rw'}"

    def connect() -> sqlite3.Connection:
        # isolation_level None: the module begins no transaction of its own, `begin` below does
        connection = sqlite3.connect(file, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        if sqlite3.sqlite_version_info < _HAS_CONCAT:
            connection.create_function("concat", -1, _concat, deterministic=True)
        return connection

    def begin(connection: Connection) -> None:
        # a reader that becomes a writer half-way would be refused at once if another came first
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "begin", begin)
    return engine


def _concat(*values: object) -> str:
    return "".join(str(value) for value in values if value is not None)


def _postgresql(url: URL, timeout: float, read_only: bool) -> Engine:
    from user_wsgi_wrapper.emperor_hook.postgresql_connection import BoundedConnection

    class Bounded(BoundedConnection):
        answer_timeout = timeout

    milliseconds = int(timeout * 1000)
    options = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
    if read_only:
        options += " -c default_transaction_read_only=on"
    given = url.query.get("options")
    arguments = {
        "connect_timeout": math.ceil(timeout),  # libpq counts whole seconds, 2 at least
        "options": f"{given} {options}" if given else options,
    }
    engine = _pooled(url, timeout, connect_args=arguments, isolation_level="READ COMMITTED")

    def connect(_dialect: object, _record: object, args: Any, parameters: Any) -> BoundedConnection:
        return Bounded.connect(*args, **parameters)

    event.listen(engine, "do_connect", connect)
    return engine


def _mysql(url: URL, timeout: float, read_only: bool) -> Engine:
    arguments = {
        "connect_timeout": timeout,
        "read_timeout": timeout,
        "write_timeout": timeout,
        "charset": "utf8mb4",
    }
    engine = _pooled(url, timeout, connect_args=arguments, isolation_level="REPEATABLE READ")

    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            for statement in _mysql_session("MariaDB" in connection.get_server_info(), timeout, read_only):
                cursor.execute(statement)

    event.listen(engine, "connect", prepare)
    return engine


def _mysql_session(mariadb: bool, timeout: float, read_only: bool) -> Iterator[str]:
    """What a session is told first. The client gives up by itself; this is so that the server does too."""
    yield f"SET SESSION innodb_lock_wait_timeout = {math.ceil(timeout)}"
    if mariadb:
        yield f"SET SESSION max_statement_time = {timeout:g}"
    else:
        yield f"SET SESSION max_execution_time = {int(timeout * 1000)}"
    if read_only:
        yield "SET SESSION TRANSACTION READ ONLY"
