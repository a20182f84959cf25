import sys


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise LookupError("handled by the application")
    except LookupError:
        start_response("418 I'm a teapot", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"teapot"]
