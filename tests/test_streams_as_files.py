"""The error streams beside a real text file: the same operations give the same results, errors and text."""

import array
import codecs
import contextlib
import gc
import io
import logging
import os
import subprocess

import pytest

from user_wsgi_wrapper.runtime.error_log import ErrorLog
from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending


class Escaping(str):
    """As markupsafe's Markup: adding it to text changes the text."""

    def __str__(self):
        return "its str()"

    def __radd__(self, other):
        return "escaped " + other

    def rpartition(self, separator):
        return ("", "", "its own")


def failing():
    yield "first\n"
    yield "second\n"
    raise LookupError("half-way")


def writes(stream, *texts):
    return [stream.write(text) for text in texts]


def closed(stream, use):
    stream.write("before\n")
    stream.close()
    return use(stream)


def detached(stream):
    stream.write("before\n")
    buffer = stream.detach()
    buffer.write("détached\n".encode())
    buffer.flush()
    stream.write("after")


USES = {
    "write": lambda s: writes(s, "a", "b\n", "", "\n", "c\n\nd\n"),
    "write bytes": lambda s: s.write(b"bytes"),
    "write None": lambda s: s.write(None),
    "write nothing": lambda s: s.write(),
    "write twice": lambda s: s.write("a", "b"),
    "lone surrogates": lambda s: writes(s, "a\ud800b\n", "\udcff\n"),
    "str subclass": lambda s: writes(s, "a<b ", Escaping("c\n"), Escaping("d"), "\n"),
    "writelines": lambda s: s.writelines(["a\n", "b", "c\n"]),
    "writelines of a tuple of bytes": lambda s: s.writelines(("a\n", b"b\n")),
    "writelines of no iterable": lambda s: s.writelines(7),
    "writelines that fails half-way": lambda s: s.writelines(failing()),
    "print": lambda s: print("a", 1, None, sep="|", file=s, flush=True),
    "attributes": lambda s: (s.encoding, s.errors, s.newlines, s.line_buffering, s.write_through, s.closed, s.mode),
    "questions": lambda s: (s.isatty(), s.readable(), s.writable()),
    "read": lambda s: s.read(),
    "readline": lambda s: s.readline(),
    "iterate": lambda s: next(iter(s)),
    "truncate the buffer by text": lambda s: s.buffer.write("text"),
    "buffer": lambda s: [
        s.buffer.write(data)
        for data in (b"a\n", bytearray(b"b\n"), memoryview(b"c\n"), array.array("i", [0x0A636261]), b"", b"\xff\n")
    ],
    "buffer lines": lambda s: s.buffer.writelines([b"a\n", b"b\n"]),
    "buffer None": lambda s: s.buffer.write(None),
    "buffer attributes": lambda s: (s.buffer.closed, s.buffer.writable(), s.buffer.readable(), s.buffer.isatty()),
    "raw": lambda s: s.buffer.raw.write(b"raw\n"),
    "a character in two": lambda s: (s.buffer.write(b"\xc3"), s.buffer.write(b"\xa9\n"), s.buffer.flush()),
    "text and bytes by turns": lambda s: (
        s.write("a\n"),
        s.flush(),
        s.buffer.write(b"b\n"),
        s.buffer.flush(),
        s.write("c\n"),
    ),
    "with": lambda s: [s.__enter__() is s, s.write("in\n"), s.__exit__(None, None, None), s.closed],
    "close twice": lambda s: closed(s, lambda s: (s.close(), s.closed, s.buffer.closed)),
    "closed write": lambda s: closed(s, lambda s: s.write("x")),
    "closed print": lambda s: closed(s, lambda s: print("x", file=s)),
    "closed writelines": lambda s: closed(s, lambda s: s.writelines(["x"])),
    "closed flush": lambda s: closed(s, lambda s: s.flush()),
    "closed fileno": lambda s: closed(s, lambda s: s.fileno()),
    "closed isatty": lambda s: closed(s, lambda s: s.isatty()),
    "closed writable": lambda s: closed(s, lambda s: s.writable()),
    "closed buffer": lambda s: closed(s, lambda s: s.buffer.write(b"x")),
    "closed with": lambda s: closed(s, lambda s: s.__enter__()),
    "detach": detached,
    "detach twice": lambda s: (s.detach(), s.detach()),
    "codecs": lambda s: codecs.getwriter("utf-8")(s.buffer).write("wräpped\n"),
    "logging": lambda s: logging.StreamHandler(s).handle(logging.makeLogRecord({"msg": "logged"})),
    "redirect": lambda s: contextlib.redirect_stderr(s).__enter__().write("redirected\n"),
    "unknown attribute": lambda s: s.no_such_thing,
    "new attribute": lambda s: setattr(s, "softspace", 1),
}


def outcome(use, stream):
    try:
        result = use(stream)
        return "returned", result if isinstance(result, (int, str, list, tuple, type(None))) else type(
            result
        ).__name__
    except Exception as error:
        return "raised", type(error).__name__


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
        return "".join(line[28:] for line in file)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", USES)
def test_what_a_real_file_does(tmp_path, log, stream, name):
    path = tmp_path / "real"
    real = open(path, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    try:
        wanted = outcome(USES[name], real)
    finally:
        with contextlib.suppress(ValueError):
            real.close()
    assert outcome(USES[name], stream) == wanted
    stream._pending.flush()
    shown = path.read_bytes().replace(b"\xff", b"\\xff").decode().replace("\\udcff", "\\xff")
    assert text(log) == shown + ("\n" if shown and not shown.endswith("\n") else "")


def test_a_wrapper_around_its_buffer_that_is_thrown_away_leaves_it_usable(log, stream):
    wrapped = io.TextIOWrapper(stream.buffer, encoding="utf-8", line_buffering=True)
    wrapped.write("wrapped\n")
    del wrapped
    gc.collect()
    stream.write("still there\n")
    assert text(log) == "wrapped\nstill there\n"


def test_a_process_can_be_given_the_stream(stream):
    with open(os.devnull, "w") as null:
        kept = os.dup(2)
        try:
            os.dup2(null.fileno(), 2)
            assert subprocess.run(["sh", "-c", "echo x >&2"], stderr=stream).returncode == 0
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def test_wsgi_errors_can_not_be_taken_from_the_other_requests(log, stream):
    shared = ErrorStream(stream._pending, "<wsgi.errors>", shared=True)
    with shared:
        shared.write("in\n")
    shared.close()
    shared.detach().write(b"by its buffer\n")
    shared.buffer.close()
    shared.write("still\n")
    assert not shared.closed
    assert text(log) == "in\nby its buffer\nstill\n"
