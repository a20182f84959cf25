import sys


def application(environ, start_response):
    if environ["PATH_INFO"] == "/fine":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]
    sys.exit(3)
