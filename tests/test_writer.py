"""A file system that hangs: its own log waits, all others flow on, memory is bounded, what can't be kept is counted.

A FIFO that nobody reads stands in for it: like a disk that hangs, it makes write(2) wait.
"""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from log_splitter import splitter as splitter_module
from log_splitter import writer as writer_module
from log_splitter.batch import make_batch
from log_splitter.counters import Counters
from log_splitter.log_file import LogFile
from log_splitter.placement import Placement
from log_splitter.splitter import Splitter
from log_splitter.writer import Writer
from tests.live import wait_for
from tests.splitting import Splitting, numbers

BIG = b"x" * 4000 + b"\n"


def open_hanging(real):
    """An open_log that takes FIFOs for logs."""

    def open_log(root, parts, placement, now):
        if b"stuck" not in parts[-1]:
            return real(root, parts, placement, now)
        descriptor = os.open(b"/".join(parts), os.O_RDWR, dir_fd=root)
        return LogFile(descriptor, os.fstat(descriptor), now)

    return open_log


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A writer over a folder, its counters, what it said; and a FIFO for the log of stuck.com."""
    monkeypatch.setattr(splitter_module, "open_log", open_hanging(splitter_module.open_log))
    counters, said = Counters(), []
    mask = os.umask(0)
    dealer = Splitter(tmp_path, Placement(name="{key}.log"), make_batch("pipe", "", counters), counters, said.append)
    os.mkfifo(tmp_path / "stuck.com.log")
    writer = Writer(dealer, counters, said.append, patience=0.2)
    try:
        yield writer, counters, said
    finally:
        os.umask(mask)
        drain(tmp_path / "stuck.com.log")


def drain(path):
    """Read what a FIFO holds, until nothing more comes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    found = b""
    quiet = 0
    while quiet < 10:
        try:
            piece = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            piece = b""
        found += piece
        quiet = 0 if piece else quiet + 1
        time.sleep(0.02)
    os.close(descriptor)
    return found


def write(writer, groups, seconds=10.0):
    writer.submit({key: list(texts) for key, texts in groups.items()})
    assert writer.wait(seconds)


def test_the_others_flow_on_and_the_stuck_one_gets_its_lines_in_order_when_it_can(made, tmp_path):
    writer, counters, said = made
    write(writer, {b"stuck.com": [BIG] * 30, b"good.com": [b"1\n"]})
    assert (tmp_path / "good.com.log").read_bytes() == b"1\n"
    assert said == ["log of stuck.com: a write has taken 0.2 s and is left to itself"]
    began = time.monotonic()
    for number in range(2, 10):
        write(writer, {b"stuck.com": [b"%d\n" % number], b"good.com": [b"%d\n" % number]})
    assert time.monotonic() - began < 5  # it isn't waited for again
    assert numbers(tmp_path / "good.com.log") == list(range(1, 10))
    assert writer.stuck_lines == 30
    found = b""

    def back():
        nonlocal found
        found += drain(tmp_path / "stuck.com.log")
        write(writer, {})
        return found.endswith(b"9\n")

    wait_for(back, "the held lines are written")
    assert found == BIG * 30 + b"".join(b"%d\n" % number for number in range(2, 10))
    assert counters.dropped == {}
    assert counters.stalls == 1
    writer.close(1.0)
    assert counters.written_lines == 30 + 8 + 9


def test_failures_leave_no_garbage(made, tmp_path):
    """The collector is off: what a tenant can repeat for ever must not make cycles."""
    writer, counters, _ = made
    (tmp_path / "evil.com.log").mkdir()
    write(writer, {b"evil.com": [b"1\n"]})
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            write(writer, {b"evil.com": [b"1\n"], b"/": [b"1\n"]})
        assert gc.collect() < 50
    finally:
        gc.enable()
    assert counters.dropped == {"refused": 51}


def test_what_is_held_for_it_is_bounded_and_the_rest_counted(made):
    writer, counters, _ = made
    write(writer, {b"stuck.com": [BIG] * 30})
    for _ in range(20):
        write(writer, {b"stuck.com": [BIG] * 10})
    assert counters.dropped["stalled"] == 200 - 60  # 256 KiB are kept
    writer.close(0.1)
    assert counters.dropped["stalled"] == 30 + 200
    assert counters.written_lines == 0


def test_when_every_thread_waits_lines_are_dropped_and_the_end_comes(made, tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "_MAX_WAITING", 2)
    writer, counters, _ = made
    names = [b"stuck%d.com" % number for number in range(4)]
    for name in names:
        os.mkfifo(tmp_path / f"{name.decode()}.log")
    writer.submit({name: [BIG] * 30 for name in names})
    assert not writer.wait(1.0)
    wait_for(lambda: writer.wait(0.0) or writer.is_overwhelmed, "it says so")
    writer.close(1.0)
    assert counters.dropped == {"stalled": 120}
    for name in names:
        drain(tmp_path / f"{name.decode()}.log")


def test_a_thread_that_was_only_slow_changes_nothing_twice(made, tmp_path):
    """It comes back at any time, also while another one is at work."""
    writer, counters, _ = made
    reader = threading.Thread(target=slowly, args=(tmp_path / "stuck.com.log",), daemon=True)
    reader.start()
    written = 0
    for _ in range(15):
        write(writer, {b"stuck.com": [BIG] * 20, b"good.com": [b"1\n"] * 10})
        written += 30
    writer.close(20.0)
    reader.join(30)
    assert counters.written_lines + sum(counters.dropped.values()) == written
    assert len(numbers(tmp_path / "good.com.log")) == 150


def slowly(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        time.sleep(0.05)
        try:
            os.read(descriptor, 40_000)
        except BlockingIOError:
            if time.monotonic() > deadline - 2.5:
                break
    os.close(descriptor)


ROOT = Path(__file__).resolve().parents[1]
HANGING = """
import sys
from log_splitter import splitter
from tests.test_writer import open_hanging
splitter.open_log = open_hanging(splitter.open_log)
from log_splitter.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class Hanging(Splitting):
    """A whole log-splitter whose log of stuck.com hangs."""

    def __init__(self, directory, *options):
        directory.mkdir()
        self.directory = directory
        self.errors = directory.with_name("errors")
        command = [sys.executable, "-c", HANGING, "--directory", str(directory), "--json", "--name", "{key}.log"]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stderr=errors, cwd=ROOT)
        self.pipe = self.process.stdin.fileno()
        os.mkfifo(directory / "stuck.com.log")


def test_a_whole_splitter_goes_on_beside_a_disk_that_hangs(tmp_path):
    with Hanging(tmp_path / "logs", "--stall", "0.3") as splitting:
        for start in range(0, 100_000, 100):
            lines = b"".join(b"good.com|%d\n" % n for n in range(start, start + 100))
            splitting.write(lines + b"stuck.com|" + BIG)
        counters = wait_for(lambda: good(splitting, 100_000), "good.com has all its lines")
        assert counters["stalls"] == 1
        assert psutil.Process(splitting.process.pid).memory_info().rss < 120 << 20
        counters = splitting.end()
    assert counters["written_lines"] == 100_000
    assert counters["dropped"] == {"stalled": 1000}


def good(splitting, count):
    counters = splitting.report()
    return counters if counters["written_lines"] >= count else None


def test_a_stop_of_the_whole_process_loses_nothing(tmp_path):
    """SIGSTOP looks like a stall of whatever was being written: the threads must still take turns."""
    with Splitting(tmp_path / "logs", "--stall", "0.1") as splitting:
        count = 0
        for _ in range(8):
            splitting.write(b"".join(b"k%d.com|%d\n" % (n % 7, n) for n in range(count, count + 20_000)))
            count += 20_000
            splitting.signal(signal.SIGSTOP)
            time.sleep(0.25)
            splitting.signal(signal.SIGCONT)
        counters = splitting.end()
    assert counters["written_lines"] == count
    for index in range(7):
        assert numbers(splitting.log(f"k{index}.com")) == list(range(index, count, 7))
