"""initialize's HTTP side in an attacker's hands: what it can reach of root's and of tenants'.

The attacker is a program of its own under that very account, started as the HTTP side is after it gave its rights up.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import live_stack
from tests.live import LiveStack, Reply, wait_for
from user_wsgi_wrapper.emperor_hook import privileges, service_account
from user_wsgi_wrapper.emperor_hook.config import Warm
from user_wsgi_wrapper.emperor_hook.warm_client import WarmClient
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome

GOOD = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
SECRET = "a tenant's own words"
PRELUDE = """\
import errno, json, os, socket, time
def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
def connection(path, kind=socket.SOCK_SEQPACKET):
    made = socket.socket(socket.AF_UNIX, kind)
    made.settimeout(20)
    made.connect(path)
    return made
def ask(path, message):
    with connection(path) as asking:
        try:
            asking.send(message)
            return asking.recv(1000).decode("latin-1")
        except OSError as error:
            return errno.errorcode[error.errno]
"""


class Taken:
    """A stack with two sites, one awake, and its initialize's HTTP side in an attacker's hands."""

    def __init__(self, stack: LiveStack) -> None:
        self.stack, self.layout = stack, stack.layout
        self.uid, self.gid = service_account.find(Warm().user)
        for domain, user in (("awake.test", "Awake"), ("cold.test", "Cold")):
            stack.site(domain, user, GOOD, "--env", f"PASSWORD={SECRET}")
        assert stack.request("awake.test").text == "here"

    def run(self, code: str, **values: Any) -> Any:
        """What `result` holds after the attacker ran the code, in which `values` are names."""
        names = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        text = PRELUDE + names + textwrap.dedent(code) + "\nprint(json.dumps(result))"
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", text],
            capture_output=True, text=True, timeout=60, cwd="/", env={},
            preexec_fn=lambda: privileges.drop_to(self.uid, self.gid),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def places(self) -> list[Path]:
        """All that root makes for a site, but for what is mounted."""
        layout = self.layout
        folders = (layout.run_dir, layout.vassals_dir, layout.sockets_dir, layout.user_logs_dir, layout.storage_dir)
        return sorted(path for folder in folders for path in folder.rglob("*"))

    def process(self, name: str) -> psutil.Process:
        """One of the stack's services."""
        assert self.stack.process is not None
        for process in psutil.Process(self.stack.process.pid).children():
            if name in " ".join(process.cmdline()):
                return process
        raise AssertionError(f"{name} doesn't run")

    def http_side(self) -> list[psutil.Process]:
        """The master of the HTTP side and its worker."""
        master = self.process("user-wsgi-wrapper-initialize")
        return [master, *master.children()]

    def warmer(self) -> psutil.Process:
        """The process that is root."""
        return self.process("emperor_hook.warmer")

    def warmer_is_up(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(Exception):
            WarmClient(self.layout.warmer_socket, 20.0).warm("awake.test")
            return True
        return False


@pytest.fixture(scope="module")
def taken() -> Iterator[Taken]:
    """One for all tests."""
    with live_stack() as stack:
        yield Taken(stack)


# -- what it is


def test_the_http_side_has_no_right_left(taken: Taken) -> None:
    """One uid, one gid, no other group, no capability in any set, none to be had: its master and its worker."""
    for process in taken.http_side():
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert status["Uid"].split() == [str(taken.uid)] * 4
        assert status["Gid"].split() == [str(taken.gid)] * 4
        assert status["Groups"].split() == []
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, (process, name)
        assert status["NoNewPrivs"] == "1"


def test_the_http_side_holds_nothing_open_but_its_own(taken: Taken) -> None:
    """Its log, its socket; no file of root's, no folder."""
    for process in taken.http_side():
        folder = Path(f"/proc/{process.pid}/fd")
        targets = {os.readlink(folder / name) for name in os.listdir(folder)}
        allowed = {"/dev/null", str(taken.layout.own_logs_dir / "initialize.log")}
        others = {one for one in targets - allowed if not re.fullmatch(r"(socket|pipe|anon_inode):.*", one)}
        assert others == set(), others
        assert os.readlink(f"/proc/{process.pid}/cwd") == "/"


def test_the_http_side_knows_no_registry_and_no_password(taken: Taken) -> None:
    """Neither is the code for it loaded, nor is a word of the configuration's in its environment."""
    for process in taken.http_side():
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert not re.search(r"sqlalchemy|_sqlite3|psycopg|libpq", loaded)
        environment = process.environ()
        assert not [name for name in environment if "REGISTRY" in name or "CONFIG" in name], environment


# -- what its account reaches


def test_what_is_roots_and_what_is_the_tenants_is_closed(taken: Taken) -> None:
    """No registry, vassal, lock, log, file or socket of theirs is opened, and nothing is made beside them."""
    layout = taken.layout
    assert all(path.exists() for path in (layout.sites_db, layout.vassal("awake.test"), layout.socket("awake.test")))
    readable = [
        layout.sites_db, layout.vassal("awake.test"), layout.locks_dir, layout.sockets_dir,
        layout.socket("awake.test"), layout.log_file("awake.test", "error"), layout.home("Awake"),
        layout.www("Awake") / "wsgi.py", layout.run_dir / "nginx", Path("/etc/shadow"),
    ]  # fmt: skip
    made = [
        layout.vassals_dir, layout.sockets_dir, layout.log_dir("awake.test"), layout.user_logs_dir,
        layout.own_logs_dir, layout.state_dir, layout.storage_dir, layout.storage("Awake"), layout.home("Awake"),
        layout.www("Awake"), layout.tmp("Awake"), layout.chroots_dir, layout.chroot("Awake"), layout.run_dir,
        layout.locks_dir, layout.root, layout.shared_bin, layout.shared_library, layout.config_file.parent,
    ]  # fmt: skip
    result = taken.run(
        """
        result = {path: refused(os.open, path, os.O_RDONLY) for path in readable}
        for folder in made:
            result[folder + " (made)"] = refused(os.open, folder + "/x.ini", os.O_CREAT | os.O_WRONLY)
        for path in written:
            result[path + " (written)"] = refused(os.open, path, os.O_WRONLY | os.O_NONBLOCK)
            result[path + " (removed)"] = refused(os.unlink, path)
        """,
        readable=[str(path) for path in readable],
        made=[str(path) for path in made],
        written=[
            str(path)
            for path in (
                layout.sites_db, layout.vassal("awake.test"), layout.emperor_fifo, layout.config_file,
                layout.run_dir / "initialize.ini", layout.run_dir / "emperor.ini", layout.run_dir / "nginx.conf",
                layout.initialize_socket, layout.own_logs_dir / "warmer.log",
            )
        ],
    )  # fmt: skip
    open_to_it = {path: what for path, what in result.items() if what not in ("EACCES", "ENXIO", "EPERM")}
    assert open_to_it == {}


def test_no_socket_but_the_warmers_can_be_connected_to(taken: Taken) -> None:
    """Sites' own sockets, through which any file is loaded; the Emperor's statistics; nginx's way in."""
    layout = taken.layout
    paths = [
        str(path)
        for path in (layout.socket("awake.test"), layout.run_dir / "emperor-stats.socket", layout.initialize_socket)
    ]
    result = taken.run("result = [refused(connection, path, socket.SOCK_STREAM) for path in paths]", paths=paths)
    assert set(result) <= {"EACCES", "EPERM"}, result


def test_nobody_can_be_signaled_traced_or_read(taken: Taken) -> None:
    """The warmer, the Emperor, nginx, a tenant's worker, and `up` itself."""
    assert taken.stack.process is not None
    pids = [taken.warmer().pid, taken.stack.process.pid, taken.process("emperor.ini").pid, taken.process("nginx").pid]
    pids += taken.stack.status("awake.test")["pids"]
    result = taken.run(
        """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        result = []
        for pid in pids:
            result.append(refused(os.kill, pid, 0))
            result += [refused(os.open, f"/proc/{pid}/{name}", os.O_RDONLY) for name in ("mem", "environ")]
            result.append("EPERM" if libc.ptrace(16, pid, 0, 0) == -1 else "traced")
        """,
        pids=pids,
    )
    assert set(result) <= {"EPERM", "EACCES"}, result


def test_rights_do_not_come_back(taken: Taken) -> None:
    """By no id, and by no setuid program."""
    result = taken.run(
        """
        import subprocess
        result = [refused(os.setuid, 0), refused(os.setgid, 0), refused(os.setgroups, [0]), refused(os.chroot, "/")]
        program = ["/usr/bin/su", "-c", "id"]
        result.append(subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True).returncode != 0)
        """
    )
    assert result == ["EPERM", "EPERM", "EPERM", "EPERM", True]


# -- what it can do to the warmer


def test_garbage_half_messages_and_paths_get_nowhere(taken: Taken) -> None:
    """Every one is refused, no file is made or looked at for it, and the warmer lives."""
    before = taken.places()
    pid = taken.warmer().pid
    messages = [
        "WARM ../../../../etc/shadow\n", "WARM /etc/uwsgi\n", "WARM awake.test/../x\n", "WARM awake.test", "WARM \n",
        "WARM awake.test\nWARM cold.test\n", "warm cold.test\n", "WARM cold.test.\n", "WARM COLD.TEST\n", "\0",
        "W" * 60_000, "WARM cold.test\0\n", "WARM %(x)\n", "WARM @(exec://id)\n", "WARM $(id).test\n",
        "WARM 127.0.0.1\n",
    ]  # fmt: skip
    result = taken.run(
        "result = [ask(path, one.encode()) for one in messages]",
        path=str(taken.layout.warmer_socket),
        messages=messages,
    )
    assert {one[:1] for one in result} == {Outcome.REFUSED.value.decode()}, result
    assert taken.warmer().pid == pid
    assert taken.stack.status("cold.test")["state"] == "cold"
    assert taken.places() == before


def test_of_a_name_that_nobody_has_nothing_stays_and_few_are_looked_up(taken: Taken) -> None:
    """Thousands of them: the registry is asked about a bounded number, and those that there are still wake."""
    before = taken.places()
    result = taken.run(
        """
        told = [ask(path, b"WARM made-up%d.test\\n" % number) for number in range(3000)]
        result = {kind: sum(one[:1] == kind for one in told) for kind in {one[:1] for one in told}}
        """,
        path=str(taken.layout.warmer_socket),
    )
    assert set(result) == {"N", "Y"}, result
    assert result["N"] < 2000
    assert taken.places() == before
    assert taken.warmer_is_up()


def test_a_thousand_connections_are_bounded_and_over_soon(taken: Taken) -> None:
    """Silent ones, and such as ask for one site again and again; the warmer's threads and descriptors stay few."""
    warmer = taken.warmer()
    threads, descriptors = warmer.num_threads(), warmer.num_fds()
    code = """
        held, result = [], 0
        for number in range(1000):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            made.setblocking(False)
            try:
                made.connect(path)
                if asks:
                    made.send(b"WARM awake.test\\n")
            except BlockingIOError:
                break
            held.append(made)
            result += 1
        time.sleep(1)
    """
    most = []
    for asks in (False, True):
        opened: list[int] = []
        crowd = threading.Thread(
            target=lambda asks=asks, opened=opened: opened.append(
                taken.run(code, path=str(taken.layout.warmer_socket), asks=asks)
            )
        )
        crowd.start()
        while crowd.is_alive():
            most.append((warmer.num_threads() - threads, warmer.num_fds() - descriptors))
            time.sleep(0.01)
        crowd.join()
        assert opened and opened[0] > 500
    assert max(grown for grown, _ in most) <= 8, most
    assert max(grown for _, grown in most) <= 64 + 20, most
    wait_for(taken.warmer_is_up, "the warmer answers", 15)
    wait_for(lambda: warmer.num_fds() <= descriptors + 10, "they are gone", 15)
    assert taken.stack.request("awake.test").text == "here"


def test_the_warmers_log_grows_slowly_whatever_is_sent(taken: Taken) -> None:
    """Tens of thousands of messages that are none are told of in tens of lines."""
    log = taken.layout.own_logs_dir / "warmer.log"
    before = log.stat().st_size
    count = taken.run(
        """
        result, until = 0, time.monotonic() + 2
        while time.monotonic() < until:
            ask(path, b"garbage\\n\\x1b]0;x")
            result += 1
        """,
        path=str(taken.layout.warmer_socket),
    )
    assert count > 500
    assert log.stat().st_size - before < 20_000
    assert "\x1b" not in log.read_text()


def test_another_account_is_hung_up_on(taken: Taken) -> None:
    """By the mode of the socket; and by its credentials, had it the group."""
    for gid, expected in ((65534, "EACCES"), (taken.gid, "")):
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", PRELUDE + f"""
try:
    print(ask({str(taken.layout.warmer_socket)!r}, b"WARM cold.test\\n"))
except OSError as error:
    print(errno.errorcode[error.errno])
"""],
            user=65534, group=gid, extra_groups=[], capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout.strip() in (expected, "EPIPE", "ECONNRESET"), done.stdout
    assert taken.stack.status("cold.test")["state"] == "cold"


# -- deaths


def visitor_of_a_slow_start(stack: LiveStack, domain: str, user: str) -> Future[Reply]:
    """Somebody who waits for a new site that is being warmed now, for a second or more."""
    stack.site(domain, user, "import time\ntime.sleep(1.0)\n" + GOOD)
    pool = ThreadPoolExecutor(1)
    visitor = pool.submit(stack.request, domain)
    pool.shutdown(wait=False)
    wait_for(lambda: stack.layout.vassal(domain).exists(), "it is being warmed")
    return visitor


def test_the_warmer_killed_in_the_middle_of_a_warm_up_is_healed(taken: Taken) -> None:
    """Who waits is told to come again, as are those who come while it is away; then the site is there."""
    stack = taken.stack
    visitor = visitor_of_a_slow_start(stack, "middle.test", "Middle")
    killed = taken.warmer()
    killed.kill()
    wait_for(lambda: not killed.is_running() or killed.status() == "zombie", "it is dead")
    while_away = stack.request("other.test")
    for reply in (visitor.result(30), while_away):
        assert reply.status == 503
        assert reply.headers["retry-after"] == "5"
    assert stack.request("awake.test").text == "here"
    wait_for(lambda: stack.request("middle.test").status == 200, "the site is up")
    assert taken.warmer().pid != killed.pid
    assert stack.request("other.test").status == 404


def test_the_http_side_killed_in_the_middle_of_a_warm_up_is_healed(taken: Taken) -> None:
    """Its visitor is told to come again; root's work goes on and is found done."""
    stack = taken.stack
    visitor = visitor_of_a_slow_start(stack, "half.test", "Half")
    for process in taken.http_side():
        process.kill()
    reply = visitor.result(30)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    wait_for(lambda: stack.request("half.test").text == "here", "the site is up")


def test_both_killed_again_and_again_lose_no_site(taken: Taken) -> None:
    """At many moments of a warm-up: each site answers in the end, and nothing half-made is left."""
    stack = taken.stack
    domains = [f"round{number}.test" for number in range(6)]
    for number, domain in enumerate(domains):
        stack.site(domain, f"Round{number}", GOOD)
    for number, domain in enumerate(domains):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", stack.port), timeout=20) as visitor:
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {domain}\r\n\r\n".encode())
            time.sleep(0.004 * number)
            (taken.warmer() if number % 2 else taken.http_side()[-1]).kill()
        wait_for(lambda domain=domain: stack.request(domain).text == "here", f"{domain} is up")
        wait_for(taken.warmer_is_up, "the warmer is there again")
    assert not list(stack.layout.vassals_dir.glob("*.tmp"))
