"""Sites through the whole real stack: woken, served, logged, put to sleep."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.live import LiveStack, wait_for

PLAIN = """\
import hashlib, os, sys

def application(environ, start_response):
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise RuntimeError("it was raised")
    if path == "/print":
        print("printed to stderr", file=sys.stderr)
        print("printed to stdout")
    text = "%d %d %s %s %d %s %s" % (
        os.getpid(), os.getuid(), environ["REQUEST_METHOD"], environ["REQUEST_URI"], len(body),
        hashlib.sha256(body).hexdigest(), os.getcwd())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]
"""
COUNTER = """\
import os
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    with open("/home/%s/calls" % os.environ["USER"], "a") as calls:
        calls.write("%s %d\\n" % (environ["REQUEST_METHOD"], len(body)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"version {version}"]
"""


def test_a_site_never_asked_for_wakes_on_its_first_request(stack: LiveStack) -> None:
    """It runs under its own uid in its own chroot, and its tenant's name keeps its case."""
    stack.site("one.test", "MixedCase", PLAIN)
    assert stack.status("one.test")["state"] == "cold"
    reply = stack.request("One.TEST", "/a%2Fb//c?d=%20e")
    assert reply.status == 200, reply.text + stack.own_logs()
    _, uid, method, uri, *_ = reply.text.split()
    assert int(uid) in stack.uids
    assert (method, uri) == ("GET", "/a%2Fb//c?d=%20e")
    assert reply.headers["content-type"] == "text/plain", "what woke it left nothing in its answer"
    status = stack.status("one.test")
    assert status["state"] == "running"
    assert all(
        os.path.realpath(f"/proc/{pid}/root") == str(stack.layout.chroot("MixedCase")) for pid in status["pids"]
    )


def test_when_it_says_that_it_serves_what_wakes_sites_is_loaded(stack: LiveStack) -> None:
    """Or the first visitor after a start would wait for it."""
    assert "WSGI app 0 " in (stack.layout.own_logs_dir / "initialize.log").read_text()


def test_two_tenants_have_two_uids_and_two_gids(stack: LiveStack) -> None:
    """No tenant shares a uid, a gid or a supplementary group with another."""
    stack.site("one.test", "One", PLAIN)
    stack.site("two.test", "two", PLAIN)
    owners = [int(stack.request(domain).text.split()[1]) for domain in ("one.test", "two.test")]
    assert len(set(owners)) == 2
    groups = []
    for domain in ("one.test", "two.test"):
        status = Path(f"/proc/{stack.status(domain)['pids'][0]}/status").read_text()
        assert re.search(r"^Groups:\s*$", status, re.M), "no supplementary group"
        groups.append(re.search(r"^Gid:\s*(.*)$", status, re.M).group(1).split())  # type: ignore[union-attr]
    assert len({group for ids in groups for group in ids}) == 2


def test_what_a_tenant_prints_or_raises_stands_in_the_tenants_log(stack: LiveStack) -> None:
    """One record, every line stamped with the id that the visitor's page and the access line show."""
    stack.site("one.test", "One", PLAIN)
    stack.request("one.test", "/print")
    assert "] printed to stderr" in stack.wait_for_log("one.test", "printed to stderr")
    stack.wait_for_log("one.test", "printed to stdout", "server")
    reply = stack.request("one.test", "/raise")
    assert reply.status == 500
    request_id = reply.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{12}", request_id)
    assert request_id in reply.text
    assert "it was raised" not in reply.text
    record = [line for line in stack.wait_for_log("one.test", "it was raised").splitlines() if request_id in line]
    assert record[0].endswith("GET /raise: the application failed in its call")
    assert record[1].endswith("Traceback (most recent call last):")
    assert record[-1].endswith("RuntimeError: it was raised")
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[", line) for line in record)
    access = stack.wait_for_log("one.test", request_id, "access")
    assert re.search(rf'"GET /raise HTTP/1.1" 500 \d+ "-" "-" response-time=[\d.]+ {request_id}$', access, re.M)
    assert request_id in stack.command("logs", "one.test", "--request", request_id)


def test_a_static_file_is_served_and_logged(stack: LiveStack) -> None:
    """Static files need no line of the tenant's code, and a folder beside the static one stays hidden."""
    stack.site("one.test", "One", PLAIN)
    stack.write("One", "static/style.css", "body{}")
    stack.write("One", "static-secret/key", "do not tell")
    reply = stack.request("one.test", "/static/style.css")
    assert (reply.status, reply.body) == (200, b"body{}")
    assert reply.headers["content-type"].startswith("text/css")
    assert "do not tell" not in stack.request("one.test", "/static-secret/key").text
    assert "do not tell" not in stack.request("one.test", "/static/../static-secret/key").text
    stack.wait_for_log("one.test", '"GET /static/style.css HTTP/1.1" 200', "access")


def test_check_static_serves_any_file_of_its_folder(stack: LiveStack) -> None:
    """The seed's one line: what exists under the folder is sent, everything else goes to the application."""
    stack.site("one.test", "One", PLAIN, "--check-static", "/var/www/public")
    stack.write("One", "public/robots.txt", "User-agent: *")
    assert stack.request("one.test", "/robots.txt").text == "User-agent: *"
    assert "/other.txt" in stack.request("one.test", "/other.txt").text


def test_a_post_of_5_mb_that_wakes_its_site_arrives_whole_and_once(stack: LiveStack) -> None:
    """Method and body reach the application exactly as they came."""
    stack.site("post.test", "Poster", COUNTER)
    body = os.urandom(5_000_000)
    reply = stack.request("post.test", "/", "POST", body)
    assert reply.text == "version {version}", reply.text
    calls = (stack.layout.home("Poster") / "calls").read_text()
    assert calls == "POST 5000000\n"
    stack.site("digest.test", "Digester", PLAIN)
    assert hashlib.sha256(body).hexdigest() in stack.request("digest.test", "/", "PUT", body).text
    access = stack.wait_for_log("digest.test", '"PUT / HTTP/1.1" 200', "access")
    assert len(access.splitlines()) == 1


def test_an_idle_site_costs_no_process_and_wakes_again(stack: LiveStack) -> None:
    """After its idle time no process of the tenant's is left, and the next request is served all the same."""
    stack.site("idle.test", "Idler", PLAIN, "--idle", "1")
    first = stack.request("idle.test").text.split()[0]
    wait_for(lambda: stack.status("idle.test")["state"] == "idle", "the site goes idle")
    assert stack.status("idle.test")["pids"] == []
    again = stack.request("idle.test")
    assert again.status == 200
    assert again.text.split()[0] != first


def test_a_request_that_comes_while_the_last_process_ends_does_not_wait_for_the_next_look(stack: LiveStack) -> None:
    """uWSGI's master and its Emperor look for ended processes every second or two; here they see it at once."""
    stack.site("ending.test", "Ender", COUNTER.replace("{version}", "1"), "--idle", "1")

    def count(text: str) -> int:
        return stack.log("ending.test", "server").count(text)

    def is_woken() -> bool:
        assert stack.request("ending.test").status == 200
        return count(" site started: ") > count("have been inactive")

    for number, after in enumerate((0.0, 0.01, 0.02, 0.03, 0.04, 0.08), 1):
        wait_for(is_woken, "a new process serves")
        wait_for(lambda number=number: count("have been inactive") == number, "the site goes idle")
        time.sleep(after)
        began = time.monotonic()
        assert stack.request("ending.test").text == "version 1"
        assert time.monotonic() - began < 0.9
    codes = [line.split()[4] for line in stack.log("ending.test", "server").splitlines() if " [-] site " in line]
    assert codes[:4] == ["started:", "idle:", "started:", "idle:"]


def test_touching_wsgi_py_reloads_it(stack: LiveStack) -> None:
    """The new code serves without an operator, and `reload` does the same."""
    stack.site("touch.test", "Toucher", COUNTER.replace("{version}", "1"))
    assert stack.request("touch.test").text == "version 1"
    path = stack.layout.www("Toucher") / "wsgi.py"
    stack.write("Toucher", "wsgi.py", COUNTER.replace("{version}", "2"))
    later = path.stat().st_mtime + 2
    os.utime(path, (later, later))
    wait_for(lambda: stack.request("touch.test").text == "version 2", "the touched file serves")
    path.write_text(COUNTER.replace("{version}", "3"))
    os.utime(path, (later, later))
    assert "reloaded in" in stack.command("reload", "touch.test")
    assert stack.request("touch.test").text == "version 3"


def test_a_broken_deploy_is_refused_told_of_and_survives_a_sleep(stack: LiveStack) -> None:
    """As the tenant and as the operator see it: the old version serves, `reload` fails, `status` names it."""
    stack.site("deploy.test", "Deployer", COUNTER.replace("{version}", "1"), "--idle", "10")
    assert stack.request("deploy.test").text == "version 1"
    assert stack.status("deploy.test")["state"] == "running"
    wait_for((stack.layout.keep_folder("Deployer", "deploy.test") / "kept").exists, "the version is kept")
    stack.write("Deployer", "wsgi.py", "1 / 0\n")
    refused = stack.run("reload", "deploy.test")
    assert refused.returncode == 1
    assert "deploy.test: refused, the version before it goes on serving\n" in refused.stderr
    assert refused.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert stack.request("deploy.test").text == "version 1"
    assert stack.status("deploy.test")["state"] == "broken deploy"
    assert stack.log("deploy.test").count("Traceback") in (1, 2)  # the save may have been tried before the touch
    wait_for(lambda: not stack.status("deploy.test")["pids"], "the site goes idle")
    assert stack.status("deploy.test")["state"] == "idle, broken deploy"
    assert stack.request("deploy.test").text == "version 1"
    assert " [-] site kept: " in stack.log("deploy.test", "server")
    stack.write("Deployer", "wsgi.py", COUNTER.replace("{version}", "2"))
    assert "reloaded in" in stack.command("reload", "deploy.test")
    assert stack.request("deploy.test").text == "version 2"
    assert stack.status("deploy.test")["state"] == "running"


def test_reload_wakes_a_site_that_sleeps_and_says_when_there_is_nothing_to_reload(stack: LiveStack) -> None:
    """A cold one loads what is there with its next request."""
    stack.site("sleeper.test", "Sleeper", COUNTER.replace("{version}", "1"), "--idle", "1")
    assert "cold" in stack.command("reload", "sleeper.test")
    assert stack.request("sleeper.test").text == "version 1"
    wait_for(lambda: stack.status("sleeper.test")["state"] == "idle", "the site goes idle")
    stack.write("Sleeper", "wsgi.py", COUNTER.replace("{version}", "2"))
    assert "reloaded in" in stack.command("reload", "sleeper.test")
    assert stack.request("sleeper.test").text == "version 2"
    (stack.layout.www("Sleeper") / "wsgi.py").unlink()
    gone = stack.run("reload", "sleeper.test")
    assert gone.returncode == 1
    assert "/var/www/wsgi.py could not be touched" in gone.stderr


def test_an_unknown_domain_is_a_404_and_makes_no_file(stack: LiveStack) -> None:
    """Invented host names leave nothing on the disk."""
    for host in ("nobody.test", "xn--nxasmq6b.test", "a" * 60 + ".test", "127.0.0.1", "_", "localhost.123"):
        assert stack.request(host).status == 404
    for host in ("../..", "a/b", "a b", "a..b"):
        assert stack.request(host).status in (400, 404)
    assert list(stack.layout.user_logs_dir.iterdir()) == []
    assert not list(stack.layout.locks_dir.glob("domain-*"))


def test_a_site_that_breaks_off_is_a_502_and_asked_only_once(stack: LiveStack) -> None:
    """A worker that dies over a request gets no second try, which might repeat what the first one did."""
    code = COUNTER.replace(
        '    start_response("200', '    if environ["PATH_INFO"] == "/die": os._exit(9)\n    start_response("200'
    )
    stack.site("die.test", "Dier", code)
    assert stack.request("die.test").status == 200
    reply = stack.request("die.test", "/die")
    assert reply.status == 502
    assert reply.headers["x-request-id"] in reply.text
    wait_for(lambda: stack.request("die.test").status == 200, "the site serves again")
    assert (stack.layout.home("Dier") / "calls").read_text().count("\n") >= 3
    stack.wait_for_log("die.test", '"GET /die HTTP/1.1" 502', "access")
    assert stack.log("die.test", "access").count("/die") == 1


@pytest.mark.parametrize("count", [50])
def test_cold_sites_asked_all_at_once_all_answer(stack: LiveStack, count: int) -> None:
    """Each answers 200, and each is warmed once however many requests wait for it."""
    domains = [f"site{number}.test" for number in range(count)]
    for number, domain in enumerate(domains):
        stack.site(domain, f"User{number}", COUNTER)
    replies: list[int] = []

    def ask(domain: str) -> None:
        replies.append(stack.request(domain).status)

    threads = [threading.Thread(target=ask, args=(domain,)) for domain in domains for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = (stack.layout.own_logs_dir / "initialize.log").read_text()
    assert replies == [200] * (2 * count), [line for line in told.splitlines() if '"message": "warm"' not in line]
    warmed = re.findall(
        r'"message": "warm", "domain": "([^"]*)"', (stack.layout.own_logs_dir / "initialize.log").read_text()
    )
    assert sorted(warmed) == sorted(domains)


def test_reap_ends_what_no_emperor_owns(stack: LiveStack) -> None:
    """A tenant's daemon that left its vassal is listed, then ended; the vassal's own processes go on."""
    daemon = "import subprocess\nsubprocess.Popen(['/bin/sh', '-c', 'setsid sleep 7200 &'])\n"
    stack.site("one.test", "One", daemon + PLAIN)
    assert stack.request("one.test").status == 200
    listed = wait_for(lambda: json.loads(stack.command("reap", "--dry-run", "--json")), "the daemon is an orphan")
    assert [row["username"] for row in listed] == ["One"]
    assert "sleep 7200" in listed[0]["command"]
    own = stack.status("one.test")["pids"]
    # uWSGI's children inherit that TERM is blocked, so it may take a KILL
    assert [row["outcome"] in ("terminated", "killed") for row in json.loads(stack.command("reap", "--json"))] == [
        True
    ]
    assert stack.status("one.test")["pids"] == own
    assert json.loads(stack.command("reap", "--dry-run", "--json")) == []


def test_logs_follow_prints_lines_as_they_come(stack: LiveStack) -> None:
    """`logs -f` shows what is there and what is written later."""
    stack.site("one.test", "One", PLAIN)
    stack.request("one.test", "/print")
    command = [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(stack.root), "logs", "one.test", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert "printed to stderr" in follower.stdout.readline()
        stack.request("one.test", "/raise")
        assert "GET /raise" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
