"""A log that can't be written, under real uWSGI: requests go on unharmed, what there is room for is written later."""

import contextlib
import errno
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.bare_uwsgi import APPS, STAMP, BareUwsgi, wait_for
from user_wsgi_wrapper.runtime import error_log
from user_wsgi_wrapper.runtime.error_log import KEPT_BYTES, ErrorLog

THREADS = pytest.mark.parametrize("threads", [1, 8])


class Log:
    """The site's log on a file system of its own, of one mebibyte."""

    def __init__(self, folder, name="error.log"):
        self.path = folder / name
        self._filler = folder / "filler"

    def fill(self):
        with contextlib.suppress(OSError), open(self._filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self):
        self._filler.unlink()

    def lines(self):
        return [STAMP.sub("", line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        yield Log(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def numbers(lines):
    return [int(line.split()[1]) for line in lines if line.startswith("line ")]


def lost(lines):
    return sum(int(line.split()[0]) for line in lines if "records were lost before this one" in line)


@THREADS
def test_while_the_disk_is_full_requests_go_on_and_recent_lines_wait(small, threads):
    with BareUwsgi(APPS / "counts", threads, more=[f"env = SITE_ERROR_LOG={small.path}"]) as server:
        worker = server.get("/0").body
        small.fill()
        for number in range(1, 501):
            assert server.get(f"/{number}").body == worker
        assert server.get("/raise").status == 500
        small.empty()
        wait_for(lambda: lost(small.lines()), "the count of those lost, without any further request")
        lines = small.lines()
        written = numbers(lines)
        assert written[-1] == 500
        assert 200_000 < sum(map(len, lines)) - 1000 < KEPT_BYTES
        # the one that the full disk took a part of is written on where it ended
        assert sorted(set(written)) == written
        assert abs(len(written) + lost(lines) - 501) <= 1
        assert lines[-2] == "LookupError: a failure meanwhile"
        assert server.get("/501").body == worker
        assert numbers(small.lines())[-1] == 501


@THREADS
def test_a_limit_of_the_file_size_kills_no_worker(threads):
    with BareUwsgi(APPS / "counts", threads) as server:
        worker = server.get("/0").body
        assert server.get("/limit").status == 200
        for number in range(1, 10):
            assert server.get(f"/{number}").body == worker
        assert server.get("/raise").status == 500
        assert server.get("/unlimit").body == worker
        lines = wait_for(lambda: "LookupError" in server.log() and server.log().splitlines(), "the lines that waited")
        assert numbers(STAMP.sub("", line) for line in lines) == list(range(10))


def test_a_log_that_was_removed_and_can_not_be_made_again_has_its_lines_wait():
    """As in a chroot, where the folder is root's and the file the tenant's."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "error.log")

        def as_root(action, *arguments):
            os.seteuid(0)
            try:
                action(*arguments)
            finally:
                os.seteuid(65534)

        def make():
            path.touch()
            os.chown(path, 65534, 65534)

        make()
        os.seteuid(65534)
        try:
            log = ErrorLog(str(path), "one.example")
            log.record("line 0")
            path.chmod(0o000)  # what is open stays open
            log.record("line 1")
            as_root(os.rename, path, f"{path}.1")
            log.record("line 2")
            as_root(os.chmod, f"{path}.1", 0o644)
            assert numbers(Log(Path(folder), "error.log.1").lines()) == [0, 1, 2]
            as_root(os.unlink, f"{path}.1")
            log.record("line 3")
            log.record("line 4")
            assert log.is_stuck
            as_root(make)
            log.record("line 5")
            assert numbers(Log(Path(folder)).lines()) == [3, 4, 5]
            log.close()
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("fault", [errno.EDQUOT, errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EROFS, errno.EBADF])
def test_whatever_error_a_write_gives_the_record_waits(tmp_path, monkeypatch, fault):
    log = ErrorLog(str(tmp_path / "error.log"), "one.example")

    def fail(_fd, _data):
        raise OSError(fault, os.strerror(fault))

    try:
        log.record("before")
        with monkeypatch.context() as patch:
            patch.setattr(error_log.os, "write", fail)
            for number in range(3):
                log.record(f"meanwhile {number}")
        log.record("after")
        with open(log.path) as file:
            found = [STAMP.sub("", line).rstrip("\n") for line in file]
        assert found == ["before", "meanwhile 0", "meanwhile 1", "meanwhile 2", "after"]
    finally:
        log.close()
