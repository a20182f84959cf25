"""What each fault costs, counted: requests that failed and log lines that are missing, while visitors keep coming.

Run with -s to see the counts.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.live import LiveStack, mounts_beneath, wait_for
from user_wsgi_wrapper.emperor_hook import mounts, processes

DOMAIN = "steady.test"
# prints a line a request to the error log, and answers with the same text
APP = """\
def application(environ, start_response):
    text = environ["QUERY_STRING"]
    print("asked", text, file=environ["wsgi.errors"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""
VISITORS = 4
RECOVERY = 20.0  # seconds that a fault may cost requests
CALM = 1.0  # seconds that are counted after it


@dataclass(frozen=True)
class Visit:
    """One request: what it asked for, whether it was answered, and when it began (monotonic seconds)."""

    text: str
    good: bool
    began: float
    took: float
    why: str


class Visitors:
    """Four at a time, one request after the other, each over a connection of its own."""

    _numbers = itertools.count()

    def __init__(self, stack: LiveStack) -> None:
        self.stack, self.visits, self._stop = stack, list[Visit](), False
        self._threads = [threading.Thread(target=self._run) for _ in range(VISITORS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop:
            text = f"visit{next(self._numbers)}."
            began, why = time.monotonic(), ""
            try:
                reply = self.stack.request(DOMAIN, f"/?{text}", timeout=30)
                good = (reply.status, reply.body) == (200, text.encode())
                why = "" if good else str(reply.status)
            except (OSError, http.client.HTTPException) as error:
                good, why = False, type(error).__name__
            self.visits.append(Visit(text, good, began, time.monotonic() - began, why))
            time.sleep(0.005)

    def since(self, moment: float) -> list[Visit]:
        """Visits that began since then."""
        return [visit for visit in list(self.visits) if visit.began >= moment]

    def end(self) -> list[Visit]:
        """Have them go home."""
        self._stop = True
        for thread in self._threads:
            thread.join(60)
        return self.visits


@dataclass(frozen=True)
class Losses:
    """What a fault has cost. `failed` requests; `lost_errors` and `lost_accesses`: lines of answered requests."""

    visits: int
    failed: int
    lost_errors: int
    lost_accesses: int
    longest: float
    why: str

    def __str__(self) -> str:
        return (
            f"{self.visits} requests: {self.failed} failed {self.why}, {self.lost_errors} error-log lines and "
            f"{self.lost_accesses} access-log lines of answered requests lost, the longest wait {self.longest:.2f} s"
        )


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """A stack whose site logs go to a disk of their own, of 24 MiB."""
    root = Path(tempfile.mkdtemp(prefix="uww-"))
    root.chmod(0o755)
    live = LiveStack(root)
    logs = live.layout.user_logs_dir
    logs.mkdir(parents=True)
    target = os.open(logs, mounts.FOLDER | os.O_CLOEXEC)
    mounts.new_filesystem("tmpfs", (("size", "24m"), ("mode", "0755")), target, flags=mounts.Flags.NONE)
    os.close(target)
    live.start()
    try:
        live.site(DOMAIN, "Steady", APP)
        assert live.request(DOMAIN, "/?first").status == 200
        yield live
    finally:
        if live.process is not None:
            live.stop()
        mounts.unmount(logs)
        wait_for(lambda: not live.leftovers(), f"nothing is left: {live.leftovers()}", patience=10)
        shutil.rmtree(live.root)


def cost_of(stack: LiveStack, name: str, fault: Callable[[], object]) -> Losses:
    """Have visitors come, let the fault happen, wait until all is well again, and count."""
    visitors = Visitors(stack)
    try:
        wait_for(lambda: sum(visit.good for visit in list(visitors.visits)) > 50, "visitors are served")
        fault()
        over = time.monotonic()

        def is_calm() -> bool:
            recent = visitors.since(time.monotonic() - CALM)
            return time.monotonic() > over + CALM and len(recent) > 20 and all(visit.good for visit in recent)

        wait_for(is_calm, f"all is well after: {name}", RECOVERY)
    finally:
        visits = visitors.end()
    errors, accesses = stack.log(DOMAIN), stack.log(DOMAIN, "access")
    answered = [visit for visit in visits if visit.good]
    reasons: dict[str, int] = {}
    for visit in visits:
        if not visit.good:
            reasons[visit.why] = reasons.get(visit.why, 0) + 1
    losses = Losses(
        len(visits),
        len(visits) - len(answered),
        sum(f"asked {visit.text}\n" not in errors for visit in answered),
        sum(f"/?{visit.text} " not in accesses for visit in answered),
        max(visit.took for visit in visits),
        str(reasons) if reasons else "",
    )
    print(f"\n{name}: {losses}")
    return losses


def masters_and_workers(stack: LiveStack) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The site's processes."""
    uid = stack.layout.www("Steady").stat().st_uid
    workers = processes.workers_of_site(DOMAIN, uid)
    return [one for one in processes.of_site(DOMAIN, uid) if one not in workers], workers


def service(stack: LiveStack, name: str) -> psutil.Process:
    """The master of one of the stack's services, which the stack itself starts again."""
    assert stack.process is not None
    for process in psutil.Process(stack.process.pid).children():
        if name in " ".join(process.cmdline()):
            return process
    raise AssertionError(f"{name} doesn't run")


def nothing_but_what_was_at_it(losses: Losses) -> None:
    """At most one request of each visitor failed, and no line is missing."""
    assert losses.failed <= VISITORS, losses
    assert losses.lost_errors == losses.lost_accesses == 0, losses


def no_line(losses: Losses) -> None:
    """Every line of an answered request stands in its log."""
    assert losses.lost_errors == losses.lost_accesses == 0, losses


def nothing(losses: Losses) -> None:
    """No request failed, no line is missing."""
    assert losses.failed == losses.lost_errors == losses.lost_accesses == 0, losses


def test_the_emperor_killed(stack: LiveStack) -> None:
    """Its own master starts it again at once: no more is lost than was being answered."""
    before = stack.layout.emperor_pidfile.read_text()

    def kill() -> None:
        os.kill(int(before), signal.SIGKILL)
        wait_for(lambda: stack.layout.emperor_pidfile.read_text() not in ("", before), "a new Emperor")

    nothing_but_what_was_at_it(cost_of(stack, "Emperor killed", kill))


def test_the_emperor_and_its_master_killed(stack: LiveStack) -> None:
    """Requests wait until the stack has started it again; no more is lost than was being answered."""
    killed = service(stack, "emperor.ini")

    def kill() -> None:
        for one in (killed, *killed.children()):
            one.kill()
        wait_for(lambda: not killed.is_running(), "it is dead")

    nothing_but_what_was_at_it(cost_of(stack, "Emperor and its master killed", kill))


def test_the_vassals_master_killed(stack: LiveStack) -> None:
    """The Emperor holds the socket: what isn't being answered waits in its queue."""
    (master,), workers = masters_and_workers(stack)

    def kill() -> None:
        master.kill()
        wait_for(lambda: not any(one.is_running() for one in (master, *workers)), "its workers end with it")

    nothing_but_what_was_at_it(cost_of(stack, "vassal's master killed", kill))


def test_a_worker_killed(stack: LiveStack) -> None:
    """One request is lost with it."""
    wait_for(lambda: masters_and_workers(stack)[1], "there is a worker")
    _, (worker,) = masters_and_workers(stack)
    nothing_but_what_was_at_it(cost_of(stack, "worker killed", worker.kill))
    assert not worker.is_running()


def test_nginx_reloaded(stack: LiveStack) -> None:
    """HUP, five times: old workers end with their requests done."""
    pid = int((stack.layout.run_dir / "nginx.pid").read_text())

    def reload() -> None:
        for _ in range(5):
            os.kill(pid, signal.SIGHUP)
            time.sleep(0.2)

    nothing(cost_of(stack, "nginx reloaded five times", reload))


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
def test_nginx_ended(stack: LiveStack, number: signal.Signals) -> None:
    """Nobody can connect until it is started again; what was answered is logged."""
    pid = int((stack.layout.run_dir / "nginx.pid").read_text())
    workers = psutil.Process(pid).children()

    def end() -> None:
        os.kill(pid, number)
        if number == signal.SIGKILL:
            for worker in workers:
                worker.kill()

    no_line(cost_of(stack, f"nginx ended by {number.name}, started again", end))


def test_initialize_killed(stack: LiveStack) -> None:
    """Warm sites don't need it; a cold one waits at its socket or is told to come again, and is there soon."""
    stack.site("cold.test", "Cold", APP)
    killed = service(stack, "user-wsgi-wrapper-initialize")

    def kill() -> None:
        killed.kill()
        wait_for(lambda: not killed.is_running(), "it is dead")

    nothing(cost_of(stack, "initialize killed", kill))
    wait_for(lambda: stack.request("cold.test", "/?cold").text == "cold", "a cold site wakes")


def test_the_warmer_killed(stack: LiveStack) -> None:
    """The same: only those who wait for a cold site are told to come again."""
    stack.site("later.test", "Later", APP)
    killed = service(stack, "emperor_hook.warmer")

    def kill() -> None:
        killed.kill()
        wait_for(lambda: not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE, "it is dead")

    nothing(cost_of(stack, "warmer killed", kill))
    wait_for(lambda: stack.request("later.test", "/?cold").text == "cold", "a cold site wakes")


def test_a_full_disk(stack: LiveStack) -> None:
    """Requests are served; the tenant's lines wait for room, or are counted; those after it are all there."""
    filler = stack.layout.user_logs_dir / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        time.sleep(1.5)
        filler.unlink()

    losses = cost_of(stack, "log disk full for 1.5 s", fill)
    assert losses.failed == 0, losses
    assert losses.lost_errors == 0, losses
    after = cost_of(stack, "after the disk has room again", lambda: None)
    nothing(after)


def test_the_registry_gone(stack: LiveStack) -> None:
    """Warm sites never ask it."""
    path = stack.layout.sites_db
    aside = path.with_name("aside")

    def take_away() -> None:
        path.rename(aside)
        path.mkdir()
        time.sleep(1)
        path.rmdir()
        aside.rename(path)

    nothing(cost_of(stack, "registry gone for 1 s", take_away))


def test_a_clock_that_was_set_back(stack: LiveStack) -> None:
    """Files, and what was noted of deploys, are from an hour ahead: a touch, a reload and a change count."""
    ahead = time.time() + 3600
    layout = stack.layout

    def set_back() -> None:
        note = layout.keep_folder("Steady", DOMAIN) / "deploy"
        text = note.read_text()
        kind, *_, since = text.split("\n", 1)[0].split()
        assert kind == "good"
        note.write_text(text.replace(since, str(int(ahead * 1e9))))
        for path in (layout.www("Steady") / "wsgi.py", layout.vassal(DOMAIN)):
            os.utime(path, (ahead, ahead))
        time.sleep(2.5)  # a touch like any other: it is loaded
        path = stack.write("Steady", "wsgi.py", APP + "VERSION = 2\n")
        os.utime(path, (ahead - 1800, ahead - 1800))
        assert "reloaded in" in stack.command("reload", DOMAIN)
        stack.command("site", "set", DOMAIN, "--env", "AFTER=1")

    nothing(cost_of(stack, "clock set back by an hour, a reload, a change of the site", set_back))


def test_the_machine_rebooted(stack: LiveStack) -> None:
    """Everything killed at once, mounts gone, /run empty, files as they were: `up` is all that it takes."""

    def reboot() -> None:
        stack.kill()
        wait_for(lambda: set(stack.leftovers()) == set(mounts_beneath(stack.root)), "all have ended")
        for target in mounts.outermost(mounts.mounted_beneath(stack.layout.chroots_dir)):
            mounts.unmount(Path(target))
        shutil.rmtree(stack.layout.run_dir)
        assert mounts_beneath(stack.layout.chroots_dir) == []
        stack.start()

    losses = cost_of(stack, "machine rebooted", reboot)
    no_line(losses)
