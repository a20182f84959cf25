import sys

OURS = {name for name in sys.modules if name.startswith("user_wsgi_wrapper")}


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(sys.path).encode()]
