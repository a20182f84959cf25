"""Following a log: no line is lost, torn or made up, and what is no log is refused."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import tail


class Follower:
    """`follow` in a thread; `lines` grows, `error` is what ended it."""

    def __init__(self, path, count=10, wanted=lambda line: True):
        self.lines, self.error = [], None
        self._stop = False
        self._thread = threading.Thread(target=self._run, args=(path, count, wanted))
        self._thread.start()

    def _run(self, path, count, wanted):
        try:
            for line in tail.follow(path, count, wanted, lambda: self._stop):
                self.lines.append(line)
        except OSError as error:
            self.error = error

    def wait_for(self, *lines):
        wait_for(lambda: self.lines == list(lines) or len(self.lines) > len(lines), f"{lines}", 10)
        assert self.lines == list(lines)

    def stop(self):
        self._stop = True
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "one.test.error.log"


@pytest.fixture
def follow():
    """Start followers; none outlives its test."""
    started = []

    def start(*arguments):
        started.append(Follower(*arguments))
        return started[-1]

    yield start
    for follower in started:
        follower.stop()


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


# -- the last lines


@given(
    st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    st.booleans(),
    st.integers(0, 40),
)
def test_the_last_lines_are_the_last_lines(tmp_path_factory, lines, is_ended, count):
    """Whatever bytes are in them; only a newline ends a line, and the last one may still lack its own."""
    path = tmp_path_factory.getbasetemp() / "last-lines.log"
    text = b"\n".join(lines) + (b"\n" if lines and is_ended else b"")
    path.write_bytes(text)
    found = tail.last_lines(path, count)
    assert b"".join(found) == text[len(text) - len(b"".join(found)) :]
    assert all(line.endswith(b"\n") for line in found[:-1])
    total = text.count(b"\n") + (bool(text) and not text.endswith(b"\n"))
    assert len(found) == min(count, total)


@pytest.mark.parametrize("count", [1, 70_000])
def test_lines_longer_than_a_block_stay_whole(log, count):
    """A line of a megabyte is one line; many blocks are read for many lines, each once."""
    log.write_bytes(b"first\n" + b"x" * 1_000_000 + b"\n")
    assert tail.last_lines(log, 1) == [b"x" * 1_000_000 + b"\n"]
    log.write_bytes(b"a line\n" * 100_000)
    assert tail.last_lines(log, count) == [b"a line\n"] * count


def test_only_the_end_of_a_large_log_is_read(log):
    """200 MB cost no more than their last lines do."""
    with log.open("wb") as file:
        file.truncate(200_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"the end\n" * 100)
    began, read_before = time.monotonic(), bytes_read()
    assert tail.last_lines(log, 100) == [b"the end\n"] * 100
    assert bytes_read() - read_before < 1_000_000
    assert time.monotonic() - began < 1


def bytes_read():
    """What this process has read so far, proc(5)."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


def test_following_begins_at_the_end_of_a_large_log_too(log, follow):
    """It doesn't read its way there."""
    with log.open("wb") as file:
        file.truncate(200_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe end\n")
    read_before = bytes_read()
    follower = follow(log, 1)
    follower.wait_for(b"the end\n")
    append(log, b"more\n")
    follower.wait_for(b"the end\n", b"more\n")
    assert bytes_read() - read_before < 2_000_000


@given(st.binary(max_size=300), st.integers(1, 7), st.integers(5, 20))
def test_lines_read_backwards_are_the_lines_in_pieces_of_a_bounded_size(tmp_path_factory, text, block, longest):
    """Whatever the blocks are that they are read in; nothing is lost, and only what is too long is cut."""
    path = tmp_path_factory.getbasetemp() / "backwards.log"
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(tail, "_BLOCK", block)
        patch.setattr(tail, "LONGEST", longest)
        found = list(tail.lines_backwards(file, len(text)))[::-1]
    assert b"".join(found) == text
    assert all(len(line) <= longest + 2 * block for line in found)
    if max(map(len, text.split(b"\n"))) + 1 < longest:
        assert found == text.splitlines(keepends=True) if b"\r" not in text else True


# -- leases

LEASE = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("begun", flush=True)
sys.stdin.readline()
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
sys.stdin.readline()
"""


def test_who_holds_a_lease_on_his_log_holds_nobody_up(log):
    """It is told in one line at once, or when the patience ends; once the lease is gone the log is read."""
    log.write_bytes(b"one\n")
    command = [sys.executable, "-c", LEASE, log]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        began = time.monotonic()
        with pytest.raises(OSError, match=f"holds a lease on it.*{log}"):
            tail.open_log(log)
        with pytest.raises(OSError, match="holds a lease"):
            tail.open_log(log, 0.3)
        assert 0.3 <= time.monotonic() - began < 5
        process.stdin.write(b"\n")
        process.stdin.flush()
        tail.open_log(log, 10.0).close()
        process.stdin.close()


# -- following


def test_lines_come_once_and_in_order(log, follow):
    """First the last ones that were there, then each as it comes."""
    log.write_bytes(b"".join(b"old %d\n" % number for number in range(20)))
    follower = follow(log, 2)
    follower.wait_for(b"old 18\n", b"old 19\n")
    for number in range(3):
        append(log, b"new %d\n" % number)
    follower.wait_for(b"old 18\n", b"old 19\n", b"new 0\n", b"new 1\n", b"new 2\n")


def test_a_line_written_in_pieces_comes_whole(log, follow):
    """Also one whose beginning was there before anybody followed."""
    log.write_bytes(b"whole\npie")
    follower = follow(log, 5)
    follower.wait_for(b"whole\n")
    append(log, b"ce\nan")
    follower.wait_for(b"whole\n", b"piece\n")
    append(log, b"other")
    append(log, b" one\n")
    follower.wait_for(b"whole\n", b"piece\n", b"another one\n")


def test_only_wanted_lines_come(log, follow):
    """Before and after."""
    log.write_bytes(b"yes 1\nno 1\n")
    follower = follow(log, 5, lambda line: line.startswith(b"yes"))
    append(log, b"no 2\nyes 2\n")
    follower.wait_for(b"yes 1\n", b"yes 2\n")


def test_rotation_by_renaming_loses_no_line(log, follow):
    """The old file is read to its end, the new one from its start, also if it was made empty before it is used."""
    log.write_bytes(b"one\n")
    follower = follow(log, 5)
    follower.wait_for(b"one\n")
    old = log.with_suffix(".1")
    log.rename(old)
    append(old, b"two\n")
    log.touch()
    append(old, b"three\n")  # its writer hasn't reopened yet
    follower.wait_for(b"one\n", b"two\n", b"three\n")
    append(old, b"four\n")
    append(log, b"five\n")
    follower.wait_for(b"one\n", b"two\n", b"three\n", b"four\n", b"five\n")
    append(log, b"six\n")
    follower.wait_for(b"one\n", b"two\n", b"three\n", b"four\n", b"five\n", b"six\n")


def test_who_notices_a_rotation_late_is_read_all_the_same(log, follow, monkeypatch):
    """Of several writers the first uses the new file at once, the others the old one for seconds more."""
    log.write_bytes(b"one\n")
    follower = follow(log, 5)
    follower.wait_for(b"one\n")
    old = log.with_suffix(".1")
    log.rename(old)
    append(log, b"new\n")
    follower.wait_for(b"one\n", b"new\n")
    append(old, b"late\n")
    follower.wait_for(b"one\n", b"new\n", b"late\n")
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(tail, "_LATE", 0.0)
    log.rename(log.with_suffix(".2"))
    append(log, b"newer\n")
    follower.wait_for(b"one\n", b"new\n", b"late\n", b"newer\n")
    wait_for(lambda: len(os.listdir("/proc/self/fd")) == before - 1, "the old ones are closed", 10)


def test_a_line_cut_off_by_rotation_does_not_run_into_the_next_file(log, follow):
    """It is given as far as it goes, as a line of its own."""
    log.write_bytes(b"one\n")
    follower = follow(log, 5)
    follower.wait_for(b"one\n")
    append(log, b"half")
    log.rename(log.with_suffix(".1"))
    append(log, b"next\n")
    follower.wait_for(b"one\n", b"half\n", b"next\n")


def test_a_log_that_was_cut_is_read_from_its_start(log, follow):
    """As `copytruncate` leaves it."""
    log.write_bytes(b"one\ntwo\n")
    follower = follow(log, 5)
    follower.wait_for(b"one\n", b"two\n")
    os.truncate(log, 0)
    append(log, b"3\n")
    follower.wait_for(b"one\n", b"two\n", b"3\n")
    append(log, b"more than there was\n")
    follower.wait_for(b"one\n", b"two\n", b"3\n", b"more than there was\n")
    append(log, b"end\n")
    follower.wait_for(b"one\n", b"two\n", b"3\n", b"more than there was\n", b"end\n")


def test_many_rotations_under_load_lose_no_line(log, follow):
    """Ten thousand lines over ten files arrive once each, in order."""
    log.write_bytes(b"start\n")
    follower = follow(log, 5)
    expected = [b"start\n"]
    follower.wait_for(*expected)
    for turn in range(10):
        more = [b"%d %d\n" % (turn, number) for number in range(1000)]
        expected += more
        append(log, b"".join(more))
        wait_for(lambda line=more[-1]: line in follower.lines[-1:], f"file {turn} is read", 10)
        log.rename(log.with_suffix(f".{turn}"))
    assert follower.lines == expected


def test_following_leaves_no_descriptor_open(log, follow):
    """Through rotations and to its end."""
    before = len(os.listdir("/proc/self/fd"))
    log.write_bytes(b"0\n")
    follower = follow(log, 5)
    for number in range(1, 4):
        wait_for(lambda number=number: len(follower.lines) == number, "the line", 10)
        log.rename(log.with_suffix(f".{number}"))
        append(log, b"%d\n" % number)
    follower.stop()
    assert len(os.listdir("/proc/self/fd")) == before


# -- what is no log


def make_fifo(path):
    os.mkfifo(path)


def make_link(path):
    path.symlink_to("/etc/passwd")


def make_folder(path):
    path.mkdir()


NO_LOGS = [make_fifo, make_link, make_folder]


@pytest.mark.parametrize("make", NO_LOGS)
def test_what_is_no_log_is_refused_at_once(log, make):
    """The file is its tenant's: a FIFO would hang the operator's shell, a link would show him another's file."""
    make(log)
    before = len(os.listdir("/proc/self/fd"))
    for read in (
        lambda: tail.last_lines(log, 5),
        lambda: list(tail.follow(log, 5, bool, lambda: False)),
    ):
        with pytest.raises(OSError, match=str(log)):
            read()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("make", NO_LOGS)
def test_what_takes_a_logs_place_ends_the_following(log, follow, make):
    """With an error that names it."""
    log.write_bytes(b"one\n")
    follower = follow(log, 5)
    follower.wait_for(b"one\n")
    log.unlink()
    make(log)
    wait_for(lambda: follower.error, "the error", 10)
    assert str(log) in str(follower.error)
    assert follower.lines == [b"one\n"]
    shutil.rmtree(log) if log.is_dir() else log.unlink()


def test_a_missing_log_is_an_error_that_names_it(log):
    with pytest.raises(FileNotFoundError, match=str(log)):
        tail.last_lines(log, 1)
