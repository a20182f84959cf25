"""Rotation in a tenant's presence: root's logrotate touches nothing but the logs, and no tenant can hold it up."""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.intruder import Intruder
from tests.attacks.test_roots_hands import frugal
from tests.conftest import live_stack
from tests.live import LiveStack
from tests.test_rotation import Rotation
from user_wsgi_wrapper.emperor_hook import log_budget

APP = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
DOMAIN, VICTIM = "evil.test", "victim.test"
LOG = f"/var/log/{DOMAIN}/{DOMAIN}.error.log"
HOLD_THE_FIRST = f"""
import fcntl, os, signal, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open({LOG + ".1"!r}, os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("begun", flush=True)
time.sleep(100)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """An evil tenant's site, and a victim's whose name comes after it."""
    with live_stack() as live:
        for domain, user in ((DOMAIN, "Evil"), (VICTIM, "Victim")):
            live.site(domain, user, APP)
            assert live.request(domain).status == 200
        yield live


@pytest.fixture(scope="module")
def rotation(stack: LiveStack) -> Rotation:
    return Rotation(stack)


@pytest.fixture
def intruder(stack: LiveStack) -> Intruder:
    """The evil tenant."""
    return Intruder(stack, "Evil")


def rotate_all(rotation: Rotation, *options: str) -> subprocess.CompletedProcess[str]:
    """logrotate, whatever it says, within a bounded time."""
    command = ["/usr/sbin/logrotate", "--force", *options, "--state", str(rotation.state), str(rotation.conf)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def fill(stack: LiveStack, *domains: str) -> None:
    """A line in each error log, for an empty one isn't rotated."""
    for domain in domains:
        with stack.layout.log_file(domain, "error").open("ab") as file:
            file.write(b"a line\n")


def test_swaps_and_links_in_a_loop_lead_root_nowhere(
    stack: LiveStack, rotation: Rotation, intruder: Intruder
) -> None:
    """While logs are rotated, their tenant tries again and again to put something else into their places.

    He never succeeds, each rotation does its work, and root's file that he aims at stays as it is.
    """
    canary = stack.root / "canary"
    canary.write_text("root's\n")
    canary.chmod(0o600)
    process = intruder.start(f"""
import os
print("begun", flush=True)
folder, log, target = "/var/log/{DOMAIN}", {LOG!r}, {str(canary)!r}
names = [log, log + ".1", log + ".1.gz", log + ".2", log + ".2.gz", folder + "/x"]
while True:
    for name in names:
        for attempt in (
            lambda: os.symlink(target, name), lambda: os.link(log, name), lambda: os.mkfifo(name),
            lambda: os.mkdir(name), lambda: os.unlink(name), lambda: os.rename(log, name + ".moved"),
            lambda: os.rename(name, "/var/www/x"), lambda: os.link(name, "/var/www/x"),
            lambda: os.rename("/var/www", folder), lambda: os.rename(folder, folder + ".aside"),
            lambda: os.open(folder + "/y", os.O_CREAT | os.O_WRONLY),
        ):
            try:
                attempt()
                print("done", name, flush=True)
            except OSError:
                pass
""")
    try:
        for _ in range(30):
            fill(stack, DOMAIN, VICTIM)
            done = rotate_all(rotation)
            assert (done.returncode, done.stdout) == (0, ""), done.stdout
    finally:
        said = intruder.end(process)
    assert said == "", said
    assert canary.read_text() == "root's\n"
    kept = [path.name.removeprefix(f"{DOMAIN}.error.log") for path in rotation.files("error", DOMAIN)]
    assert kept == ["", ".1", *(f".{number}.gz" for number in range(2, 10))]
    assert all(gzip.decompress(path.read_bytes()) == b"a line\n" for path in rotation.files("error", DOMAIN)[2:])
    assert {path.stat().st_uid for path in rotation.files("error", DOMAIN)} == {intruder.uid}


@pytest.mark.parametrize("what", ["link", "dangling link", "second name", "FIFO", "folder"])
def test_even_if_something_else_stood_in_a_logs_place_it_would_be_left_alone(
    stack: LiveStack, rotation: Rotation, what: str
) -> None:
    """Put there by root, for no tenant can: neither is it followed, read, waited for or truncated, and others' logs
    are rotated all the same.
    """
    log = stack.layout.log_file(DOMAIN, "error")
    aside, canary = log.with_name("aside"), stack.root / "canary2"
    canary.write_text("root's\n" * 100)
    log.rename(aside)
    if what == "second name":
        os.link(canary, log)
    elif what == "FIFO":
        os.mkfifo(log)
    elif what == "folder":
        log.mkdir()
    else:
        log.symlink_to(canary if what == "link" else stack.root / "nothing")
    fill(stack, VICTIM)
    before = gzip_names(rotation, VICTIM)
    try:
        began = time.monotonic()
        rotate_all(rotation)
        assert time.monotonic() - began < 20
        assert canary.read_text() == "root's\n" * 100
        assert not (stack.root / "nothing").exists()
        assert gzip_names(rotation, VICTIM) != before, "the victim's log was rotated"
        log_budget.trim(stack.layout, DOMAIN, 0)
        assert canary.read_text() == "root's\n" * 100
    finally:
        log.rmdir() if log.is_dir() and not log.is_symlink() else log.unlink(missing_ok=True)
        aside.rename(log)
        canary.unlink()


def gzip_names(rotation: Rotation, domain: str) -> list[tuple[str, int]]:
    """The rotated logs of a domain, and which files they are."""
    return [(path.name, path.stat().st_ino) for path in rotation.files("error", domain)]


def test_a_rotated_log_of_terabytes_costs_a_bounded_time(
    stack: LiveStack, rotation: Rotation, intruder: Intruder
) -> None:
    """It cost its tenant nothing. gzip is ended over it; the next trim deletes it, and rotation goes on."""
    fill(stack, DOMAIN)
    assert rotate_all(rotation).returncode == 0
    intruder.python(f"import os; os.truncate({LOG + '.1'!r}, 1 << 43)")
    fill(stack, DOMAIN, VICTIM)
    before = gzip_names(rotation, VICTIM)
    text = rotation.conf.read_text()
    rotation.conf.write_text(text.replace("--cpu=120", "--cpu=1"))
    assert rotation.conf.read_text() != text
    try:
        done = rotate_all(rotation)
    finally:
        rotation.conf.write_text(text)
    assert done.returncode == 1
    assert f"{DOMAIN}.error.log.1" in done.stdout
    assert gzip_names(rotation, VICTIM) != before, done.stdout
    assert stack.layout.log_file(DOMAIN, "error").read_bytes().endswith(b"a line\n")
    trimmed = log_budget.trim(stack.layout, DOMAIN, 1 << 30)
    assert trimmed is not None
    assert trimmed.size >= 1 << 43
    done = rotate_all(rotation)
    assert (done.returncode, done.stdout) == (0, "")


def test_logs_reads_what_a_tenant_made_of_his_rotated_logs(
    stack: LiveStack, rotation: Rotation, intruder: Intruder
) -> None:
    """They are his: a bomb, a leased one, one that is no gzip file. In bounded memory, with a word on each, and what
    can be read is there.
    """
    for _ in range(5):
        fill(stack, DOMAIN)
        assert rotate_all(rotation).returncode == 0
    fill(stack, DOMAIN)
    intruder.python(f"""
import gzip
open({LOG + ".2.gz"!r}, "wb").write(gzip.compress(bytes(4 << 20)) * 100)
open({LOG + ".3.gz"!r}, "wb").write(b"a line" * 100)
open({LOG + ".4.gz"!r}, "wb").write(gzip.compress(b"a line that is here" * 100)[:-9])
""")
    process = intruder.start(HOLD_THE_FIRST)
    try:
        done = frugal(stack, "logs", DOMAIN, "--grep", "line")
    finally:
        intruder.end(process)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == b"a line"
    said = done.stderr.decode()
    assert ".1: its owner holds a lease on it" in said
    assert ".3.gz: it is damaged" in said
    assert ".4.gz: it ends in the middle" in said
    assert said.count("is left out") == 3, said


def test_a_mode_that_a_tenant_gave_his_log_isnt_the_next_ones(
    stack: LiveStack, rotation: Rotation, intruder: Intruder
) -> None:
    """Neither open to all nor set-user-id."""
    fill(stack, DOMAIN)
    intruder.python(f"import os; os.chmod({LOG!r}, 0o6777)")
    assert rotate_all(rotation).returncode == 0
    assert stack.layout.log_file(DOMAIN, "error").stat().st_mode & 0o7777 == 0o640


def test_a_lease_holds_rotation_up_for_no_longer_than_the_kernel_lets_it(
    stack: LiveStack, rotation: Rotation, intruder: Intruder
) -> None:
    """On the .1 that is to be compressed: the log is rotated, the victim's too."""
    fill(stack, DOMAIN)
    assert rotate_all(rotation).returncode == 0
    process = intruder.start(HOLD_THE_FIRST)
    try:
        fill(stack, DOMAIN, VICTIM)
        began = time.monotonic()
        with lease_break_time(2) as seconds:
            assert rotate_all(rotation).returncode == 0
        assert seconds - 1 < time.monotonic() - began < seconds + 20
    finally:
        intruder.end(process)
    names = [path.name for path in rotation.files("error", DOMAIN)]
    assert f"{DOMAIN}.error.log.1" in names


@contextlib.contextmanager
def lease_break_time(wanted: int) -> Iterator[int]:
    """Have the kernel break leases sooner, where it lets us; gives the seconds that it takes."""
    path = Path("/proc/sys/fs/lease-break-time")
    before = path.read_text()
    with contextlib.suppress(OSError):
        path.write_text(str(wanted))
    try:
        yield int(path.read_text())
    finally:
        with contextlib.suppress(OSError):
            path.write_text(before)
