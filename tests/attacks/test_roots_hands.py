"""Root's commands, used on the places of tenants who put traps there."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.attacks.intruder import Intruder
from tests.conftest import live_stack
from tests.live import LiveStack, wait_for
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook import deploys, ending, reaper, reloading, sites, tail
from user_wsgi_wrapper.emperor_hook.registry import open_registry
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.layout import Layout

APP = """\
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        time.sleep(290)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
DOMAIN = "hands.test"


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """One stack for all attacks, with a tenant's site that serves."""
    with live_stack() as live:
        live.site(DOMAIN, "Hands", APP)
        assert live.request(DOMAIN).status == 200
        yield live


@pytest.fixture
def intruder(stack: LiveStack) -> Intruder:
    """The site's tenant."""
    return Intruder(stack, "Hands")


def machine_of(layout: Layout) -> Machine:
    """What the operator's commands work with."""
    config = configuration.load(layout, None)
    return Machine(layout, config, open_registry(config, layout))


def frugal(stack: LiveStack, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A command of root's with an address space of 1 GiB, and a minute."""
    command = (sys.executable, "-m", "user_wsgi_wrapper", "--root", str(stack.root), *arguments)
    return subprocess.run(["prlimit", f"--as={1 << 30}", *command], capture_output=True, timeout=60)


# -- logs


def test_a_log_of_one_endless_line_is_read_in_bounded_memory(stack: LiveStack, intruder: Intruder) -> None:
    """A GiB without a line end, which cost the tenant nothing: `logs` shows the end of them."""
    log = f"/var/log/{DOMAIN}/{DOMAIN}.error.log"
    intruder.python(f"import os; os.truncate({log!r}, 1 << 30); open({log!r}, 'a').write('the end')")
    try:
        for options in ((), ("--request", "abcdef")):
            done = frugal(stack, "logs", DOMAIN, *options)
            assert done.returncode == 0, done.stderr[-2000:]
            assert len(done.stdout) < 100_000_000
            assert done.stdout.endswith(b"the end") is not bool(options)
        intruder.python(f"open({log!r}, 'a').write(chr(10))")
        with contextlib.closing(tail.follow(stack.layout.log_file(DOMAIN, "error"), 1, bool, bool)) as follower:
            assert len(next(follower)) < 100_000_000
    finally:
        intruder.python(f"import os; os.truncate({log!r}, 0)")


def test_a_log_says_nothing_to_the_operators_terminal(stack: LiveStack, intruder: Intruder) -> None:
    """Escape sequences would rename its window, or type; a terminal shows them, a pipe gets them as they are."""
    log = f"/var/log/{DOMAIN}/{DOMAIN}.error.log"
    evil = "\x1b]0;owned\x07\x1b[2J \x9b31m back\rspace\u202e"
    intruder.python(f"open({log!r}, 'a').write({evil + chr(10)!r})")
    shown = on_a_terminal(stack, "logs", DOMAIN, "-n", "1")
    assert r"\x1b]0;owned\x07" in shown
    assert not any(sign in shown for sign in ("\x1b", "\x07", "\x9b", "\u202e")), ascii(shown)
    assert "back\rspace" not in shown
    assert stack.command("logs", DOMAIN, "-n", "1").encode() != b""
    raw = frugal(stack, "logs", DOMAIN, "-n", "1").stdout
    assert raw == f"{evil}\n".encode()


def on_a_terminal(stack: LiveStack, *arguments: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    command = (sys.executable, "-m", "user_wsgi_wrapper", "--root", str(stack.root), *arguments)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        output = b""
        try:
            while chunk := os.read(ours, 65536):
                output += chunk
        except OSError:  # EIO: nobody has the other end any more
            pass
        process.wait(60)
    os.close(ours)
    return output.decode()


def test_a_tenant_can_put_nothing_into_his_log_folder(intruder: Intruder) -> None:
    """So whatever opens a log there by its name opens the log; and no second name of it can be made elsewhere."""
    said = intruder.python(f"""
import os
folder, log = "/var/log/{DOMAIN}", "/var/log/{DOMAIN}/{DOMAIN}.error.log"
attempts = [
    lambda: os.rename(log, folder + "/x"), lambda: os.unlink(log), lambda: os.symlink("/etc/passwd", folder + "/x"),
    lambda: os.mkfifo(folder + "/x"), lambda: os.link(log, folder + "/x"), lambda: os.link(log, "/var/www/x"),
    lambda: os.rename(log, "/var/www/x"), lambda: os.chmod(folder, 0o777), lambda: os.rename(folder, folder + "2"),
    lambda: os.rmdir(folder), lambda: os.mkdir("/var/log/two.test"), lambda: open(folder + "/x", "w"),
]
for attempt in attempts:
    try:
        attempt()
        print("done")
    except OSError as error:
        print(error.strerror)
""")
    assert "done" not in said, said


# -- what the site's workers write down, which `status` and `reload` read

TRAPS = {
    "a link to root's file": "os.symlink({secret!r}, path)",
    "a FIFO": "os.mkfifo(path)",
    "a folder": "os.mkdir(path)",
    "gigabytes": "open(path, 'w').truncate(4 << 30)",
    "a socket": "import socket; socket.socket(socket.AF_UNIX).bind(path)",
    "leased": (
        "fd = os.open(path, os.O_CREAT | os.O_RDWR); import fcntl, signal;"
        "signal.signal(signal.SIGIO, signal.SIG_IGN); fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)"
    ),
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_no_trap_in_a_deploy_files_place_holds_or_fools_root(stack: LiveStack, intruder: Intruder, trap: str) -> None:
    """It is read at once, as nothing."""
    secret = stack.root / "root.secret"
    secret.write_text("refused 1 1 1 1\n\nroot's secret\n")
    secret.chmod(0o600)
    code = f"""
import os, time
os.makedirs("/home/Hands/.cache/user_wsgi_wrapper/trap.test", exist_ok=True)
path = "/home/Hands/.cache/user_wsgi_wrapper/trap.test/deploy"
{trap.format(secret=str(secret))}
print("begun", flush=True)
time.sleep(60)
"""
    process = intruder.start(code)
    try:
        began = time.monotonic()
        assert deploys.read(stack.layout, "Hands", "trap.test", intruder.uid) == deploys.Deploys()
        assert time.monotonic() - began < 2
    finally:
        intruder.end(process)
        intruder.python("import shutil; shutil.rmtree('/home/Hands/.cache/user_wsgi_wrapper/trap.test')")


def test_folders_that_turn_into_links_thousands_of_times_lead_root_nowhere(
    stack: LiveStack, intruder: Intruder
) -> None:
    """Each folder on the way to the deploy file and the file itself are swapped for links to root's, in a loop."""
    outside = stack.root / "outside" / "swap.test"
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "deploy").write_text("refused 1 1 1 1\n\nroot's secret\n")
    os.chown(outside / "deploy", intruder.uid, intruder.gid)  # the owner alone must not be what gives it away
    process = intruder.start(f"""
import os
top = "/home/Hands/.cache/user_wsgi_wrapper"
os.makedirs(top + "/swap.test", exist_ok=True)
open(top + "/swap.test/deploy", "w").write("good 1 1 1 1\\n\\n")
print("begun", flush=True)
count = 0
while True:
    for path, target in (
        (top + "/swap.test/deploy", {str(outside / "deploy")!r}), (top + "/swap.test", {str(outside)!r}),
        (top, {str(outside.parent)!r}), ("/home/Hands/.cache", {str(outside.parent.parent)!r}),
    ):
        os.rename(path, path + ".aside")
        os.symlink(target, path)
        os.unlink(path)
        os.rename(path + ".aside", path)
        count += 1
""")
    try:
        seen = set()
        until = time.monotonic() + 2
        while time.monotonic() < until:
            found = deploys.read(stack.layout, "Hands", "swap.test", intruder.uid)
            assert found.reason == ""
            seen.add(found.good is not None)
        assert seen == {True, False}, "it was never in between"
    finally:
        intruder.end(process)
        intruder.python("""
import os, shutil
for path in ("/home/Hands/.cache", "/home/Hands/.cache/user_wsgi_wrapper"):
    if os.path.islink(path):
        os.unlink(path)
    if os.path.isdir(path + ".aside"):
        os.rename(path + ".aside", path)
shutil.rmtree("/home/Hands/.cache/user_wsgi_wrapper/swap.test", ignore_errors=True)
""")


# -- processes


HUGE_TITLE = """
import ctypes, mmap, struct, time
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = ctypes.c_void_p
libc.mmap.restype = ctypes.c_void_p
fields = [0, 0, 0] + open("/proc/self/stat").read().rpartition(")")[2].split()
size = 4 << 30
huge = libc.mmap(None, ctypes.c_size_t(size), 1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0)
numbers = [int(fields[index]) for index in (26, 27, 45, 46, 47)]
words = [*numbers, libc.sbrk(0), int(fields[28]), huge, huge + size, huge, huge + size]
map_ = struct.pack("=12QII", *words, 0, 0, 0xFFFFFFFF)
# prctl(2): PR_SET_MM with PR_SET_MM_MAP needs no privilege
done = libc.prctl(35, 14, ctypes.c_char_p(map_), len(map_), 0)
libc.prctl(15, b"fifteen letters", 0, 0, 0)  # of a name as long as this psutil believes that it was cut
print("begun" if done == 0 else f"errno {ctypes.get_errno()}", flush=True)
time.sleep(120)
"""


def test_a_process_with_a_title_of_gigabytes_costs_root_nothing(stack: LiveStack, intruder: Intruder) -> None:
    """/proc/PID/cmdline and environ are as long as the process likes: `status` and `reap` read their beginnings."""
    process = intruder.start(HUGE_TITLE)
    try:
        for command in (("status",), ("status", DOMAIN), ("reap", "--dry-run")):
            done = frugal(stack, *command)
            assert done.returncode == 0, (command, done.stderr[-2000:])
        assert str(process.pid) in done.stdout.decode()
    finally:
        intruder.end(process)


def test_a_tenants_uwsgi_is_no_emperor(stack: LiveStack, intruder: Intruder) -> None:
    """Also if it has the pid of one that died; and the files that it names, FIFOs among them, aren't opened."""
    pidfile = stack.layout.emperor_pidfile
    before = pidfile.read_text()
    process = intruder.start("""
import os, shutil
os.mkfifo("/home/Hands/trap.ini")
os.chdir("/home/Hands")
print("begun", flush=True)
os.execv("/usr/bin/uwsgi-core", ["uwsgi", "--socket", "/tmp/trap.socket", "--set-ph", "trap=trap.ini"])
""")
    try:
        wait_for(lambda: "uwsgi" in os.readlink(f"/proc/{process.pid}/exe"), "uWSGI runs", 10)
        pidfile.write_text(f"{process.pid}\n")
        found: list[frozenset[int]] = []
        reader = threading.Thread(target=lambda: found.append(reaper.emperor_pids(stack.layout)), daemon=True)
        reader.start()
        reader.join(5)
        assert not reader.is_alive(), "it waits at the FIFO"
        assert found == [frozenset()]
    finally:
        pidfile.write_text(before)
        intruder.end(process)
        intruder.python("import os; os.unlink('/home/Hands/trap.ini')")


# -- reload


SPY = """
import os, signal, sys, time
known = set(os.listdir("/proc"))
print("begun", flush=True)
while True:
    for pid in set(os.listdir("/proc")) - known:
        if not pid.isdigit():
            continue
        try:
            if sys.argv[1] == "stop":
                os.kill(int(pid), signal.SIGSTOP)
            environment = open(f"/proc/{pid}/environ").read()
            majors = [os.major(os.stat(f"/proc/{pid}/fd/{fd}").st_rdev) for fd in os.listdir(f"/proc/{pid}/fd")]
            terminal = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[4]
            if os.readlink(f"/proc/{pid}/exe").rpartition("/")[2] in ("chroot", "dash", "date", "stat", "touch"):
                print(pid, "SECRET" in environment, 136 in majors, terminal != "0", flush=True)
        except OSError:
            pass
"""


TOUCHES = """
import fcntl, os, pathlib, sys, termios
from tests.attacks.test_roots_hands import machine_of
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.emperor_hook import reloading
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
machine = machine_of(Layout(pathlib.Path(sys.argv[1])))
site = machine.registry.get(sys.argv[2])
identity = machine.registry.identity(site.username)
for _ in range(40):  # the spy must catch but one
    reloading._touch(machine, site, identity)
"""


def test_what_root_runs_in_the_chroot_has_nothing_of_roots(stack: LiveStack, intruder: Intruder) -> None:
    """The tenant may trace what `reload` runs under his uid: neither root's environment is in it nor root's terminal.

    With a terminal he would type into root's shell (TIOCSTI).
    """
    ours, theirs = pty.openpty()
    spy = intruder.start(SPY, "look")
    try:
        done = subprocess.run(
            [sys.executable, "-c", TOUCHES, stack.root, DOMAIN],
            stdin=theirs,
            capture_output=True,
            text=True,
            env={**os.environ, "DATABASE_PASSWORD": "SECRET"},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    finally:
        seen = intruder.end(spy).splitlines()
        os.close(ours)
        os.close(theirs)
    assert seen, "the spy saw nothing"
    assert all(line.endswith("False False False") for line in seen), seen


def test_who_stops_the_touch_holds_root_for_seconds_and_is_told_of(
    stack: LiveStack, intruder: Intruder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line of error, and no process is left."""
    monkeypatch.setattr(reloading, "_TOUCH_PATIENCE", 2.0, raising=False)
    machine = machine_of(stack.layout)
    site = machine.registry.get(DOMAIN)
    spy = intruder.start(SPY, "stop")
    try:
        began = time.monotonic()
        with pytest.raises(reloading.ReloadError, match="could not be touched"):
            reloading.reload(machine, site, print)
        assert time.monotonic() - began < 10
    finally:
        intruder.end(spy)
    stack.command("cool", DOMAIN)
    wait_for(lambda: stack.request(DOMAIN).status == 200, "the site serves")


# -- removal


def test_a_tenant_who_will_not_go_goes_with_all_he_has(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of thousands of folders, a worker at a request of minutes, a daemon that ignores TERM and wears the
    site's title, and one that puts links to root's files in the way: `remove --purge` ends and deletes it all.
    """
    stack.site("stays.test", "Stayer", APP)
    assert stack.request("stays.test").status == 200
    stayer = Intruder(stack, "Stayer")
    canary = stack.root / "canary"
    canary.mkdir()
    (canary / "root's").write_text("kept")
    stayer.python("""
import os
os.chdir("/var/www")
for _ in range(5000):
    os.mkdir("x" * 100)
    os.chdir("x" * 100)
""")
    daemon = stayer.start(f"""
import ctypes, os, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        break
else:
    print("begun", flush=True)
    os.execv("/usr/bin/bash", ["stays.test", "-c", "trap '' TERM; while :; do read -t 1 <> <(:); done"])
number = 0
while True:
    number += 1
    path = f"/var/www/{{os.getpid()}}.{{number % 100}}"
    try:
        os.mkdir(path)
        os.rename(path, path + ".aside")
        os.symlink({str(canary)!r}, path)
        os.rmdir(path + ".aside") if number % 3 else None
        os.unlink(path) if number % 5 else None
    except OSError:
        pass
""")
    hanging = threading.Thread(target=lambda: stack.request("stays.test", "/hang"))
    hanging.start()
    wait_for(lambda: '"GET / ' in stack.log("stays.test", "access"), "a request was answered")
    monkeypatch.setattr(ending, "_PATIENCE", 2.0)  # seconds for what ends by itself
    began = time.monotonic()
    sites.remove(machine_of(stack.layout), "stays.test", purge=True)
    assert time.monotonic() - began < 30
    stayer.end(daemon)
    hanging.join(20)
    stayer.wait_until_gone()
    assert not stack.layout.storage("Stayer").exists()
    assert not stack.layout.log_dir("stays.test").exists()
    assert (canary / "root's").read_text() == "kept"
    assert "stays.test" not in stack.command("site", "list")
