import sys


class Body:
    def __init__(self, fails):
        self.fails = fails

    def __iter__(self):
        yield b"x" * 65536
        if self.fails:
            raise LookupError("half-way")
        for _ in range(500):
            yield b"x" * 65536

    def close(self):
        print("closed", file=sys.stderr)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(501 * 65536))])
    return Body(environ["PATH_INFO"] == "/fails")
