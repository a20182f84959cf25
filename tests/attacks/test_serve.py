"""Visitors of `serve`, which has no nginx before it: its files, its headers, its two logs on the terminal."""

import re
import socket

import pytest

from tests.test_serve import Serving

MARK = "not-for-visitors"
APPLICATION = f"""\
# {MARK}
import json, sys
def application(environ, start_response):
    print(environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"), file=sys.stderr)
    if environ["PATH_INFO"] == "/raise":
        raise LookupError(environ["QUERY_STRING"])
    body = json.dumps({{key: value for key, value in environ.items() if isinstance(value, str)}}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """It shows the very folder that holds its code."""
    www = tmp_path_factory.mktemp("serve") / "www"
    for name in (".env", ".git/config", "__pycache__/x.cpython-311.pyc", "settings.py", "sub/models.py", "../beside"):
        (www / name).parent.mkdir(parents=True, exist_ok=True)
        (www / name).write_text(MARK)
    (www / "wsgi.py").write_text(APPLICATION)
    (www / "a.txt").write_text("shown")
    (www / "link").symlink_to("wsgi.py")
    (www / "out").symlink_to("../beside")
    with Serving(www, "--static", str(www)) as running:
        yield running


def talk(serving, data):
    answer = b""
    with socket.create_connection(("127.0.0.1", serving.port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while block := connection.recv(65536):
            answer += block
    return answer


def get(serving, path, headers=b""):
    return talk(
        serving, b"GET %b HTTP/1.1\r\nHost: localhost\r\n%bConnection: close\r\n\r\n" % (path.encode(), headers)
    )


def test_code_and_secrets_are_not_sent(serving):
    """Nor by way of a link, nor in any spelling of dots."""
    assert get(serving, "/static/a.txt").endswith(b"\r\n\r\nshown")
    for name in (
        "wsgi.py", "settings.py", "sub/models.py", "__pycache__/x.cpython-311.pyc", ".env", ".git/config", "link",
        "out", "../beside", "%2e%2e/beside", "..%2fbeside", "x/../../beside", "%2e/.env", "%2eenv", "wsgi%2epy",
        "wsgi.py%00", "wsgi.py%00.txt", "/wsgi.py", "./wsgi.py", "%c0%ae%c0%ae/beside", "..\\beside",
    ):  # fmt: skip
        answer = get(serving, f"/static/{name}")
        assert MARK.encode() not in answer, name
        assert answer, name


def test_what_is_hidden_behind_a_request_is_no_other_one(serving):
    """A connection carries one request: nothing behind it is ever read as the next one."""
    hidden = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for body in (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length: 0\r\n\r\n", b"\r\n",
        b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", b"Content-Length: -1\r\n\r\n",
    ):  # fmt: skip
        answer = talk(serving, b"POST / HTTP/1.1\r\nHost: localhost\r\n" + body + hidden)
        assert answer.count(b"HTTP/1.1 ") <= 1, body
        assert b'"/smuggled"' not in answer
    assert "/smuggled" not in serving.err.read_text()


def test_no_header_passes_for_another_or_for_a_variable(serving):
    """An underscore would collide with a hyphen (CVE-2015-7519)."""
    answer = get(
        serving, "/", b"X_User: forged\r\nSITE_DOMAIN: forged\r\nREMOTE_USER: forged\r\nREQUEST_ID: forged\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"forged" not in answer
    assert b'"REMOTE_ADDR": "127.0.0.1"' in get(serving, "/", b"X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n")


def test_nothing_that_a_visitor_sends_steers_the_terminal(serving):
    """Neither the access lines nor what the application writes of the request; no line is forged."""
    forged = "%0a2026-01-01 00:00:00,000 [-] forged".replace(" ", "%20")
    agent = b'\x1b]0;owned\x07" 200 1 "-" "forged'
    get(serving, f"/%1b]0;owned%07%1b[2J%c2%9b31m{forged}", b"User-Agent: " + agent + b"\r\nReferer: \x9b2J\r\n")
    get(serving, f"/raise?{forged}\x1b[2J")
    serving.access_line("/raise?" + forged + r"\x1B[2J")
    for path in (serving.out, serving.err):
        text = path.read_bytes()
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", text)
        text.decode()
    for line in serving.err.read_text().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[(-|[0-9a-f]{12})\] ", line), line
    assert not re.search(r"^2026-01-01 00:00:00,000", serving.err.read_text(), re.MULTILINE)


def test_the_error_page_tells_nothing(serving):
    answer = get(serving, "/raise?some-secret")
    assert answer.startswith(b"HTTP/1.1 500 ")
    for word in (b"LookupError", b"some-secret", b"Traceback", b"wsgi.py", str(serving.www).encode()):
        assert word not in answer, word
