"""Our static files beside nginx's for the same folder: the same requests get the same answers.

Where they differ, RFC 9110 says so, and the difference is listed with its section.
"""

import contextlib
import gzip
import http.client
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
from email.utils import formatdate
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest

from tests.live import free_port, wait_for
from user_wsgi_wrapper.runtime.static import StaticFiles

MODIFIED = 1_700_000_001
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 64; }}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log off;
    client_body_temp_path {folder}/temporary;
    if_modified_since before;
    gzip_static on;
    gzip_vary on;
    disable_symlinks if_not_owner from=$document_root;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/root;
        location / {{ try_files $uri =404; }}
    }}
}}
"""


class Quiet(WSGIRequestHandler):
    """Gives the application the header fields as they came."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def servers():
    """The ports of nginx and of our own files under wsgiref's server, both over one folder."""
    folder = Path(tempfile.mkdtemp(prefix="static-"))
    folder.chmod(0o755)
    root = folder / "root" / "static"
    root.mkdir(parents=True)
    for name, content in CONTENTS.items():
        path = root / name
        path.write_bytes(content)
        os.utime(path, (MODIFIED, MODIFIED))
    (root / "folder").mkdir()
    (root / "link.txt").symlink_to("digits.txt")
    (root / "foreign.txt").symlink_to("digits.txt")
    os.lchown(root / "foreign.txt", 12345, 12345)
    port = free_port()
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port))
    nginx = subprocess.Popen(["nginx", "-e", folder / "nginx.log", "-c", folder / "nginx.conf"])
    files = StaticFiles([("/static", str(root))])

    def application(environ, start_response):
        found = files.serve(environ, start_response)
        if found is not None:
            return found
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return []

    ours = WSGIServer(("127.0.0.1", 0), Quiet)
    ours.set_app(application)
    thread = threading.Thread(target=ours.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        wait_for(lambda: listens(port), "nginx listens")
        yield port, ours.server_port
    finally:
        nginx.terminate()
        nginx.wait(20)
        ours.shutdown()
        thread.join()
        ours.server_close()
        shutil.rmtree(folder)


CONTENTS = {
    "digits.txt": b"0123456789",
    "empty.txt": b"",
    "packed.js": b"let one = 1;\n" * 100,
    "packed.js.gz": gzip.compress(b"let one = 1;\n" * 100),
    "page.html": b"<p>",
    "picture.png": b"\x89PNG",
    "font.woff2": b"wOF2",
    "data.json": b"{}",
    "drawing.svg": b"<svg/>",
    "nothing": b"?",
    "style.css": b"p{}",
}


def listens(port):
    try:
        return ask(port, "/static/digits.txt")
    except OSError:
        return None


def ask(port, path, method="GET", headers=()):
    """Status, header fields and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def compared(port, path, method, headers):
    """What of an answer has to be the same. Each server's own tag stands for TAG in the request."""
    tag = ask(port, path, headers=[pair for pair in headers if pair[0] == "Accept-Encoding"])[1].get("etag", "")
    status, fields, body = ask(port, path, method, [(name, value.replace("TAG", tag)) for name, value in headers])
    if status not in (200, 206):
        body = b""
    names = {"content-range"}
    if status in (200, 206):
        names |= {"content-length", "last-modified", "content-encoding", "vary"}
    return status, {name: fields.get(name) for name in sorted(names)}, body


SAME, OLD, NEW = (formatdate(MODIFIED + shift, usegmt=True) for shift in (0, -1000, 1000))
TAGS = ["TAG", "W/TAG", '"other"', '"other", TAG', 'W/"other",W/TAG', "*", "", '"x', "other"]
DATES = [SAME, OLD, NEW, "never", "", "Tuesday, 14-Nov-23 22:13:21 GMT", "Tue Nov 14 22:13:21 2023"]
RANGES = [
    "bytes=0-0", "bytes=-1", "bytes=0-", "bytes=2-4", "bytes=9-9", "bytes=9-", "bytes=-10", "bytes=-11",
    "bytes=5-100", "bytes=10-", "bytes=10-11", "bytes=-0", "bytes=99999999999999999999-", "items=0-1", "bytes", "",
    "bytes 0-1",
]  # fmt: skip
CASES = [
    *([("If-None-Match", tag)] for tag in TAGS),
    *([("If-Match", tag)] for tag in TAGS),
    *([("If-Modified-Since", date)] for date in DATES),
    *([("If-Unmodified-Since", date)] for date in DATES),
    *([("If-None-Match", tag), ("If-Modified-Since", date)] for tag, date in itertools.product(TAGS[:3], DATES[:3])),
    *([("If-Match", tag), ("If-Unmodified-Since", date)] for tag, date in itertools.product(TAGS[:3], DATES[:3])),
    *([("If-Match", tag), ("If-None-Match", other)] for tag, other in itertools.product(TAGS[:3], TAGS[:3])),
    *([("Range", value)] for value in RANGES),
    *([("Range", "bytes=2-4"), ("If-Range", value)] for value in [*TAGS[:3], *DATES[:5]]),
    *([("Range", value), ("If-None-Match", tag)] for value, tag in itertools.product(RANGES[:3], TAGS[:3])),
    *([("Range", "bytes=10-"), ("If-Range", value)] for value in ["TAG", '"other"']),
]
PACKED = [
    *([("Accept-Encoding", value)] for value in ["gzip", "gzip;q=0", "gzip;q=0.5", "identity", "br", "*", ""]),
    [("Accept-Encoding", "gzip"), ("If-None-Match", "TAG")],
    [("Accept-Encoding", "gzip"), ("Range", "bytes=0-1")],
]


# Where we follow RFC 9110 and nginx doesn't: what such a request has, and the section.
ALLOWED = {
    "an invalid If-Unmodified-Since is ignored, 13.1.4": lambda method, path, has: (
        has.get("If-Unmodified-Since") in ("never", "") and "If-Match" not in has
    ),
    "If-Modified-Since is ignored beside If-None-Match, 13.1.3": lambda method, path, has: (
        "TAG" in has.get("If-None-Match", "") and has.get("If-Modified-Since") == OLD
    ),
    "If-Unmodified-Since is ignored beside If-Match, 13.1.4": lambda method, path, has: (
        has.get("If-Match") == "TAG" and has.get("If-Unmodified-Since") == OLD
    ),
    "a Range is for GET alone, 14.2": lambda method, path, has: (
        method == "HEAD" and has.get("Range", "").startswith("bytes=")
    ),
    "no byte of an empty file can be had, 14.1.2 and 15.5.17": lambda method, path, has: (
        method == "GET" and path == "/static/empty.txt" and has.get("Range", "").startswith("bytes=")
    ),
    "* takes any coding, 12.5.3": lambda method, path, has: has.get("Accept-Encoding") == "*",
    "a Range is of the bytes that are chosen, packed ones too, 14.2": lambda method, path, has: (
        "Accept-Encoding" in has and "Range" in has
    ),
}


def differences(servers, path, method, cases):
    """Those that no section of RFC 9110 explains."""
    found = []
    for headers in cases:
        wanted, got = (compared(port, path, method, headers) for port in servers)
        if wanted != got and not any(allows(method, path, dict(headers)) for allows in ALLOWED.values()):
            found.append(f"{headers}: nginx {wanted}, ours {got}")
    return found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/static/digits.txt", "/static/empty.txt"])
def test_conditions_and_ranges_have_nginxs_answers(servers, path, method):
    assert differences(servers, path, method, CASES) == []


@pytest.mark.parametrize("reason", ALLOWED)
def test_no_difference_is_allowed_without_need(servers, reason):
    allows = ALLOWED[reason]
    assert any(
        compared(servers[0], path, method, headers) != compared(servers[1], path, method, headers)
        for path in ("/static/digits.txt", "/static/empty.txt", "/static/packed.js")
        for method in ("GET", "HEAD")
        for headers in (PACKED if path == "/static/packed.js" else CASES)
        if allows(method, path, dict(headers))
    )


@pytest.mark.parametrize("path", ["/static/packed.js", "/static/digits.txt"])
def test_packed_files_have_nginxs_answers(servers, path):
    assert differences(servers, path, "GET", PACKED) == []


def test_types_are_nginxs_but_where_a_standard_has_changed_them(servers):
    changed = {"packed.js": "text/javascript", "packed.js.gz": "application/gzip"}  # RFC 9239, RFC 6713
    for name in CONTENTS:
        wanted, got = (ask(port, f"/static/{name}")[1]["content-type"].partition(";")[0] for port in servers)
        assert got == changed.get(name, wanted), name


PATHS = [
    "link.txt", "foreign.txt", "none", "folder", "folder/", "folder/../digits.txt", "../root/static/digits.txt",
    "%64igits.txt", "digits.txt/", "digits.txt/x", "%2e%2e/static/digits.txt", "..%2fstatic/digits.txt", "",
    ".//digits.txt", "digits.txt%00", "//digits.txt", "DIGITS.TXT", "digits.txt?x=1", "digits.txt%20", "%c3%a9",
]  # fmt: skip


def test_paths_lead_to_nginxs_files_or_nowhere(servers):
    """nginx resolves dots before it looks, also when it stands in front of us; alone, we leave such paths alone."""
    for path in PATHS:
        wanted, got = (answer[2] if answer[0] == 200 else None for answer in asked(servers, f"/static/{path}"))
        has_dots = "./" in urllib.parse.unquote(path)
        assert got == (None if has_dots else wanted), path


def asked(servers, path):
    return [ask(port, path) for port in servers]
