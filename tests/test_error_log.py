"""The error log and its streams: whole stamped records, rotation, full disks, file behavior."""

import gc
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_wsgi_wrapper.runtime import error_log
from user_wsgi_wrapper.runtime.error_log import ErrorLog, encode, harmless
from user_wsgi_wrapper.runtime.streams import LINE_LIMIT, ErrorStream, Pending

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
ENVIRON = {"REQUEST_ID": "3f9c2a71d0b4e5f60718293a4b5c6d7e", "REQUEST_METHOD": "GET", "PATH_INFO": "/a"}


@pytest.fixture
def log(tmp_path):
    made = ErrorLog(str(tmp_path / "error.log"), "one.example")
    yield made
    made.close()


@pytest.fixture
def stream(log):
    return ErrorStream(Pending(log, lambda: None), "<stderr>")


def text(log):
    with open(log.path) as file:
        return file.read()


def lines(log):
    return [re.sub(f"^{STAMP}", "", line) for line in text(log).splitlines()]


def test_every_line_of_a_record_has_one_stamp(log):
    log.record("one\ntwo\n\nfour\n", dict(ENVIRON))
    stamps = {re.match(STAMP, line).group() for line in text(log).splitlines()}
    assert len(stamps) == 1
    assert lines(log) == ["[3f9c2a71d0b4] one", "[3f9c2a71d0b4] two", "[3f9c2a71d0b4] ", "[3f9c2a71d0b4] four"]


def test_a_record_never_spans_two_writes(log, monkeypatch):
    sizes = []
    write = os.write
    monkeypatch.setattr(error_log.os, "write", lambda fd, data: sizes.append(write(fd, data)) or sizes[-1])
    log.record("line\n" * 50_000)
    assert len(sizes) == 1
    assert sizes[0] == os.stat(log.path).st_size


@given(st.text())
def test_any_text_becomes_valid_harmless_utf_8(sample):
    shown = encode(harmless(sample)).decode("utf-8")
    assert not any(ord(character) < 32 and character not in "\t\n" for character in shown)
    assert not any(127 <= ord(character) < 160 or character in "\u2028\u2029" for character in shown)


@pytest.mark.parametrize("character", ["\x9b", "\x85", "\u2028", "\u2029"])
def test_no_character_is_put_together_again_of_bytes_that_were_decoded_one_by_one(character):
    """Whoever has a visitor's bytes in two pieces may decode each by itself; a terminal would see them together."""
    pieces = [bytes([byte]).decode("utf-8", "surrogateescape") for byte in character.encode()]
    shown = encode(harmless("".join(pieces) + "[2J")).decode("utf-8")
    assert shown == harmless(character) + "[2J" != character + "[2J"


@given(st.text(st.characters(min_codepoint=32, exclude_categories=("Cc", "Cs", "Zl", "Zp"))))
def test_printable_text_is_written_as_it_is(sample):
    assert encode(harmless(sample)).decode() == sample


@given(st.text())
def test_no_message_makes_a_line_without_a_stamp(tmp_path_factory, sample):
    log = ErrorLog(str(tmp_path_factory.getbasetemp() / "any.log"), "one.example")
    try:
        before = os.stat(log.path).st_size
        log.record(sample, dict(ENVIRON))
        with open(log.path, newline="") as file:
            file.seek(before)
            written = file.read()
        assert written.endswith("\n")
        assert all(re.match(STAMP + r"\[3f9c2a71d0b4\] ", line) for line in written[:-1].split("\n"))
    finally:
        log.close()


def test_json_records_are_one_object_a_line(tmp_path):
    log = ErrorLog(str(tmp_path / "error.log"), "one.example", "json")
    try:
        log.record("two\nlines \ud800 \x1b", dict(ENVIRON), "ERROR", "Traceback\nKeyError")
        log.record("outside")
    finally:
        log.close()
    first, second = (json.loads(line) for line in text(log).splitlines())
    assert re.fullmatch(STAMP.strip(), first.pop("timestamp"))
    assert first == {
        "level": "ERROR", "message": "two\nlines \ud800 \x1b", "request_id": "3f9c2a71d0b4", "domain": "one.example",
        "pid": os.getpid(), "thread": "MainThread", "exc_info": "Traceback\nKeyError", "method": "GET", "path": "/a",
    }  # fmt: skip
    assert (second["request_id"], second["method"], second["exc_info"]) == ("-", None, None)


@pytest.mark.parametrize("rotate", [os.remove, lambda path: os.rename(path, path + ".1")])
def test_a_rotated_file_is_opened_anew_under_the_same_descriptor(log, rotate):
    fd = log.fd
    log.record("before")
    rotate(log.path)
    log.record("after")
    assert lines(log) == ["[-] after"]
    assert log.fd == fd
    assert not os.get_inheritable(fd)


def test_while_no_new_file_can_be_made_the_old_one_is_written(log):
    folder = os.path.dirname(log.path)
    os.rename(folder, folder + ".old")
    try:
        log.record("kept")
        with open(folder + ".old/error.log") as file:
            assert file.read().endswith("[-] kept\n")
    finally:
        os.rename(folder + ".old", folder)


def test_a_descriptor_that_the_tenant_closed_and_reused_is_never_written(log, tmp_path):
    os.close(log.fd)
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
    os.dup2(other, log.fd)
    taken = log.fd
    log.record("to the log")
    assert lines(log) == ["[-] to the log"]
    assert os.stat(tmp_path / "other").st_size == 0
    os.close(taken)
    if other != taken:
        os.close(other)


def test_without_a_file_records_go_to_the_fallback(tmp_path):
    with open(tmp_path / "server.log", "w+") as fallback:
        log = ErrorLog(str(tmp_path / "none" / "error.log"), "one.example", fallback=fallback.fileno())
        try:
            log.record("early")
            os.mkdir(tmp_path / "none")
            log.record("late")
        finally:
            log.close()
        fallback.seek(0)
        assert fallback.read().endswith("[-] early\n")
        assert lines(log) == ["[-] late"]


def test_records_wait_while_the_disk_is_full_and_the_lost_are_counted(log):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        log.record("first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(log.path).st_size + 10, hard))
        for number in range(400):
            log.record(f"waits {number} " + "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    log.record("last")
    written = lines(log)
    kept = [line for line in written if "waits" in line]
    lost = next(int(line.split()[1]) for line in written if "records were lost" in line)
    assert len(kept) + lost == 400 or len(kept) + lost == 401  # the one that was cut in two by the limit
    assert kept[-1].startswith("[-] waits 399 ")
    assert sum(len(line) for line in kept) <= error_log.KEPT_BYTES
    assert written[-1] == "[-] last"


def test_records_of_many_processes_never_mix(log):
    code = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from user_wsgi_wrapper.runtime.error_log import ErrorLog\n"
        "log = ErrorLog(sys.argv[1], 'one.example')\n"
        "for _ in range(300): log.record(sys.argv[2] * 9000)\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    writers = [subprocess.Popen([sys.executable, "-c", code, log.path, letter, root]) for letter in "abcd"]
    assert [writer.wait() for writer in writers] == [0] * 4
    found = lines(log)
    assert len(found) == 1200
    assert set(found) == {f"[-] {letter * 9000}" for letter in "abcd"}


def test_whole_lines_of_one_write_are_one_record_and_the_rest_waits(log, stream):
    stream.write("un")
    stream.write("finished\nsecond\nthi")
    assert lines(log) == ["[-] unfinished", "[-] second"]
    stream.flush()
    assert lines(log)[-1] == "[-] thi"
    stream.flush()
    assert len(lines(log)) == 3


def test_unfinished_lines_of_many_threads_never_mix_and_outlive_their_thread(log, stream):
    def work(name):
        for part in range(50):
            stream.write(f"{name}{part},")

    threads = [threading.Thread(target=work, args=(name,), name=f"t{name}") for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del thread, threads
    gc.collect()
    assert sorted(lines(log)) == [
        f"[-] thread t{name}: " + "".join(f"{name}{part}," for part in range(50)) for name in "abcdefgh"
    ]
    assert stream._pending.parts == {}


def test_a_line_that_never_ends_is_written_in_bounded_pieces(log, stream):
    for _ in range(300):
        stream.write("x" * 10_000)
    assert sum(len(line) for line in lines(log)) >= 3_000_000 - LINE_LIMIT


def test_a_child_process_does_not_repeat_its_parents_unfinished_line(log, stream):
    stream.write("parent")
    pid = os.fork()
    if pid == 0:
        try:
            stream.flush()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    stream.write("'s\n")
    assert lines(log) == ["[-] parent's"]


def test_the_stream_behaves_as_a_text_file(log, stream):
    assert (stream.encoding, stream.errors, stream.isatty(), stream.fileno()) == (
        "utf-8",
        "backslashreplace",
        False,
        2,
    )
    assert (stream.writable(), stream.readable(), stream.seekable(), stream.closed) == (True, False, False, False)
    assert isinstance(stream, io.TextIOBase)
    assert stream.write("four") == 4
    stream.writelines(["a\n", "b\n"])
    assert stream.buffer.write(memoryview(b"bytes\n")) == 6
    assert stream.buffer.write(bytearray(b"more\n")) == 5
    for refused in (b"bytes", None, 7):
        with pytest.raises(TypeError):
            stream.write(refused)
    with pytest.raises(TypeError):
        stream.buffer.write("text")
    with pytest.raises(io.UnsupportedOperation):
        stream.read()
    stream.reconfigure(line_buffering=True)
    print("printed", 1, file=stream)
    assert lines(log) == ["[-] foura", "[-] b", "[-] bytes", "[-] more", "[-] printed 1"]


def test_a_closed_stream_refuses_and_a_shared_one_stays_open(log, stream):
    shared = ErrorStream(stream._pending, "<wsgi.errors>", shared=True)
    stream.write("last")
    stream.close()
    assert stream.closed
    assert lines(log) == ["[-] last"]
    for use in (lambda: stream.write("x"), stream.fileno, stream.flush):
        with pytest.raises(ValueError, match="closed"):
            use()
    shared.close()
    shared.write("still open\n")
    assert lines(log)[-1] == "[-] still open"


def test_a_progress_bar_is_a_line_each_time_it_is_flushed(log, stream):
    for percent in (10, 20):
        print(f"\r{percent}%", end="", file=stream, flush=True)
    assert lines(log) == ["[-] 10%", "[-] 20%"]
