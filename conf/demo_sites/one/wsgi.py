"""A plain WSGI application. Change it, touch it, and look again."""

import os
import sys

PAGE = """<!doctype html><title>one</title><link rel="stylesheet" href="/static/one.css">
<h1>This is One's site</h1>
<ul>
<li><a href="/static/one.css">a static file</a></li>
<li><a href="/print">a page that prints to stderr</a></li>
<li><a href="/raise">a page that raises</a></li>
</ul>
<p>uid {uid}, process {pid}, visitor {visitor}</p>
"""


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/print":
        print("somebody from", environ["REMOTE_ADDR"], "asked for /print", file=sys.stderr)
        return answer(start_response, "text/plain", "One line more stands in the error log.\n")
    if path == "/raise":
        raise RuntimeError("somebody asked for /raise")
    if path != "/":
        return answer(start_response, "text/plain", "There is no such page.\n", "404 Not Found")
    page = PAGE.format(uid=os.getuid(), pid=os.getpid(), visitor=environ["REMOTE_ADDR"])
    return answer(start_response, "text/html", page)


def answer(start_response, kind, text, status="200 OK"):
    body = text.encode()
    start_response(status, [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
