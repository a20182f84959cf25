"""What `explain` says of a URL is what the whole real stack does with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import live_stack
from tests.live import LiveStack, Reply
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook import explain, front_path
from user_wsgi_wrapper.emperor_hook.registry import open_registry
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.site import BadValueError

APP = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"application " + environ["PATH_INFO"].encode("latin-1")]
"""
FILES = [
    "static/a.css", "static/folder/b.txt", "static/.hidden", "static/.env", "static/x.git", "static/.gitignore",
    "static/c.pyc", "static/c.py", "static/ä.txt", "static/with space.txt", "static/50%.txt", "static/que?.txt",
    "static-secret/key.txt", "public/a.css", "public/only.txt", "public/static/a.css", "public/static/public.txt",
    "static/locked/d.txt", "static/unreadable.txt", "outside.txt", "static/.well-known/w.txt",
    "public/unreadable.txt", "static/foreign.txt",
]  # fmt: skip
URLS = [
    "/", "/static", "/static/", "/static/a.css", "/static//a.css", "//static/a.css", "/static/./a.css",
    "/static/a.css/",    "/static/folder", "/static/folder/",
    "/static/folder/b.txt", "/static/folder/../a.css", "/static/../static/a.css",
    "/static/none.css", "/static/%61.css", "/static%2fa.css", "/static/%2e%2e/outside.txt", "/%2e%2e/x", "/../x",
    "/static/.hidden", "/static/.env", "/static/.ENV", "/.git/config", "/static/x.git", "/static/.gitignore",
    "/static/c.pyc", "/static/c.py", "/wsgi.py", "/static/ä.txt", "/static/%C3%A4.txt", "/static/with%20space.txt",
    "/static/50%25.txt", "/static/50%.txt", "/static/que%3f.txt", "/static/que?.txt", "/static/a.css?x=/static/b",
    "/static/a.css#frag", "/static/a%00.css", "/static/a%2", "/static-secret/key.txt", "/a.css", "/only.txt",
    "/static/public.txt", "/static/locked/d.txt", "/static/unreadable.txt", "/unreadable.txt", "/static/foreign.txt",
    "/static/link-in.css", "/static/link-out.txt", "/static/link-secret", "/static/link-absolute.css",
    "/static/link-loop", "/static/link-gone", "/static/link-folder/b.txt", "/static/link-etc", "/static/fifo",
    "/static/link-folder/../a.css", "/second/b.txt", "/second/", "/file", "/file/", "/file/x", "/gone/x.txt",
    "/static/.well-known/w.txt", "/static/a.css;x", "/static/A.css", "/static/...", "/static/folder/%2E/b.txt",
    "/static/folder%2f%2e%2e%2fa.css", "/%73tatic/a.css", "/static/a.css%20", "/x/../static/a.css",
    "/static/" + "n" * 300,
]  # fmt: skip
HOSTS = ["one.test", "ONE.test", "one.test.", "nobody.test", "127.0.0.1", "a_b.test", "x." * 40 + "test"]
NAMES = ["static", "public", "folder", "a.css", "b.txt", ".", "..", "%2e", "%2e%2e", "", ".env", ".hidden", "c.py"]
NAMES += ["link-folder", "link-in.css", "locked", "d.txt", "%61.css", "wsgi.py", "second", "file", "only.txt", "%"]
PATHS = st.lists(st.sampled_from(NAMES), max_size=6).map(lambda names: "/" + "/".join(names))


def fill(live: LiveStack, user: str) -> None:
    www = live.layout.www(user)
    for name in FILES:
        live.write(user, name, f"file /var/www/{name}")
    for name, target in (
        ("link-in.css", "a.css"),
        ("link-out.txt", "../outside.txt"),
        ("link-secret", "../static-secret/key.txt"),
        ("link-absolute.css", "/var/www/static/a.css"),
        ("link-loop", "link-loop"),
        ("link-gone", "nothing"),
        ("link-folder", "folder"),
        ("link-etc", "/etc/passwd"),
    ):
        (www / "static" / name).symlink_to(target)
    os.mkfifo(www / "static/fifo")
    (www / "static/locked").chmod(0)
    os.chown(www / "static/locked", 0, 0)
    for name in ("static/unreadable.txt", "public/unreadable.txt"):
        (www / name).chmod(0)
    os.chown(www / "static/foreign.txt", 0, 0)
    (www / "static/foreign.txt").chmod(0o600)


@pytest.fixture(scope="module")
def live() -> Iterator[LiveStack]:
    with live_stack() as stack:
        stack.site("one.test", "One", APP, "--static", "/static=/var/www/static", "--static",
                   "/second=/var/www/static/folder", "--static", "/file=/var/www/outside.txt", "--static",
                   "/gone=/var/www/not-there")  # fmt: skip
        fill(stack, "One")
        stack.site("two.test", "Two", APP, "--check-static", "/var/www/public")
        fill(stack, "Two")
        stack.site("three.test", "Three", APP, "--static", "/=/var/www")
        fill(stack, "Three")
        yield stack


@pytest.fixture(scope="module")
def machine(live: LiveStack) -> Machine:
    config = configuration.load(live.layout, None)
    return Machine(live.layout, config, open_registry(config, live.layout))


def told(machine: Machine, url: str) -> tuple[object, ...]:
    """The verdict of `explain` in the words of seen()."""
    found = explain.explain(machine, url)
    if found.verdict == "file":
        return ("file", found.file)
    if found.verdict == "application":
        return ("application", found.path)
    return ("answer", found.status)


def seen(reply: Reply) -> tuple[object, ...]:
    """What was answered: a file by its content, the application by its own, else the status."""
    what, _, name = reply.body.decode().partition(" ")
    return (what, name) if reply.status == 200 and what in ("file", "application") else ("answer", reply.status)


def ask(live: LiveStack, host: str, path: str) -> Reply:
    """The request that a browser makes for the path."""
    asked = front_path.split(f"http://{host}{path}")
    query = "?" + path.split("#")[0].partition("?")[2] if "?" in path else ""
    return live.request(host, asked.path.decode() + query)


@pytest.mark.parametrize("state", ["cold", "running"])
@pytest.mark.parametrize("domain", ["one.test", "two.test", "three.test"])
def test_it_agrees_with_the_stack(live: LiveStack, machine: Machine, domain: str, state: str) -> None:
    """For a table of URLs; also if nothing of the site's chroot is built yet."""
    if state == "cold":
        live.command("cool", domain)
        told_before = [told(machine, f"http://{domain}{path}") for path in URLS]
        assert live.status(domain)["state"] == "cold", "looking wakes nobody"
    else:
        live.request(domain)
        told_before = [told(machine, f"{domain}{path}") for path in URLS]
    differences = [
        (path, said, answered)
        for path, said in zip(URLS, told_before, strict=True)
        if said != (answered := seen(ask(live, domain, path)))
    ]
    assert differences == []
    assert {said[0] for said in told_before} == {"file", "application", "answer"}


@given(path=PATHS, domain=st.sampled_from(["one.test", "two.test", "three.test"]))
@example(path="/static/folder/..", domain="one.test")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_agrees_with_the_stack_whatever_the_path(
    live: LiveStack, machine: Machine, path: str, domain: str
) -> None:
    """Dots, escapes, links and folders in any order."""
    assert told(machine, f"http://{domain}{path}") == seen(ask(live, domain, path))


@pytest.mark.parametrize("host", HOSTS)
def test_it_agrees_about_hosts(live: LiveStack, machine: Machine, host: str) -> None:
    """Whatever stands for a domain in the URL."""
    assert told(machine, f"http://{host}/static/a.css") == seen(live.request(host, "/static/a.css"))


def test_who_stands_in_the_way_is_named(live: LiveStack) -> None:
    """The folder or file with its owner and mode; exit 1."""
    done = live.run("explain", "http://one.test/static/locked/d.txt")
    assert done.returncode == 1, done
    assert "/var/www/static/locked may not be entered" in done.stdout
    assert "0000      0      0 folder  /var/www/static/locked" in done.stdout
    done = live.run("explain", "http://one.test/static/foreign.txt")
    assert "/var/www/static/foreign.txt may not be read by the tenant" in done.stdout
    assert "0600      0      0 file    /var/www/static/foreign.txt" in done.stdout


def test_it_says_what_it_tried_and_why_each_missed(live: LiveStack) -> None:
    """A line for each place, in the order in which they are looked at; exit 0 if somebody answers."""
    text = live.command("explain", "http://one.test/static/none.css")
    tried = [line.split(":")[0].split()[1:3] for line in text.splitlines() if line.startswith("  tried")]
    assert [one[1] for one in tried] == [
        "/static=/var/www/static", "/second=/var/www/static/folder", "/file=/var/www/outside.txt",
        "/gone=/var/www/not-there",
    ]  # fmt: skip
    assert "there is no /var/www/static/none.css" in text
    assert "does not begin with /second/" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda www: (www / "wsgi.py").unlink(), "there is no /var/www/wsgi.py"),
        (lambda www: (www / "wsgi.py").chmod(0), "/var/www/wsgi.py may not be read"),
        (lambda www: www.chmod(0), "/var/www may not be entered"),
    ],
)
def test_an_application_that_cannot_be_loaded_is_told_before_it_is_asked_for(live: LiveStack, change, said) -> None:
    """And the visitor gets the error page, as it says."""
    live.site("four.test", "Four", APP)
    try:
        www = live.layout.www("Four")
        change(www)
        done = live.run("explain", "four.test/", "--json")
        assert (done.returncode, '"broken"' in done.stdout, said in done.stdout) == (1, True, True), done
        assert live.request("four.test").status == 500
    finally:
        live.command("site", "remove", "four.test", "--purge")


def test_a_link_leads_root_nowhere(live: LiveStack, machine: Machine, tmp_path: Path) -> None:
    """A tenant whose folders are links to the host's: what is looked at is his own tree, with his own rights."""
    host_secret = tmp_path / "secret.txt"
    host_secret.write_text("the operator's")
    live.site("five.test", "Five", APP)
    www = live.layout.www("Five")
    (www / "static").symlink_to(tmp_path)
    found = explain.explain(machine, "five.test/static/secret.txt")
    assert found.verdict == "application"
    assert found.tries[0].outcome == "there is no /tmp/pytest-of-root", "it is his own /tmp"
    assert seen(live.request("five.test", "/static/secret.txt"))[0] == "application"


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://one.test/", "http://one.test/a b", "http://[::1", "http://a:b/"]
)
def test_what_is_no_url_is_refused_in_one_line(live: LiveStack, url: str) -> None:
    """Exit 2, and the URL is named."""
    done = live.run("explain", url)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done
    assert repr(url) in done.stderr


def test_text_from_the_tenant_steers_no_terminal(live: LiveStack) -> None:
    """A file name with an escape sequence is shown as one."""
    live.write("One", "static/\x1b[2J.txt", "file x")
    text = live.command("explain", "http://one.test/static/%1b[2J.txt")
    assert "\x1b" not in text
    assert "\\x1b[2J.txt" in text


def test_nothing_in_a_url_is_more_than_a_browser_sends() -> None:
    """A path that is no ASCII is sent as UTF-8, one that is escaped as it is."""
    assert front_path.split("http://a.test/ä%20%C3%A4?q").path == b"/%C3%A4%20%C3%A4"
    with pytest.raises(BadValueError):
        front_path.split("http://a.test/\x00")
