"""Databases that fail, and the file of the default one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import BACKENDS, Server
from tests.registries import (
    FULL,
    LAYOUT,
    assert_down_soon,
    config_for,
    execute,
    refused_sockets_linger,
    sqlite_config,
    with_lookup,
)
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook.config_values import database_url
from user_wsgi_wrapper.emperor_hook.registry import Registry, open_registry
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that a test may kill; the next one finds it running again."""
    with BACKENDS[request.param]() as running:
        yield running


@pytest.fixture
def remote(own_server: Server) -> Iterator[Registry]:
    """A registry on it, in use."""
    url = database_url(own_server.new_url())
    opened = open_registry(config_for(url), LAYOUT)
    opened.add(FULL)
    yield opened
    opened.close()
    own_server.start_again()


@refused_sockets_linger
def test_a_killed_server_is_told_at_once_and_found_again(remote: Registry, own_server: Server) -> None:
    """While it is away every question says so; once it's back the same registry answers."""
    own_server.kill()
    assert_down_soon(lambda: remote.find("full.example"))
    assert_down_soon(lambda: remote.identity("Bob"))
    assert_down_soon(lambda: remote.add(Site("b.example", "Bob")))
    own_server.start()
    assert remote.find("full.example") == FULL
    remote.add(Site("b.example", "Bob"))


def test_of_many_threads_that_ask_all_the_time_none_starves(remote: Registry) -> None:
    """Everybody gets every answer, though there are far fewer connections."""
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(30):
                assert remote.find("full.example") == FULL
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_a_server_that_restarted_unnoticed_is_no_error(remote: Registry, own_server: Server) -> None:
    """A pooled connection is tried before it's used."""
    own_server.kill()
    own_server.start()
    assert remote.find("full.example") == FULL


@refused_sockets_linger
def test_a_server_that_hangs_is_given_up(remote: Registry, own_server: Server) -> None:
    """It accepts connections and never answers: nobody waits for ever, and later it's found again."""
    with own_server.frozen():
        assert_down_soon(lambda: remote.find("full.example"))
        assert_down_soon(lambda: remote.find("full.example"))
    assert remote.find("full.example") == FULL


def test_a_query_that_takes_too_long_is_given_up(own_server: Server) -> None:
    """The operator's query is bounded too, and the server doesn't go on with it."""
    url = database_url(own_server.new_url())
    nap = {"postgresql": "pg_sleep(20)", "mariadb": "sleep(20)"}[own_server.backend]
    query = f"SELECT 'Alice' AS username, {nap} WHERE 'a.example' = %s"
    registry = open_registry(with_lookup(config_for(url), query), LAYOUT)
    assert_down_soon(lambda: registry.find("a.example"))
    registry.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice:s3cret@127.0.0.1:1/db",
        "mysql://alice:s3cret@127.0.0.1:1/db",
        "postgresql://alice@127.0.0.1:1/db?password=s3cret",
        "postgresql://alice:s3cret@/db?host=/nowhere",
        "postgresql://alice:s3cret@127.0.0.1:1/db?s3cret=1",
        "mysql://alice:s3cret@/db?unix_socket=/nowhere",
    ],
)
@refused_sockets_linger
def test_no_error_tells_a_password(url: str) -> None:
    """Not the message, not what a log would print of the configuration."""
    parsed = database_url(url)
    config = config_for(parsed)
    registry = open_registry(config, LAYOUT)
    assert "s3cret" not in assert_down_soon(lambda: registry.find("a.example"))
    if "password=" not in url and "?s3cret" not in url:
        assert "s3cret" not in repr(config)


# SQLite's file


def test_the_default_registry_is_a_file_that_only_root_reads(tmp_path: Path) -> None:
    """Its folder is made, it is in WAL mode, and its companions are as closed as it is."""
    layout = Layout(tmp_path)
    registry = open_registry(configuration.load(layout, None), layout)
    registry.add(Site("a.example", "Alice"))
    assert layout.sites_db.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(layout.sites_db) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.execute("SELECT * FROM user_wsgi_sites").fetchall()
        modes = {path.name: path.stat().st_mode & 0o777 for path in layout.sites_db.parent.iterdir()}
    connection.close()
    assert modes == dict.fromkeys(("sites.db", "sites.db-wal", "sites.db-shm"), 0o600)


def test_a_file_that_others_can_read_is_closed(tmp_path: Path) -> None:
    """An operator's copy may have come with any mode."""
    path = tmp_path / "sites.db"
    path.touch(mode=0o644)
    open_registry(sqlite_config(path), LAYOUT).identity("Alice")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["a?mode=memory", "a#b", "a%41", "a b;'\"", "日本"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """No character of it is taken for a parameter."""
    registry = open_registry(sqlite_config(tmp_path / name), LAYOUT)
    registry.add(FULL)
    assert registry.find("full.example") == FULL
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_file_that_is_no_database_is_told_and_kept(tmp_path: Path) -> None:
    """It isn't overwritten."""
    path = tmp_path / "sites.db"
    path.write_bytes(b"precious" * 1000)
    assert "file is not a database" in assert_down_soon(
        lambda: open_registry(sqlite_config(path), LAYOUT).find("a.example")
    )
    assert path.read_bytes() == b"precious" * 1000


def test_a_file_that_vanished_is_not_quietly_replaced_by_an_empty_one(tmp_path: Path) -> None:
    """Otherwise every id would be handed out a second time."""
    path = tmp_path / "sites.db"
    registry = open_registry(sqlite_config(path), LAYOUT)
    registry.identity("Alice")
    path.unlink()
    assert_down_soon(lambda: registry.identity("Bob"))
    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """An error of the file system is the registry's, on one line."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "sites.db"
    message = assert_down_soon(lambda: open_registry(sqlite_config(path), LAYOUT).find("a.example"))
    assert "Not a directory" in message or "File exists" in message


def test_a_value_of_a_wrong_type_is_refused(tmp_path: Path) -> None:
    """SQLite lets any type into any column."""
    config = sqlite_config(tmp_path / "sites.db")
    registry = open_registry(config, LAYOUT)
    registry.add(FULL)
    for change in ("idle = 'x'", "wsgi_file = x'2f61'", "memory = 1.5"):
        execute(config, f"UPDATE user_wsgi_sites SET {change}")
        with pytest.raises(BadValueError, match=f"{change.split()[0]} .*wrong type"):
            registry.find("full.example")
        registry.remove("full.example")
        registry.add(FULL)


def test_no_descriptor_is_kept(tmp_path: Path) -> None:
    """An SQLite registry holds no file open between questions, so nothing of it lives through a fork."""
    registry = open_registry(sqlite_config(tmp_path / "sites.db"), LAYOUT)
    registry.add(FULL)
    held = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_open(number)]
    assert not [path for path in held if path.startswith(str(tmp_path))]


def _is_open(number: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{number}")
