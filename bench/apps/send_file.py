"""A file of 10 MB by wsgi.file_wrapper, which uWSGI sends with sendfile(2)."""

import os

import heap  # noqa: F401

PATH = os.environ["BENCH_FILE"]


def application(environ, start_response):
    file = open(PATH, "rb")  # noqa: PTH123, SIM115  as applications do
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "10000000")])
    return environ["wsgi.file_wrapper"](file)
