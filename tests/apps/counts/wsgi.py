import os
import resource
import sys


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/limit":
        # less than the log has already
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    elif path == "/unlimit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    elif path == "/raise":
        raise LookupError("a failure meanwhile")
    else:
        print(f"line {path[1:]} " + "x" * 1000, file=sys.stderr)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
