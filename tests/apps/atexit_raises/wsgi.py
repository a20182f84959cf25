import atexit
import sys


def good_bye():
    print("good bye,", end="", file=sys.stderr)
    raise LookupError("at exit")


atexit.register(good_bye)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
