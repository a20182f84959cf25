"""Results of every kind that tell when they are closed."""

import io
import sys
import time


class Tells:
    def close(self):
        print("closed", self.id, file=sys.stderr)


class List(Tells, list):
    pass


class Chunks(Tells):
    def __init__(self, *chunks):
        self.chunks = chunks

    def __iter__(self):
        for chunk in self.chunks:
            if chunk is None:
                raise LookupError("half-way")
            yield chunk


class Sleeps(Chunks):
    def __iter__(self):
        time.sleep(0.2)
        yield b"x" * 1_000_000
        yield b"y" * 1_000_000


class NoIterator(Tells):
    def __iter__(self):
        raise LookupError("no iterator")


class File(Tells):
    def __init__(self):
        self.file = io.BytesIO(b"file")

    def read(self, size=-1):
        return self.file.read(size)


def generator(known):
    try:
        yield b"gener"
        yield b"ator"
    finally:
        print("closed", known, file=sys.stderr)


RESULTS = {
    "/list": lambda: List([b"list"]),
    "/list_of_text": lambda: List(["text"]),
    "/chunks": lambda: Chunks(b"chu", b"nks"),
    "/nothing": lambda: Chunks(),
    "/empty": lambda: Chunks(b"", b""),
    "/text": lambda: Chunks("text"),
    "/fails_first": lambda: Chunks(b"", None),
    "/fails_later": lambda: Chunks(b"one", None),
    "/no_iterator": NoIterator,
    "/sleeps": Sleeps,
    "/file": File,
}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    known = environ["REQUEST_ID"][:12]
    if path == "/generator":
        result = generator(known)
    else:
        result = RESULTS[path.removesuffix("/unstarted")]()
        result.id = known
    if path == "/file":
        result = environ["wsgi.file_wrapper"](result, 65536)
    if not path.endswith("/unstarted"):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return result
