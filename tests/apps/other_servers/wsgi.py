"""One application for every WSGI server: a path is a way to answer, or to fail."""

import os
import sys


class Body:
    """Says when it is closed."""

    def __init__(self, chunks, error=None):
        self.chunks, self.error = chunks, error

    def __iter__(self):
        yield from self.chunks
        if self.error is not None:
            raise self.error

    def close(self):
        print("closed", file=sys.stderr)


def page(environ, start_response):
    body = f"pid {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def raises(environ, start_response):
    start_response("200 OK", [("Set-Cookie", "a=b")])
    raise LookupError("before the first byte")


def exits(environ, start_response):
    sys.exit(3)


def half(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body([b"half"], LookupError("after the first byte"))


def half_of_a_length(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "8")])
    return Body([b"half"], LookupError("after the first byte"))


def half_written(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "8")])(b"half")
    raise LookupError("after the first byte")


def prints(environ, start_response):
    print("to stderr", file=sys.stderr)
    print("to wsgi.errors", file=environ["wsgi.errors"])
    body = environ["REQUEST_ID"][:12].encode()  # one is made for those lines
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def file(environ, start_response):
    found = open(os.path.join(os.path.dirname(__file__), "static", "big.bin"), "rb")
    size = os.fstat(found.fileno()).st_size
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    return environ["wsgi.file_wrapper"](found)


def whole(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "9")])
    return Body([b"one", b"two", b"six"])


def endless(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body(b"x" * 65536 for _ in range(100_000))


def writes(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(100_000):
        write(b"x" * 65536)
    return []


def reads(environ, start_response):
    body = str(len(environ["wsgi.input"].read(1000))).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def application(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/")](environ, start_response)
