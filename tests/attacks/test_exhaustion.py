"""A tenant who takes all that he can get: he is bounded, his log says so, and his neighbor answers on.

No attack is begun before the limit that holds it is seen in place, and each ends by itself after a while.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import live_stack
from tests.live import LiveStack, wait_for
from user_wsgi_wrapper.emperor_hook import cgroups

TASKS, MEMORY, FILES = 30, 96, 200
EVIL = """\
import os, resource, subprocess, sys, threading, time

def bomb(count=600):
    "Fork what can be forked, each child too; none lives longer than 20 s, and together they try `count` times."
    made, refused = [], ""
    for _ in range(count):
        try:
            pid = os.fork()
        except OSError as error:
            refused = repr(error)
            break
        if not pid:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                time.sleep(0.5)
            os._exit(0)
        made.append(pid)
    return f"{len(made)} {refused}"

def hog():
    "Up to 400 MiB, held for a moment."
    kept = []
    for _ in range(40):
        kept.append(b"x" * (10 << 20))
    return f"{len(kept)} taken"

def spin(count=8, seconds=6):
    "Burn every core there is, in `count` processes."
    for _ in range(count):
        if not os.fork():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
            os._exit(0)
    return "spinning"

def descriptors():
    kept = []
    try:
        while len(kept) < 5000:
            kept.append(open("/dev/null"))
    except OSError as error:
        return f"{len(kept)} {error}"
    return f"{len(kept)} opened"

def flood(seconds=4):
    "As much as Python writes to stderr."
    line, end, written = "flood " * 1000, time.monotonic() + seconds, 0
    while time.monotonic() < end:
        print(line, file=sys.stderr)
        written += len(line) + 1
    return str(written)

def child_flood(seconds=4):
    "As much as a program writes to descriptor 2 and to 1."
    child = subprocess.Popen(["timeout", str(seconds), "sh", "-c", "yes flood >&2"])
    child.wait()
    return "done"

def fill():
    "As much as the disk takes."
    with open("/var/www/large", "wb", 0) as file:
        while True:
            file.write(b"f" * 65536)

def out_flood():
    "8 MiB to descriptor 1."
    for _ in range(8):
        os.write(1, b"out flood\\n" * 104858)
    return "done"

def dawdle():
    time.sleep(1)
    return "done"

def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    if name == "endless":
        start_response("200 OK", [])
        return iter(lambda: b"e" * 65536, None)
    text = globals()[name]() if name else "up"
    start_response("200 OK", [("Content-Length", str(len(text)))])  # children that live on hold the connection
    return [text.encode()]
"""
GOOD = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"good"]
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """One stack with a neighbor who only answers."""
    with live_stack("[limits]\nlog_rate = 64\nlog_size = 4\n") as live:
        live.site("good.test", "Good", GOOD)
        assert live.request("good.test").text == "good"
        yield live


SILENT = "GET / HTTP/1.1\r\nHost: good.test\r\nX-Slow: "


@pytest.fixture(scope="module", autouse=True)
def silent(stack: LiveStack) -> Iterator[tuple[socket.socket, float]]:
    """A connection that has begun with its headers, and when: it is old by the time it is looked at."""
    with held(stack, 1, SILENT) as connections:
        yield connections[0], time.monotonic()


def offender(stack: LiveStack, name: str, *settings: str) -> str:
    """A site of its own for an attack, warm."""
    domain = f"{name}.test"
    limits = ("--tasks-max", str(TASKS), "--memory-max", str(MEMORY), "--open-files", str(FILES))
    stack.site(domain, name.capitalize(), EVIL, *limits, *settings)
    assert stack.request(domain).text == "up"
    return domain


def group(stack: LiveStack, domain: str, controller: str) -> Path:
    """The control group of a site; a machine that has none can't show the defence."""
    groups = cgroups.group_of(stack.layout, domain)
    assert controller in groups, f"no control group for {controller} on this machine: {groups}"
    return groups[controller]


def of_tenant(stack: LiveStack, user: str) -> set[int]:
    """The pids of a tenant's processes."""
    uid = stack.layout.www(user).stat().st_uid
    return {one.pid for one in psutil.process_iter(["uids"]) if one.info["uids"] and one.info["uids"].real == uid}


def limit(folder: Path, *names: str) -> int:
    """The number in the first of these files that is there."""
    return int(next((folder / name).read_text() for name in names if (folder / name).exists()).split()[0])


def ask_neighbor(stack: LiveStack, seconds: float) -> list[float]:
    """How long the neighbor took for each of many requests, one after the other."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        assert stack.request("good.test", timeout=20).text == "good"
        took.append(time.monotonic() - began)
        time.sleep(0.02)
    return took


def test_all_of_a_sites_processes_are_in_its_groups(stack: LiveStack) -> None:
    """Its master too, in each of the kernel's hierarchies; also those that woke it from its sleep."""
    domain = offender(stack, "inside", "--idle", "1")
    for _ in range(2):
        pids = of_tenant(stack, "Inside")
        assert pids
        for controller in cgroups.CONTROLLERS:
            there = set(map(int, (group(stack, domain, controller) / "cgroup.procs").read_text().split()))
            assert pids <= there, controller
        wait_for(lambda: not of_tenant(stack, "Inside"), "the site sleeps")
        assert stack.request(domain).text == "up"


def test_a_fork_bomb_is_refused_more_processes(stack: LiveStack) -> None:
    """The bomb's own site fails; the neighbor doesn't notice."""
    domain = offender(stack, "bomb")
    most = limit(group(stack, domain, "pids"), "pids.max")
    assert TASKS < most < 150, "the bomb is only lit in a closed room"
    made, _, error = stack.request(domain, "/bomb").text.partition(" ")
    assert "BlockingIOError" in error
    assert TASKS <= int(made) <= most
    assert max(ask_neighbor(stack, 1)) < 5
    stack.wait_for_log(domain, "site limited: processes or threads refused: ", "server")


def test_a_hog_of_memory_is_killed_alone(stack: LiveStack) -> None:
    """The kernel takes one of its own processes, its log tells, and it serves again."""
    domain = offender(stack, "hog")
    folder = group(stack, domain, "memory")
    assert limit(folder, "memory.limit_in_bytes", "memory.max") == MEMORY << 20
    before = of_tenant(stack, "Good")
    assert stack.request(domain, "/hog").status == 502
    assert max(ask_neighbor(stack, 0.5)) < 5
    assert of_tenant(stack, "Good") == before
    wait_for(lambda: stack.request(domain).text == "up", "the site is back")
    stack.wait_for_log(domain, "GET /hog: the worker died while it served this request")
    stack.wait_for_log(domain, "killed by signal 9 (SIGKILL), as the kernel ran out of memory")
    stack.wait_for_log(domain, "all together took more memory than they may (memory-max)", "server")


def test_a_site_that_burns_every_core_leaves_the_others_theirs(stack: LiveStack) -> None:
    """By weight alone; a quota bounds what it burns, and its log says that it was held back."""
    domain = offender(stack, "spin", "--cpu-quota", "50")
    assert stack.request(domain, "/spin").text == "spinning"
    group(stack, domain, "cpu")
    spent, began = cpu_seconds(stack, "Spin"), time.monotonic()
    took = ask_neighbor(stack, 3)
    burnt = (cpu_seconds(stack, "Spin") - spent) / (time.monotonic() - began)
    assert 0.2 < burnt < 0.7
    assert sorted(took)[len(took) // 2] < 1
    stack.wait_for_log(domain, "took all processor time they may (cpu-quota)", "server")


def cpu_seconds(stack: LiveStack, user: str) -> float:
    """What a tenant's processes have burnt."""
    times = [psutil.Process(pid).cpu_times() for pid in of_tenant(stack, user)]
    return sum(one.user + one.system for one in times)


def test_open_files_end_at_the_limit(stack: LiveStack) -> None:
    """The site gets its error, and goes on."""
    domain = offender(stack, "files")
    opened, _, error = stack.request(domain, "/descriptors").text.partition(" ")
    assert int(opened) < FILES
    assert "Too many open files" in error
    assert stack.request(domain).text == "up"


@pytest.mark.parametrize(("name", "most"), [("flood", 64 * 1024 * 60), ("child_flood", 64 * 1024 * 60)])
def test_a_flood_of_the_error_log_is_cut_to_its_rate(stack: LiveStack, name: str, most: int) -> None:
    """Whoever writes it; the log says how much is missing, and is written to as before."""
    domain = offender(stack, name.replace("_", "-"))
    written = stack.request(domain, f"/{name}").text
    stack.wait_for_log(domain, "bytes were dropped before this line: they came faster than this log takes them")
    wait_for(lambda: spooled(stack, domain) < 1 << 20, "the waiting file is empty again")
    log = stack.layout.log_file(domain, "error")
    assert log.stat().st_size < most
    if written.isdigit():
        wait_for(lambda: log.stat().st_size + dropped(log) >= int(written), "every byte is there or counted")
    assert max(ask_neighbor(stack, 0.5)) < 5


def dropped(log: Path) -> int:
    """Bytes that a log says are missing in it."""
    return sum(map(int, re.findall(r"\] (\d+) bytes were dropped before this line", log.read_text())))


def spooled(stack: LiveStack, domain: str) -> int:
    """Bytes on the disk in a tenant's /tmp."""
    folder = stack.layout.tmp(domain.partition(".")[0].capitalize())
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_a_log_that_is_written_to_past_all_bounds_keeps_its_end(stack: LiveStack) -> None:
    """Descriptor 1 leads to the server log itself: what makes it too large is dropped, and it says so."""
    domain = offender(stack, "out")
    stack.request(domain, "/out_flood")
    stack.wait_for_log(domain, "site limited: the server log had grown to 8 MiB", "server")
    assert stack.layout.log_file(domain, "server").stat().st_size <= 4 << 20
    assert stack.request(domain).text == "up"


def test_a_tenant_who_has_filled_his_disk_reads_so_in_his_log_and_serves_on(stack: LiveStack) -> None:
    """A file system of his own does what a quota would. What can't be kept for new processes is told of, too."""
    with disk_of_his_own(stack, "Full"):
        domain = offender(stack, "full")
        assert stack.request(domain, "/fill").status == 500
        stack.wait_for_log(domain, "OSError: [Errno 28] No space left on device")
        wsgi = stack.layout.www("Full") / "wsgi.py"
        os.truncate(wsgi, wsgi.stat().st_size)  # the same code, saved where there is no room for a new file
        stack.wait_for_log(domain, "site unkept: ", "server")
        assert stack.request(domain).text == "up"
        assert max(ask_neighbor(stack, 0.5)) < 5
        (stack.layout.www("Full") / "large").unlink()
        assert stack.request(domain).text == "up"


@contextlib.contextmanager
def disk_of_his_own(stack: LiveStack, user: str) -> Iterator[None]:
    """4 MiB for all that a tenant's files take; his sites are gone in the end."""
    folder = stack.layout.storage(user)
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        stack.command("site", "remove", f"{user.lower()}.test")
        subprocess.run(["umount", str(folder)], check=True)


# -- visitors


@contextlib.contextmanager
def held(stack: LiveStack, count: int, text: str) -> Iterator[list[socket.socket]]:
    """So many connections that have sent `text` and then say nothing."""
    connections = []
    try:
        for _ in range(count):
            connections.append(socket.create_connection(("127.0.0.1", stack.port), 10))
            connections[-1].sendall(text.encode())
        yield connections
    finally:
        for one in connections:
            one.close()


def test_visitors_who_never_finish_their_headers_hold_nobody_up(
    stack: LiveStack, silent: tuple[socket.socket, float]
) -> None:
    """Slowloris: the neighbor's visitors get through, and each of those is shown the door in time."""
    with held(stack, 9000, SILENT):
        assert max(ask_neighbor(stack, 1)) < 2
    connection, began = silent
    connection.settimeout(max(began + 20 - time.monotonic(), 0.1))
    assert connection.recv(1000)[:12] in (b"", b"HTTP/1.1 408")


def test_visitors_who_send_their_bodies_slowly_are_bounded(stack: LiveStack) -> None:
    """No worker waits for them, and of one address only so many may."""
    domain = offender(stack, "slow")
    text = f"POST / HTTP/1.1\r\nHost: {domain}\r\nContent-Length: 100\r\n\r\nx"
    with held(stack, 300, text):
        wait_for(lambda: stack.request(domain).status == 429, "the site has its fill of this address")
        assert max(ask_neighbor(stack, 1)) < 2
    wait_for(lambda: stack.request(domain).text == "up", "the site is free again")


def test_requests_that_hold_every_worker_hold_those_of_their_site(stack: LiveStack) -> None:
    """Its queue fills; the neighbor's doesn't."""
    domain = offender(stack, "busy")
    text = f"GET /dawdle HTTP/1.1\r\nHost: {domain}\r\n\r\n"
    with held(stack, 150, text):
        time.sleep(0.3)
        assert max(ask_neighbor(stack, 1)) < 2


def test_an_endless_response_that_is_read_slowly_fills_no_disk(stack: LiveStack) -> None:
    """nginx keeps some of it, then its site's worker waits; it ends with its visitor."""
    domain = offender(stack, "endless")
    with held(stack, 1, f"GET /endless HTTP/1.1\r\nHost: {domain}\r\n\r\n"):
        sizes = []
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline and (len(sizes) < 10 or sizes[-1] != sizes[-10]):
            time.sleep(0.1)
            sizes.append(disk_of_nginx(stack))
            assert sizes[-1] < 300 << 20
        assert max(ask_neighbor(stack, 0.5)) < 2
    wait_for(lambda: stack.request(domain).text == "up", "the worker is free again")


def disk_of_nginx(stack: LiveStack) -> int:
    """Bytes in files of nginx's that have no name any more."""
    found = 0
    for worker in psutil.process_iter(["name", "cmdline"]):
        if worker.info["name"] != "nginx" or worker.ppid() not in [p.pid for p in masters(stack)]:
            continue
        for link in Path(f"/proc/{worker.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(stack.root) in os.readlink(link):
                    found += link.stat().st_blocks * 512
    return found


def masters(stack: LiveStack) -> list[psutil.Process]:
    """The stack's own nginx."""
    assert stack.process is not None
    return [one for one in psutil.Process(stack.process.pid).children() if one.name() == "nginx"]


@pytest.mark.parametrize(
    "headers",
    [{"X-Huge": "x" * 60_000}, {"Cookie": "c" * 9000}, {f"X-Many-{n}": "y" * 300 for n in range(120)}],
)
def test_huge_headers_are_refused_at_the_door(stack: LiveStack, headers: dict[str, str]) -> None:
    """By nginx, with an error that is the visitor's own."""
    assert stack.request("good.test", headers=headers).status == 400
    assert stack.request("good.test").text == "good"


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(stack: LiveStack) -> None:
    """With nothing of it kept."""
    reply = stack.request("good.test", "/", "POST", b"", headers={"Content-Length": str(200 << 20)})
    assert reply.status == 413
