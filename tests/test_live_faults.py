"""The whole real stack when something is wrong: slow, broken or missing code, kills, a registry that is gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time

import pytest

from tests.live import LiveStack, mounts_beneath, wait_for

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
GOOD = """\
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%s %d" % (environ["REQUEST_METHOD"].encode(), len(body))]
"""


def test_a_slow_import_shows_a_page_that_refreshes_by_itself(impatient_stack: LiveStack) -> None:
    """Visitors see the waiting page until the site is there; a POST waits and arrives once."""
    impatient_stack.site("slow.test", "Slow", "import time\ntime.sleep(2)\n" + GOOD)
    posted: list[str] = []
    poster = threading.Thread(
        target=lambda: posted.append(impatient_stack.request("slow.test", "/", "POST", b"12345").text)
    )
    poster.start()
    waiting = impatient_stack.request("slow.test", headers=BROWSER)
    assert (waiting.status, waiting.headers["retry-after"]) == (503, "2")
    assert '<meta http-equiv="refresh"' in waiting.text
    assert impatient_stack.request("slow.test").text == "GET 0", "a program that asks waits for the site"
    assert impatient_stack.request("slow.test", headers=BROWSER).text == "GET 0"
    poster.join()
    assert posted == ["POST 5"]
    impatient_stack.wait_for_log("slow.test", '"GET / HTTP/1.1" 503', "access")


def test_a_slow_import_that_fails_ends_as_the_error_page(impatient_stack: LiveStack) -> None:
    """Not as a time-out: the traceback stands in the log and every visitor gets the 500 page."""
    impatient_stack.site("slow.test", "Slow", "import time\ntime.sleep(1.5)\nraise LookupError('no such thing')\n")
    assert impatient_stack.request("slow.test", headers=BROWSER).status == 503
    assert impatient_stack.request("slow.test").status == 500
    assert "LookupError: no such thing" in impatient_stack.log("slow.test")
    assert impatient_stack.status("slow.test")["state"] == "broken"


def test_an_import_that_never_ends_is_given_up(impatient_stack: LiveStack) -> None:
    """A POST that waited gets the error page when the time is over, and the site heals once it is mended."""
    impatient_stack.site("never.test", "Never", "import time\ntime.sleep(3600)\n")
    reply = impatient_stack.request("never.test", "/", "POST", b"x")
    assert reply.status == 500, reply.text
    assert "does not start" in reply.text
    impatient_stack.write("Never", "wsgi.py", GOOD)
    impatient_stack.command("cool", "never.test")
    wait_for(lambda: impatient_stack.request("never.test").status == 200, "the mended site serves", patience=60)


def test_an_import_that_ends_its_worker_is_answered_and_heals_when_touched(stack: LiveStack) -> None:
    """It isn't tried for ever: the POST that woke the site gets the error page, and the log says what happened."""
    stack.site("ends.test", "Ender", "import os\nos._exit(1)\n")
    reply = stack.request("ends.test", "/", "POST", b"x")
    assert (reply.status, "Something went wrong" in reply.text) == (500, True), reply.text
    assert "running it ended the worker: it ended itself, by os._exit()" in stack.log("ends.test")
    assert reply.headers["x-request-id"] in stack.log("ends.test")
    assert stack.status("ends.test")["state"] == "broken"
    path = stack.write("Ender", "wsgi.py", GOOD)
    os.utime(path, (path.stat().st_mtime + 2,) * 2)
    wait_for(lambda: stack.request("ends.test").status == 200, "the mended site serves")


@pytest.mark.parametrize("kind", ["missing", "a directory", "unreadable", "a FIFO"])
def test_a_wsgi_file_that_cannot_be_loaded_is_told(stack: LiveStack, kind: str) -> None:
    """The visitor gets the 500 page and the log says what is wrong; nothing hangs; mended and touched, it serves."""
    www = stack.site("bad.test", "Bad", GOOD if kind == "unreadable" else None)
    path = www / "wsgi.py"
    if kind == "a directory":
        path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(path)
        os.chown(path, www.stat().st_uid, www.stat().st_gid)
    elif kind == "unreadable":
        path.chmod(0)
        os.chown(path, 0, 0)
    reply = stack.request("bad.test", timeout=20)
    assert reply.status == 500
    assert reply.headers["x-request-id"] in stack.log("bad.test")
    assert "/var/www/wsgi.py" in stack.log("bad.test")
    assert stack.status("bad.test")["state"] == "broken"
    if kind == "a directory":
        path.rmdir()
    stack.write("Bad", "wsgi.py", GOOD)
    os.utime(path, (path.stat().st_mtime + 2,) * 2)
    wait_for(lambda: stack.request("bad.test").status == 200, "the mended site serves")


@pytest.mark.parametrize("settings", [(), ("--processes", "2", "--threads", "4")])
def test_a_worker_that_dies_leaves_the_record_of_its_request(stack: LiveStack, settings: tuple[str, ...]) -> None:
    """In the tenant's own log, under the id that the visitor's 502 page shows, with what is known of its end."""
    die = """\
    if environ["PATH_INFO"] == "/die":
        import ctypes, time
        time.sleep(1.5)
        ctypes.string_at(0)
"""
    stack.site("die.test", "Dier", GOOD.replace("    body =", die + "    body ="), *settings)
    assert stack.request("die.test").status == 200
    reply = stack.request("die.test", "/die?secret")
    assert reply.status == 502
    request_id = reply.headers["x-request-id"]
    log = stack.wait_for_log("die.test", "line 5 in application")
    lines = [line for line in log.splitlines() if f"[{request_id}]" in line]
    assert re.search(
        r"GET /die: the worker died while it served this request, after 1\.[5-9] s: killed by signal 11 \(SIGSEGV\)$",
        lines[0],
    ), log
    assert log.count("the worker died") == 1
    assert stack.request("die.test").status == 200


def test_a_stack_killed_outright_starts_again_and_serves(stack: LiveStack) -> None:
    """After SIGKILL nobody mends anything by hand: warm and cold sites answer."""
    stack.site("warm.test", "Warm", GOOD)
    stack.site("cold.test", "Cold", GOOD)
    assert stack.request("warm.test").status == 200
    stack.kill()
    stack.start()
    assert stack.request("warm.test").text == "GET 0"
    assert stack.request("cold.test").text == "GET 0"


def test_the_emperor_killed_is_started_again_and_sites_serve(stack: LiveStack) -> None:
    """The stack notices, and nobody mends anything by hand."""
    stack.site("warm.test", "Warm", GOOD)
    assert stack.request("warm.test").status == 200
    before = int(stack.layout.emperor_pidfile.read_text())
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: stack.layout.emperor_pidfile.read_text().strip() not in ("", str(before)), "a new Emperor")
    wait_for(lambda: stack.request("warm.test").status == 200, "the site serves", patience=20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_stack_leaves_no_process_and_no_mount(stack: LiveStack, number: signal.Signals) -> None:
    """Neither do a tenant's own daemons outlive it."""
    daemon = "import os, subprocess\nsubprocess.Popen(['/bin/sh', '-c', 'setsid sleep 3600 &'])\n"
    stack.site("one.test", "One", daemon + GOOD)
    assert stack.request("one.test").status == 200
    assert mounts_beneath(stack.root)
    assert stack.stop(number) == 0
    assert stack.leftovers() == []


def test_sites_that_come_and_go_cost_other_sites_no_request(stack: LiveStack) -> None:
    """While wrk runs against one site, others are added, changed and removed: no request of its fails."""
    stack.site("steady.test", "Steady", GOOD)
    assert stack.request("steady.test").status == 200
    wrk = subprocess.Popen(
        ["wrk", "-t1", "-c8", "-d10s", "-H", "Host: steady.test", f"http://127.0.0.1:{stack.port}/"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for number in range(3):
        domain = f"other{number}.test"
        stack.site(domain, f"Other{number}", GOOD)
        assert stack.request(domain).status == 200
        stack.command("site", "set", domain, "--processes", "2")
        wait_for(lambda domain=domain: stack.request(domain).status == 200, "the changed site serves")
        stack.command("site", "remove", domain, "--purge")
        assert stack.request(domain).status == 404
    output, _ = wrk.communicate(timeout=60)
    assert "Non-2xx" not in output, output
    assert "Socket errors" not in output, output
    assert "Requests/sec" in output, output


def test_a_changed_site_serves_with_its_new_settings(stack: LiveStack) -> None:
    """`site set` reaches a running site without anybody restarting anything."""
    code = """\
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("MODE", "unset").encode()]
"""
    stack.site("set.test", "Setter", code)
    assert stack.request("set.test").text == "unset"
    stack.command("site", "set", "set.test", "--env", 'MODE=50% of $HOME = "that\'s it"')
    wait_for(lambda: stack.request("set.test").text == '50% of $HOME = "that\'s it"', "the variable is there")


def test_purging_the_last_site_leaves_nothing_of_its_tenant(stack: LiveStack) -> None:
    """A removed site keeps files and logs; a purged one doesn't; the tenant's other sites go on."""
    stack.site("one.test", "Tenant", GOOD)
    stack.site("two.test", "Tenant")
    assert stack.request("one.test").status == stack.request("two.test").status == 200
    stack.command("site", "remove", "one.test")
    assert stack.layout.log_file("one.test", "error").exists()
    assert stack.request("one.test").status == 404
    assert stack.request("two.test").status == 200
    stack.command("site", "remove", "two.test", "--purge")
    assert not stack.layout.storage("Tenant").exists()
    assert not stack.layout.chroot("Tenant").exists()
    assert not stack.layout.log_dir("two.test").exists()
    assert mounts_beneath(stack.root) == []


def test_a_site_whose_server_can_t_start_is_told_of_and_comes_up_soon_after_it_is_mended(stack: LiveStack) -> None:
    """uWSGI ends before any code of ours runs: here its virtual environment is missing."""
    www = stack.site("never.test", "Never", GOOD, "--virtualenv", "/home/Never/venv")
    for _ in range(3):
        assert stack.request("never.test").status == 500
    assert " [-] site throttled: no process of it could serve; " in stack.log("never.test", "server")
    venv = www.parents[1] / "home" / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(venv)], check=True)
    os.utime(www / "wsgi.py")
    began = time.monotonic()
    wait_for(lambda: stack.request("never.test").status == 200, "the mended site serves", patience=20)
    assert time.monotonic() - began < 10
