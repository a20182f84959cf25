"""Exceptions that are hard to write down."""

import sys


class Nested(Exception):
    pass


def group():
    try:
        {}["key"]
    except KeyError as error:
        note = ValueError("noted")
        if hasattr(note, "add_note"):
            note.add_note("a note\nof two lines")
        if sys.version_info < (3, 11):
            raise note from error
        raise ExceptionGroup("several", [note, ExceptionGroup("inner", [TypeError("deep")])]) from error  # noqa: F821


def chain(depth):
    try:
        if depth:
            chain(depth - 1)
    finally:
        raise Nested(f"level {depth}")


def endless():
    error = Nested("its own cause")
    error.__cause__ = Nested("between")
    error.__cause__.__cause__ = error
    raise error


def sqlite():
    import sqlite3

    raise sqlite3.OperationalError("no such table: \x1b[31mtags\x1b[0m")


MESSAGES = {
    "/huge": "x" * (1 << 20) + "END",
    "/nul": "a\0b\ud800c\udcffd",
    "/ansi": "\x1b[2J\x1b[31mred\x1b]0;title\x07\x9b1m\rover",
    "/forged": "one\n2012-08-24 10:11:12,345 [aaaaaaaaaaaa] GET /: the application failed in its call\r\n\x0b\x0c\u2028end",
}


def huge_lines():  # a failure of its own kind: of one that is like /huge only the count would be told
    raise Nested("y" * 99 + "\n" + "\n".join("z" * 99 for _ in range(10_000)))


ACTIONS = {
    "/group": group, "/endless": endless, "/chain": lambda: chain(30), "/sqlite": sqlite, "/huge_lines": huge_lines
}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path in ACTIONS:
        ACTIONS[path]()
    if path in MESSAGES:
        raise Nested(MESSAGES[path])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
