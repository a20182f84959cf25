"""The web pages on a real stack: what they show and do, and that nobody gets from them what isn't his."""

from __future__ import annotations

import contextlib
import html
import http.client
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import live_stack
from tests.live import PATIENCE, LiveStack, free_port, wait_for
from tests.web_visitor import HOST, Visitor, command, log_in, new_token
from user_wsgi_wrapper.web import live_tail, throttle

APP = """\
import os, sys
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError("<script>alert(1)</script>")
    if path == "/env":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr({k: v for k, v in os.environ.items() if k.startswith("MY_")}).encode()]
    print("<img src=x onerror=alert(1)>", path, file=sys.stderr)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"version 1"]
"""
HER, HIS = "her.example.org", "his.example.org"
PAGES = ("", "/logs", "/logs?kind=access", "/logs/stream?kind=error", "/errors", "/settings", "/reload")


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """Two tenants, one of whom has a second site, and the pages; who visits is told by a header."""
    with live_stack(f'[web]\nhost = "{HOST}"\n[front]\nreal_ip_from = ["127.0.0.1"]\n') as live:
        live.site(HER, "Alice", APP)
        live.site("second.example.org", "Alice", None)
        live.site(HIS, "Bob", APP, "--env", "MY_SECRET=of Bob")
        for path in ("/", "/fail", "/fail"):
            live.request(HER, path)
        live.request(HIS)
        yield live


def said(stack: LiveStack, *arguments: str) -> str:
    """The output of a command that succeeds."""
    status, text, errors = command(stack, *arguments)
    assert status == 0, (arguments, errors)
    return text


@pytest.fixture
def alice(stack: LiveStack) -> Visitor:
    return log_in(stack, "--user", "Alice")


@pytest.fixture
def operator(stack: LiveStack) -> Visitor:
    return log_in(stack, "--operator")


# -- who sees what


def test_a_tenant_sees_his_own_sites_and_the_operator_all(alice: Visitor, operator: Visitor) -> None:
    seen = set(re.findall(r'href="/sites/([^"]+)"', alice.get("/").text))
    assert seen == {HER, "second.example.org"}
    assert set(re.findall(r'href="/sites/([^"]+)"', operator.get("/").text)) == {*seen, HIS}
    assert HIS in operator.get("/?q=BOB").text
    assert HER not in operator.get("/?q=BOB").text


@pytest.mark.parametrize("page", PAGES)
def test_another_tenants_site_is_as_if_there_were_none(alice: Visitor, page: str) -> None:
    his, none = alice.get(f"/sites/{HIS}{page}"), alice.get(f"/sites/nobody.example.org{page}")
    assert his.status == none.status == 404
    assert his.body == none.body
    spelled = HIS.upper().replace(".", "%2E")
    assert alice.get(f"/sites/{spelled}{page}").status == 404


def test_nobody_changes_or_reloads_anothers_site(stack: LiveStack, alice: Visitor) -> None:
    before = said(stack, "site", "show", HIS, "--json")
    fields = alice.fields(f"/sites/{HER}/settings")
    for path in ("settings", "reload"):
        for form in (fields, {**fields, "domain": HIS, "env": "MY_SECRET=stolen"}):
            assert alice.post(f"/sites/{HIS}/{path}", form).status == 404
    assert said(stack, "site", "show", HIS, "--json") == before
    assert json.loads(log_in(stack, "--operator").get(f"/sites/{HIS}/reload").text)["state"] == "none"


def test_a_token_for_a_site_ends_with_its_owner(stack: LiveStack) -> None:
    """The domain is another's now; his files and errors aren't for who had the domain before."""
    domain = "moves.example.org"
    stack.site(domain, "Carol", None)
    carol = log_in(stack, "--site", domain)
    assert carol.get(f"/sites/{domain}").status == 200
    assert carol.get(f"/sites/{HER}").status == 404
    said(stack, "site", "remove", domain)
    stack.site(domain, "Dave", None)
    assert carol.get(f"/sites/{domain}").status == 404
    assert domain not in carol.get("/").text


@pytest.mark.parametrize("path", ["/", *(f"/sites/{HER}{page}" for page in PAGES)])
def test_who_is_not_logged_in_gets_nothing(stack: LiveStack, path: str) -> None:
    stranger = Visitor(stack, cookie="session=guessed; __Host-session=guessed")
    reply = stranger.get(path)
    assert (reply.status, reply.headers.get("location", "/login")) in ((303, "/login"), (401, "/login"))
    assert HER not in reply.text
    assert stranger.post(path.partition("?")[0], {}).status in (401, 405)


# -- logging in and out


def test_a_login_is_always_a_new_one(stack: LiveStack) -> None:
    """Session fixation: what an attacker has put into the visitor's browser is worth nothing after the login."""
    planted = log_in(stack, "--site", HER).cookie
    victim = Visitor(stack, cookie=planted)
    reply = victim.log_in(new_token(stack, "--operator"))
    assert victim.cookie != planted
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(reply.headers["set-cookie"].split("; "))
    assert Visitor(stack, cookie=planted).get("/").status == 303, "the planted login has ended"
    assert Visitor(stack, cookie="session=attackers-choice").log_in("wrong").status == 401
    assert Visitor(stack, cookie="session=attackers-choice").get("/").status == 303


def test_over_https_the_cookie_is_for_this_host_and_https_alone(stack: LiveStack) -> None:
    secure = Visitor(stack, headers={"X-Forwarded-Proto": "https"})
    reply = secure.log_in(new_token(stack, "--operator"))
    assert reply.headers["set-cookie"].startswith("__Host-session=")
    assert "Secure" in reply.headers["set-cookie"].split("; ")
    assert secure.get("/").status == 200


def test_guessing_is_stopped_for_the_address_that_guesses(stack: LiveStack) -> None:
    good = new_token(stack, "--operator")
    guesser = Visitor(stack, address="198.51.100.7")
    for number in range(throttle.FAILURES):
        assert guesser.log_in(f"uww_{number}").status == 401
    reply = guesser.log_in(good)
    assert (reply.status, int(reply.headers["retry-after"]) > 0) == (429, True), "the right one is refused too"
    assert guesser.get("/metrics", Authorization=f"Bearer {good}").status == 401
    assert Visitor(stack, address="198.51.100.8").log_in(good).status == 303


def test_logging_out_ends_the_login_and_its_live_tails(stack: LiveStack, alice: Visitor) -> None:
    with alice.events(f"/sites/{HER}/logs/stream?kind=error") as lines:
        assert b"event: begin\n" in [next(lines) for _ in range(4)]
        cookie = alice.cookie
        assert alice.post("/logout", {"csrf": alice.fields("/")["csrf"]}).status == 303
        assert b"event: over\n" in list(lines), "the stream was ended"
    assert Visitor(stack, cookie=cookie).get("/").status == 303


def test_a_revoked_token_is_logged_out(stack: LiveStack) -> None:
    said(stack, "token", "add", "leaving", "--user", "Alice")
    said(stack, "token", "revoke", "leaving")
    one = Visitor(stack)
    one.log_in(said(stack, "token", "add", "leaving", "--user", "Alice").strip())
    assert one.get("/").status == 200
    with one.events(f"/sites/{HER}/logs/stream?kind=error") as lines:
        said(stack, "token", "revoke", "leaving")
        assert one.get("/").status == 303
        assert b"event: over\n" in list(lines)
    assert command(stack, "token", "revoke", "leaving")[0] == 1


def test_tokens_are_kept_as_hashes_in_a_file_of_roots(stack: LiveStack) -> None:
    text = new_token(stack, "--operator")
    path = stack.layout.web_tokens
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text not in path.read_text()
    assert text.removeprefix("uww_") not in said(stack, "token", "list", "--json")
    assert "digest" not in said(stack, "token", "list", "--json")
    for bad in (["x y", "--operator"], ["x", "--site", "no such domain"], ["x", "--user", "../x"]):
        assert command(stack, "token", "add", *bad)[0] == 2, bad
    assert command(stack, "token", "add", "x", "--site", "nobody.example.org")[0] == 1


# -- forms that others send


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{HER}"},
        {"Origin": f"http://{HOST}.evil.example"},
        {"Origin": f"http://{HOST}:1"},
        {"Origin": ""},
    ],
)
def test_a_form_of_another_sites_page_does_nothing(stack: LiveStack, alice: Visitor, headers: dict[str, str]) -> None:
    """Also of a sibling's, which SameSite lets through, and also if it has got hold of the form's word."""
    fields = alice.fields(f"/sites/{HER}/settings")
    fields["env"] = "MY_STOLEN=yes"
    assert alice.post(f"/sites/{HER}/settings", fields, **headers).status == 403
    assert Visitor(stack).post("/login", {"token": new_token(stack, "--operator")}, **headers).status == 403
    assert "MY_STOLEN" not in said(stack, "site", "show", HER)


def test_a_form_without_its_word_does_nothing(stack: LiveStack, alice: Visitor) -> None:
    fields = alice.fields(f"/sites/{HER}/settings")
    others = log_in(stack, "--user", "Alice").fields(f"/sites/{HER}/settings")["csrf"]
    for word in ("", "x", others, "\udcff"):
        fields |= {"env": "MY_STOLEN=yes", "csrf": word.encode("utf-8", "replace").decode()}
        assert alice.post(f"/sites/{HER}/settings", fields).status == 403
        assert alice.post(f"/sites/{HER}/reload", fields).status == 403
        assert alice.post("/logout", fields).status == 403
    assert alice.get(f"/sites/{HER}/reload").status == 200
    assert "MY_STOLEN" not in said(stack, "site", "show", HER)


def test_nothing_is_done_by_a_get(alice: Visitor) -> None:
    assert alice.get("/logout").status == 405
    assert json.loads(alice.get(f"/sites/{HER}/reload?csrf=x").text)["state"] == "none"


# -- what tenants and visitors write is text


def test_what_logs_and_settings_hold_is_shown_as_text(stack: LiveStack, operator: Visitor) -> None:
    evil = "</textarea><script>alert(1)</script>\"' onfocus=alert(1) x="
    said(stack, "site", "set", HER, "--env", f"MY_EVIL={evil}", "--virtualenv", '/home/"><script>alert(1)</script>')
    try:
        stack.request(HER, "/<script>alert(1)</script>", headers={"User-Agent": "<script>alert(1)</script>"})
        for page in ("", "/logs", "/logs?kind=access", "/logs?kind=server", "/errors", "/settings"):
            reply = operator.get(f"/sites/{HER}{page}")
            assert reply.status == 200
            assert "alert(1)" in reply.text or page in ("", "/logs?kind=server")
            assert re.findall(r"<script[^>]*>", reply.text) == ['<script src="/assets/page.js" defer>'], page
            assert "<img src=x" not in reply.text
            policy = reply.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
        assert operator.fields(f"/sites/{HER}/settings")["env"] == f"MY_EVIL={evil}"
        assert "<script>" not in operator.get("/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").text
    finally:
        said(stack, "site", "set", HER, "--unset-env", "MY_EVIL", "--virtualenv", "")


def test_a_line_can_not_break_out_of_its_event(stack: LiveStack, operator: Visitor) -> None:
    log = stack.layout.log_file(HIS, "error")
    with operator.events(f"/sites/{HIS}/logs/stream?kind=error") as lines:
        with log.open("ab") as file:
            file.write(b"one\rdata: two\revent: over\r\rthree\x1b[2J\xff\n" + b"w" * 100_000 + b"\nend\n")
        got = []
        while not got or got[-1] != b"data: end\n":
            got.append(next(lines))
    whole = b"".join(got)
    assert b"\r" not in whole
    assert b"\x1b" not in whole
    assert b"event: over\n" not in whole
    assert max(map(len, got)) < 5000


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../application.py",
        "/assets/..%2fapplication.py",
        "/assets/%2e%2e/%2e%2e/layout.py",
        "/assets//etc/passwd",
        "/assets/style.css%00.html",
        f"/sites/{HER}/../{HIS}",
        "/sites/..%2f..%2f..%2fetc/logs",
        f"/sites/{HER}%2f..%2f{HIS}/logs",
        f"/sites/{HER}/logs?kind=../../{HIS}/{HIS}.error",
        f"/sites/{HER}/logs?kind=error%00",
        f"/sites/{HER}/logs/stream?kind=/etc/passwd",
    ],
)
def test_no_spelling_of_a_path_leads_elsewhere(alice: Visitor, path: str) -> None:
    reply = alice.get(path)
    assert reply.status in (400, 404), reply.text
    assert "root:" not in reply.text
    assert "of Bob" not in reply.text


# -- what the pages do


def test_settings_are_checked_as_the_command_line_checks_them(stack: LiveStack, alice: Visitor) -> None:
    path = f"/sites/{HER}/settings"
    before = said(stack, "site", "show", HER, "--json")
    for name, option, value in (
        ("static", "--static", "/x=relative"),
        ("static", "--static", "/x=/var/www/../etc"),
        ("env", "--env", "SITE_DOMAIN=x"),
        ("env", "--env", "A=@(exec://id)"),
        ("env", "--env", "9=x"),
        ("virtualenv", "--virtualenv", "venv"),
    ):
        told = command(stack, "site", "set", HER, option, value)[2].strip().removeprefix("user-wsgi-wrapper: ")
        reply = alice.post(path, {**alice.fields(path), "virtualenv": "", name: value})
        assert reply.status == 422, (name, value)
        assert told, (option, value)
        assert told in html.unescape(reply.text)
        assert value.split("=")[0] in reply.text, "what was written isn't lost"
    assert said(stack, "site", "show", HER, "--json") == before


@pytest.mark.parametrize(
    "variable", ["LD_PRELOAD=/home/Alice/x.so", "TZ=:/dev/watchdog", "TZ=/etc/x", "GCONV_PATH=/x"]
)
def test_a_tenant_sets_nothing_that_root_would_obey(stack: LiveStack, alice: Visitor, variable: str) -> None:
    path = f"/sites/{HER}/settings"
    reply = alice.post(path, {**alice.fields(path), "env": variable})
    assert reply.status == 422
    assert variable.split("=")[0] not in json.loads(said(stack, "site", "show", HER, "--json"))["env"]


def test_settings_reach_the_running_site_and_a_stale_form_does_not(stack: LiveStack, alice: Visitor) -> None:
    path = f"/sites/{HER}/settings"
    fields = {"virtualenv": "", **alice.fields(path)}
    assert stack.request(HER).status == 200
    changed = alice.post(path, {**fields, "env": "MY_COLOR=blue\r\n\r\nTZ=Europe/Vienna"})
    assert (changed.status, changed.headers["location"]) == (303, f"{path}?changed=1")
    wait_for(lambda: "blue" in stack.request(HER, "/env").text, "the site has the variable")
    assert "were changed" in alice.get(f"{path}?changed=1").text
    late = alice.post(path, {**fields, "env": "MY_COLOR=red"})
    assert late.status == 409
    assert "blue" in said(stack, "site", "show", HER)


def test_a_reload_tells_its_outcome(stack: LiveStack, alice: Visitor) -> None:
    csrf = {"csrf": alice.fields("/")["csrf"]}
    page = f"/sites/{HER}/reload"

    def outcome() -> dict[str, str]:
        assert alice.post(page, csrf).status == 303
        return wait_for(  # type: ignore[no-any-return]
            lambda: (told := json.loads(alice.get(page).text))["state"] != "running" and told, "there is an outcome"
        )

    assert stack.request(HER).status == 200
    stack.write("Alice", "wsgi.py", "import <oops>\n")
    refused = outcome()
    assert refused["state"] == "refused"
    assert "SyntaxError" in refused["text"]
    assert stack.request(HER).text == "version 1"
    overview = alice.get(f"/sites/{HER}").text
    assert "import &lt;oops&gt;" in overview
    assert "broken deploy" in overview
    stack.write("Alice", "wsgi.py", APP)
    assert outcome()["state"] == "done"


def test_failures_are_grouped_by_place(stack: LiveStack, alice: Visitor) -> None:
    text = alice.get(f"/sites/{HER}/errors").text
    article = next(one for one in text.split("<article") if "<h3>ValueError</h3>" in one)
    assert "/var/www/wsgi.py:5 in application" in article
    assert "<dt>Times</dt><dd>2</dd>" in article
    assert "GET /fail: the application failed" in article


def test_live_tails_show_what_comes_and_are_bounded(stack: LiveStack, alice: Visitor) -> None:
    path = f"/sites/{HER}/logs/stream?kind=access"
    with contextlib.ExitStack() as open_ones:
        for _ in range(live_tail.OF_A_TOKEN):
            lines = open_ones.enter_context(alice.events(path))
            assert b"event: begin\n" in [next(lines) for _ in range(4)]
        assert alice.get(path).status == 503
        stack.request(HER, "/looked-for")
        assert next(line for line in lines if b"/looked-for" in line).startswith(b"data: ")
        with log_in(stack, "--user", "Alice").events(path) as others:
            assert next(others)

    def is_free() -> bool:
        with contextlib.suppress(AssertionError), alice.events(path):
            return True
        stack.request(HER, "/wakes-the-readers")  # who is gone is noticed when something is written to him
        return False

    wait_for(is_free, "closed ones make room")


def test_the_pages_can_be_had_at_a_port_and_under_no_other_name(stack: LiveStack) -> None:
    port = free_port()
    command = [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(stack.root), "web", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:

        def status(host: str) -> int:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                try:
                    connection.request("GET", "/login", headers={"Host": host})
                    with contextlib.closing(connection.getresponse()) as response:
                        return response.status
                except OSError:
                    return 0

        wait_for(lambda: status("localhost") == 200, "it answers")
        assert status(f"127.0.0.1:{port}") == 200
        assert status("rebound.evil.example") == 421
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


def test_without_a_host_name_there_are_no_pages(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(tmp_path), "web"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "web.host" in done.stderr
