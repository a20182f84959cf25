"""One request of each kind, in turns, by the query string."""

import sys


class Body:
    def __init__(self, environ):
        self.environ = environ

    def __iter__(self):
        yield b"o"
        yield b"k"

    def close(self):
        self.environ["closed"] = True


def application(environ, start_response):
    kind = environ["QUERY_STRING"]
    if kind == "raises":
        raise LookupError("expected")
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if kind == "generator":
        return (chunk for chunk in [b"o", b"k"])
    if kind == "object":
        return Body(environ)
    if kind == "prints":
        print("a line", end="", file=sys.stderr)
    elif kind == "writes":
        write(b"ok")
        return []
    elif kind == "iteration":
        return raising(environ)
    return [b"ok"]


def raising(environ):
    yield b""
    raise LookupError(environ["PATH_INFO"])
