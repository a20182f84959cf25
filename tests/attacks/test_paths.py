"""A visitor's paths through the whole real stack: what lies in the tenant's folders and isn't shown stays unseen."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack
from user_wsgi_wrapper.emperor_hook import nginx
from user_wsgi_wrapper.runtime import beneath

MARK = "not-for-visitors"
APPLICATION = f"""\
# {MARK}
def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("{MARK} /home/One/settings.py")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Application", "yes")])
    return [environ["PATH_INFO"].encode("latin-1")]
"""
SHOWN = {"a.txt": "0123456789", ".well-known/x": "shown", "é.txt": "shown", "py.txt": "shown"}
SECRET = (
    "static/.env", "static/.env.production", "static/.git/config", "static/.GIT/config", "static/sub/.hg/store",
    "static/.svn/wc.db", "static/.htpasswd", "static/.ssh/id_ed25519", "static/.netrc", "static/.pgpass", ".env",
    "static/__pycache__/x.cpython-311.pyc", "__pycache__/wsgi.cpython-311.pyc", "settings.py", "app/models.py",
)  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """`one.test` shows its folder `static`, `two.test` by check-static the very folder that holds its code."""
    with live_stack() as live:
        for domain, user, *settings in (("one.test", "One"), ("two.test", "Two", "--check-static", "/var/www")):
            www = live.site(domain, user, APPLICATION, *settings)
            for name, text in SHOWN.items():
                live.write(user, f"static/{name}", text)
            for name in SECRET:
                live.write(user, name, MARK)
            for name, target in (
                ("passwd", "/etc/passwd"), ("environ", "/proc/self/environ"), ("code", "../wsgi.py"),
                ("settings", "../settings.py"), ("home", f"/home/{user}"), ("folder", "/etc"),
            ):  # fmt: skip
                os.symlink(target, www / "static" / name)
                os.lchown(www / "static" / name, www.stat().st_uid, www.stat().st_gid)
            live.write(user, "static/sub/own.py", "shown where no code lies")
        yield live


DOMAINS = ("one.test", "two.test")


def ask(stack: LiveStack, domain: str, path: str, headers: str = "", method: str = "GET") -> tuple[bytes, bytes]:
    """Head and body of what is answered to a path that no HTTP library touched."""
    text = f"{method} {path} HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n{headers}\r\n"
    answer = b""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as connection:
        connection.sendall(text.encode())
        while block := connection.recv(65536):
            answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


UP = ["..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..%2f..",
       "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "..;",
      "..%5c..", "..\\..", "%u002e%u002e", "%uff0e%uff0e", "..%00", "%2e%2e%2f%2e%2e", "...", "..%ff"]  # fmt: skip
TARGETS = ["etc/passwd", "etc/shadow", "var/www/wsgi.py", "wsgi.py", "settings.py", "var/log", "proc/self/environ"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_spelling_of_dots_leads_out(stack: LiveStack, domain: str) -> None:
    """From the root and from a static folder, each way up once and four times, to each file."""
    paths = {
        f"{start}{'/'.join([up] * depth)}{end}{target}"
        for start in ("/", "/static/", "/static//", "//")
        for up in UP
        for depth in (1, 4)
        for end in ("/", "%2f", "%5c")
        for target in TARGETS
    }
    for path in sorted(paths)[:: 7 if domain == "two.test" else 5]:
        _, body = ask(stack, domain, path)
        assert MARK.encode() not in body, path
        assert b"root:" not in body, path
        assert b"PATH=" not in body, path


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    "spell", [str, lambda path: path.replace(".", "%2e"), lambda path: path.replace("/", "//./")]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_no_file_for_visitors_is_not_sent(stack: LiveStack, domain: str, spell, method: str) -> None:  # type: ignore[no-untyped-def]
    """Histories, settings, keys and compiled code anywhere; the source where the folder of the code is shown."""
    for name in (*SECRET, "wsgi.py"):
        head, body = ask(stack, domain, spell(f"/{name}"), method=method)
        assert MARK.encode() not in body, name
        # the length of it would be sent with HEAD
        assert b"X-Application: yes" in head or head.startswith(b"HTTP/1.1 404 "), (name, head)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_link_out_of_the_static_folder_leads_nowhere(stack: LiveStack, domain: str) -> None:
    for name in ("passwd", "environ", "code", "settings", "home/.cache", "folder/passwd", "folder/hosts"):
        head, body = ask(stack, domain, f"/static/{name}")
        assert b"X-Application: yes" in head, name
        assert MARK.encode() not in body
        assert b"root:" not in body


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_nul_ends_no_name(stack: LiveStack, domain: str) -> None:
    for path in ("/static/a.txt%00", "/static/a.txt%00.png", "/settings.py%00.txt", "/%00", "/static/%00/../a.txt"):
        assert ask(stack, domain, path)[0].startswith(b"HTTP/1.1 400 "), path


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_is_shown_is_sent(stack: LiveStack, domain: str) -> None:
    """Without this the tests above might look at a server that sends nothing at all."""
    for path, text in (
        ("/static/a.txt", b"0123456789"), ("/static/%61.txt", b"0123456789"), ("/static/.well-known/x", b"shown"),
        ("/static/x/../a.txt", b"0123456789"), ("/static/%C3%A9.txt", b"shown"), ("/static/py.txt", b"shown"),
    ):  # fmt: skip
        head, body = ask(stack, domain, path)
        assert head.startswith(b"HTTP/1.1 200 "), (path, head)
        assert b"X-Application" not in head
        assert body == text
    shows_source = domain == "one.test"
    head, body = ask(stack, domain, "/static/sub/own.py")
    assert (b"X-Application" not in head) == shows_source
    assert (body == b"shown where no code lies") == shows_source


RANGES = {
    "bytes=2-4": (206, b"234"), "bytes=2-": (206, b"23456789"), "bytes=2-99999": (206, b"23456789"),
    "bytes=-500": (200, b"0123456789"), "bytes= 1-2": (200, b"0123456789"), "bytes=+1-2": (200, b"0123456789"),
    "bytes=99999999999999999999-": (200, b"0123456789"), "bytes=-18446744073709551615": (200, b"0123456789"),
    "bytes=0-1,0-1": (200, b"0123456789"), "bytes=" + ",".join(["0-"] * 2000): (200, b"0123456789"),
    "bytes=" + ",".join(f"{one}-{one + 5}" for one in range(500)): (200, b"0123456789"),
    "x=1-2": (200, b"0123456789"),
}  # fmt: skip


def test_no_range_breaks_off_or_multiplies(stack: LiveStack) -> None:
    """An honest part, or the whole once, and no word in nginx's error log (CVE-2011-3192)."""
    for text, (status, wanted) in RANGES.items():
        head, body = ask(stack, "one.test", "/static/a.txt", f"Range: {text}\r\n")
        assert (int(head.split()[1]), body) == (status, wanted), text[:60]
    assert "prematurely closed" not in stack.own_logs()


def test_a_changed_file_is_never_sent_in_parts_of_two(stack: LiveStack) -> None:
    """If-Range names what the visitor has the beginning of: the rest of another one would ruin it."""
    headers = "Range: bytes=5-\r\nIf-Range: {}\r\n"
    for date in ("Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2100 00:00:00 GMT"):
        head, body = ask(stack, "one.test", "/static/a.txt", headers.format(date))
        assert (int(head.split()[1]), body) == (200, b"0123456789"), date


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_error_page_tells_nothing(stack: LiveStack, domain: str) -> None:
    """No message, path, name of a class or version; the tenant's own log has them."""
    head, body = ask(stack, domain, "/raise")
    assert head.startswith(b"HTTP/1.1 500 ")
    for word in (MARK, "RuntimeError", "Traceback", "/home", "/var", ".py", "uWSGI", "Python", "nginx/"):
        assert word.lower().encode() not in (head + body).lower(), word
    assert MARK in stack.wait_for_log(domain, "RuntimeError")


def test_the_site_goes_on_after_requests_that_uwsgi_cannot_take(stack: LiveStack) -> None:
    """More variables than it has room for, or more bytes of them: a matter of that visitor alone."""
    for headers in (
        "".join(f"X-{one}: a\r\n" for one in range(1000)),
        "".join(f"X-{one}: {'a' * 7900}\r\n" for one in range(4)),
    ):
        assert ask(stack, "one.test", "/", headers)[0].startswith(b"HTTP/1.1 ")
        assert ask(stack, "one.test", "/")[0].startswith(b"HTTP/1.1 200 ")


def test_what_is_secret_is_so_by_one_list() -> None:
    """The front and the runtime refuse the same names."""
    assert {f".{name}".encode() for name in nginx.SECRETS} == set(beneath._SECRET)
