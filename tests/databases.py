"""Real database servers for tests: temporary clusters on unix sockets, nothing of the system's own services.

A server runs as its own account, for both refuse to run as root; its folder therefore lies outside pytest's, which
only root may enter. `with PostgreSQL() as server:` leaves no process and no file.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil
import psycopg
import pymysql

_PATIENCE = 30.0  # seconds that a server has to come up or to end
_POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql/15/bin")


def wait_until(happened: Callable[[], bool], what: str, patience: float = _PATIENCE) -> None:
    """Poll until it happened; AssertionError if it doesn't in time."""
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {patience:g} s"
        time.sleep(0.02)


class Server:
    """A server's folder and its process. Subclasses know the programs."""

    account = ""
    backend = ""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"uww-{self.backend}-", dir="/tmp"))
        entry = pwd.getpwnam(self.account)
        os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"test_{number}" for number in itertools.count(1))

    def __enter__(self) -> Self:
        try:
            self._run(self._creation())
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_account()
            )
        wait_until(self._answers, f"{self.backend} answers")

    def start_again(self) -> None:
        """Start the server unless it runs."""
        if self._process is None:
            self.start()

    def kill(self) -> None:
        """SIGKILL to the server and to every process it started."""
        if self._process is None:
            return
        family = self._family()
        for one in family:
            _send(one, signal.SIGKILL)
        self._process.wait(_PATIENCE)
        wait_until(lambda: all(map(_is_gone, family)), f"{self.backend} ends")
        self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server takes connections, as its kernel does that, but neither reads nor answers."""
        family = self._family()
        for one in family:
            _send(one, signal.SIGSTOP)
        try:
            yield
        finally:
            for one in family:
                _send(one, signal.SIGCONT)

    def new_url(self) -> str:
        """The URL of an empty place for tables."""
        name = next(self._names)
        self.execute(f"CREATE SCHEMA {name}")
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Run a statement as the server's administrator."""
        raise NotImplementedError

    def url(self, schema: str) -> str:
        """The URL of a schema, as it stands in the configuration."""
        raise NotImplementedError

    def _creation(self) -> Sequence[str]:
        raise NotImplementedError

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.backend} ended: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")
        try:
            self.execute("SELECT 1")
        except (psycopg.OperationalError, pymysql.err.OperationalError, OSError):
            return False
        return True

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **self._as_account())
        assert done.returncode == 0, f"{command[0]}: {done.stdout[-1000:]}{done.stderr[-1000:]}"

    def _as_account(self) -> dict:
        return {"user": self.account, "group": self.account, "extra_groups": [], "cwd": self.folder}

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            head = psutil.Process(self._process.pid)
            return [head, *head.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class PostgreSQL(Server):
    """A PostgreSQL 15 cluster."""

    account = "postgres"
    backend = "postgresql"

    def execute(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def url(self, schema: str) -> str:
        # a schema of one database: to create a database takes PostgreSQL a thousand files
        return f"postgresql://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{schema}"

    def _creation(self) -> Sequence[str]:
        initdb = str(_POSTGRESQL_PROGRAMS / "initdb")
        data = str(self.folder / "data")
        # a locale that sorts otherwise than bytes do, as most servers have
        return [initdb, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]

    def _command(self) -> Sequence[str]:
        settings = (
            "listen_addresses=",
            f"unix_socket_directories={self.folder}",
            "fsync=off",
            "shared_buffers=16MB",
            "dynamic_shared_memory_type=mmap",
        )  # nothing of a killed server stays in /dev/shm
        program = [str(_POSTGRESQL_PROGRAMS / "postgres"), "-D", str(self.folder / "data")]
        return program + [word for setting in settings for word in ("-c", setting)]


class MariaDB(Server):
    """A MariaDB server."""

    account = "mysql"
    backend = "mariadb"

    @property
    def socket_path(self) -> str:
        """Where it listens."""
        return str(self.folder / "socket")

    def execute(self, statement: str) -> None:
        with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL leaves a refused socket to the collector
            probe.connect(self.socket_path)
        with pymysql.connect(unix_socket=self.socket_path, user="root") as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def url(self, schema: str) -> str:
        return f"mysql://root@/{schema}?unix_socket={self.socket_path}"

    def _creation(self) -> Sequence[str]:
        return [
            "/usr/bin/mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]

    def _command(self) -> Sequence[str]:
        return [
            "/usr/sbin/mariadbd",
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket_path}",
            f"--pid-file={self.folder / 'pid'}",
            "--skip-networking",
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=2",
        ]


class SQLite:
    """The default registry's kind: files in a folder of their own. It has no server to kill."""

    backend = "sqlite"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="uww-sqlite-", dir="/tmp"))
        self._names = (f"test_{number}.db" for number in itertools.count(1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def new_url(self) -> str:
        """The URL of a file that isn't there yet."""
        return f"sqlite:///{self.folder / next(self._names)}"


BACKENDS = {kind.backend: kind for kind in (SQLite, PostgreSQL, MariaDB)}


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # an orphan that init has not collected yet
    except psutil.NoSuchProcess:
        return True


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):  # it ended by itself
        process.send_signal(number)
