"""Whether somebody listens, and whether a worker of a real uWSGI is ready."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import probe

APPLICATION = """\
import pathlib, time
while not pathlib.Path("ready").exists():
    time.sleep(0.01)
def application(environ, start_response):
    pathlib.Path("called").touch()
    start_response("200 OK", [])
    return []
"""


@pytest.fixture
def folder():
    """Short: a unix socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="probe-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(folder):
    """A socket that listens; what is done with a connection is the test's business."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen(1)
        listening.settimeout(10)
        yield listening


def test_a_socket_that_listens(folder, server):
    assert probe.listens(folder / "s") is True


def test_a_socket_whose_queue_is_full_listens(folder, server):
    """Somebody is there, he is only busy."""
    waiting = []
    try:
        while len(waiting) < 10:
            client = socket.socket(socket.AF_UNIX)
            waiting.append(client)
            client.setblocking(False)
            try:
                client.connect(str(folder / "s"))
            except BlockingIOError:
                break
        else:
            pytest.fail("the queue never filled")
        assert probe.listens(folder / "s") is True
    finally:
        for client in waiting:
            client.close()


def test_nobody_listens(folder):
    """No file, a plain file, a folder, a socket that was left behind, a path that is too long for one."""
    (folder / "file").touch()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "left"))
    for name in ("missing", "file", ".", "left", "x" * 200):
        began = time.monotonic()
        assert probe.listens(folder / name) is False
        assert probe.ping(folder / name, 10) is False
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("timeout", [0.2, 0, -5])
def test_a_ping_that_nobody_answers_ends_in_time(folder, server, timeout):
    """Also when there was no time left to begin with."""
    began = time.monotonic()
    assert probe.ping(folder / "s", timeout) is False
    assert max(timeout, 0) * 0.9 <= time.monotonic() - began < 2


def answer(server, *answers):
    """Take one connection for each of `answers`, read the ping and send that."""

    def run():
        for text in answers:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(4) == b"\x64\0\0\0"
                for byte in text:
                    connection.sendall(bytes([byte]))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_answer_in_pieces_is_an_answer(folder, server):
    """A stream has no packets."""
    thread = answer(server, b"\x64\0\0\1")
    assert probe.ping(folder / "s", 10) is True
    thread.join()


def test_a_worker_that_dies_over_a_ping_is_asked_again(folder, server):
    """Its successor answers."""
    thread = answer(server, b"", b"\x64", b"\x64\0\0\1")
    assert probe.ping(folder / "s", 10) is True
    thread.join()


def test_a_full_queue_is_asked_again(folder, server):
    """Until there is room or the time is over."""
    waiting = []
    while len(waiting) < 10:
        client = socket.socket(socket.AF_UNIX)
        waiting.append(client)
        client.setblocking(False)
        try:
            client.connect(str(folder / "s"))
        except BlockingIOError:
            break
    began = time.monotonic()
    assert probe.ping(folder / "s", 0.3) is False
    assert time.monotonic() - began >= 0.2
    for client in waiting:
        client.close()

    def drain():
        while True:
            connection, _ = server.accept()
            with connection:
                if connection.recv(4):
                    connection.sendall(b"\x64\0\0\1")
                    return

    thread = threading.Thread(target=drain)
    thread.start()
    assert probe.ping(folder / "s", 10) is True
    thread.join()


def test_only_a_loaded_application_answers_a_ping(folder):
    """A real uWSGI listens while the import runs; its worker answers after it, and the application isn't called."""
    (folder / "app.py").write_text(APPLICATION)
    uwsgi = subprocess.Popen(
        [
            "uwsgi", "--plugins", "python3,ping", "--socket", "s", "--wsgi-file", "app.py", "--master", "--lazy-apps",
            "--enable-threads",
        ],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: probe.listens(folder / "s"), "it listens", 10)
        assert probe.ping(folder / "s", 0.3) is False
        (folder / "ready").touch()
        assert probe.ping(folder / "s", 10) is True
        assert not (folder / "called").exists()
    finally:
        os.killpg(uwsgi.pid, signal.SIGKILL)
        uwsgi.wait()
