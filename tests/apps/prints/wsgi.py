import sys
import warnings


def application(environ, start_response):
    print("to stderr", 1, 2, file=sys.stderr)
    print("to wsgi.errors", file=environ["wsgi.errors"])
    sys.stderr.write("three\nlines\nat once\n")
    warnings.warn("a warning", stacklevel=1)
    print("to stdout")
    print("unfinished", end="", file=sys.stderr)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
