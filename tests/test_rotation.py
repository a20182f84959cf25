"""conf/logrotate.conf, run by the real logrotate under a site that is visited: no line is lost, all is bounded."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack, wait_for
from tests.test_units import bounded
from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import log_budget
from user_wsgi_wrapper.emperor_hook.log_budget import File

CONF = Path(__file__).parents[1] / "conf/logrotate.conf"
UNIT = "user-wsgi-wrapper-rotate.service"
APP = """\
import os, sys
def application(environ, start_response):
    number = environ["QUERY_STRING"]
    print("out", number)
    print("err", number, file=sys.stderr)
    if number.endswith("7"):
        os.system("echo child %d >&2" % int(number))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
DOMAIN = "turn.test"


class Rotation:
    """logrotate with the configuration and the capabilities that the unit gives it, over a stack's logs."""

    def __init__(self, stack: LiveStack) -> None:
        self.layout = stack.layout
        self.state = stack.root / "logrotate.state"
        self.conf = stack.root / "logrotate.conf"
        self.conf.write_text(CONF.read_text().replace("/var/log/nginx/user_logs", str(stack.layout.user_logs_dir)))
        self.conf.chmod(0o644)

    def run(self, *options: str) -> str:
        """Rotate what is due, or with --force everything; gives what it said."""
        command = ["/usr/sbin/logrotate", *options, "--state", str(self.state), str(self.conf)]
        done = subprocess.run(
            bounded(UNIT, *command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        assert "error:" not in done.stdout, done.stdout
        assert done.returncode == 0, done.stdout
        return done.stdout

    def files(self, kind: str, domain: str = DOMAIN) -> list[Path]:
        """A log and what was rotated away from it."""
        return sorted(self.layout.log_dir(domain).glob(f"{domain}.{kind}.log*"))

    def text(self, kind: str) -> str:
        """All that was ever written to a log."""
        return "".join(
            (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
            for path in self.files(kind)
        )


def have_nginx_look_each_second(stack: LiveStack) -> None:
    """Whether a log was rotated, in place of every ten seconds: for the sake of time."""
    front = stack.layout.run_dir / "nginx-front.conf"
    text = front.read_text()
    front.write_text(text.replace("valid=10s", "valid=1s"))
    assert front.read_text() != text
    os.kill(int((stack.layout.run_dir / "nginx.pid").read_text()), signal.SIGHUP)


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """A site of two workers."""
    with live_stack() as live:
        live.site(DOMAIN, "Turner", APP, "--processes", "2")
        have_nginx_look_each_second(live)
        assert live.request(DOMAIN, "/?0").status == 200
        yield live


@pytest.fixture(scope="module")
def rotation(stack: LiveStack) -> Rotation:
    return Rotation(stack)


class Visitors:
    """Three who ask again and again, each for numbers of his own; `asked` are those that were answered."""

    def __init__(self, stack: LiveStack) -> None:
        self.asked: list[int] = []
        self._stack, self._stop = stack, False
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(3)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        while not self._stop:
            number += 3
            if self._stack.request(DOMAIN, f"/?{number}").status == 200:
                self.asked.append(number)

    def stop(self) -> None:
        self._stop = True
        for thread in self._threads:
            thread.join(30)


def have_noticed(stack: LiveStack) -> bool:
    """Whether all of the site's processes write to today's server log: its workers' standard output, its master."""
    name = stack.layout.log_file(DOMAIN, "server").name
    pids = stack.status(DOMAIN)["pids"]
    try:
        open_ = [[os.readlink(f"/proc/{pid}/fd/{number}").rpartition("/")[2] for number in (1, 2)] for pid in pids]
    except FileNotFoundError:
        return False  # one of them has just ended
    # the master never writes to its descriptor 1
    return len(pids) >= 3 and sorted(stdout == name for stdout, _ in open_)[1] and all(name in both for both in open_)


def test_no_line_is_lost_by_rotation_under_visitors(stack: LiveStack, rotation: Rotation) -> None:
    """What the site prints, what its children write, what is asked, and uWSGI's own lines, each exactly once.

    Three rotations, in the middle of which new code is loaded: .1 is plain, the older ones are compressed.
    """
    visitors = Visitors(stack)
    try:
        for turn in range(3):
            time.sleep(1.2)  # nginx looks once a second: it has left the file that will be compressed
            rotation.run("--force")
            wait_for(lambda: have_noticed(stack), f"rotation {turn} is noticed by the site's processes", 10)
            if turn == 1:
                stack.write("Turner", "wsgi.py", APP + "# new\n")
                stack.wait_for_log(DOMAIN, "site reloaded", "server")
    finally:
        visitors.stop()
    numbers = sorted([0, *visitors.asked])
    assert len(numbers) > 100
    wait_for(lambda: len(found(r"\?(\d+) HTTP", rotation.text("access"))) >= len(numbers), "nginx has written", 5)
    assert found(r'"GET /\?(\d+) HTTP', rotation.text("access")) == numbers
    assert found(r"\] err (\d+)\n", rotation.text("error")) == numbers
    assert found(r"^out (\d+)$", rotation.text("server")) == numbers
    sevens = [number for number in numbers if number % 10 == 7]
    wait_for(lambda: found(r"child (\d+)\n", rotation.text("error")) == sevens, "the children's lines are there", 5)
    for kind in inside.LOG_KINDS:
        names = [path.name.removeprefix(f"{DOMAIN}.{kind}.log") for path in rotation.files(kind)]
        assert names == ["", ".1", ".2.gz", ".3.gz"], kind
        live = stack.layout.log_file(DOMAIN, kind).stat()
        packed = rotation.files(kind)[-1].stat()
        assert (live.st_uid, live.st_gid, live.st_mode) == (packed.st_uid, packed.st_gid, packed.st_mode)
    server = rotation.text("server")
    assert server.count("site reloaded") >= 2
    assert server.count("(and the only) process") <= 1


def found(pattern: str, text: str) -> list[int]:
    return sorted(int(number) for number in re.findall(pattern, text, re.MULTILINE))


def test_logs_reads_what_was_rotated(stack: LiveStack, rotation: Rotation) -> None:
    """A request of before the rotations is found whole, the lines of an hour are all there."""
    reply = stack.request(DOMAIN, "/?424242")
    assert reply.status == 200
    (request_id,) = re.findall(r"\[([0-9a-f]{12})\] err 424242", stack.wait_for_log(DOMAIN, "err 424242"))
    wait_for(lambda: "424242" in rotation.text("access"), "nginx has written its line")
    time.sleep(1.1)
    rotation.run("--force")
    rotation.run("--force")
    lines = stack.command("logs", DOMAIN, "--request", request_id).splitlines()
    assert [line.split(" ")[-2:] for line in lines] == [["err", "424242"], [lines[1].split(" ")[-2], request_id]]
    told = stack.command("logs", DOMAIN, "--since", "1h", "--kind", "error", "-n", "1000000")
    assert found(r"\] err (\d+)$", told) == found(r"\] err (\d+)\n", rotation.text("error"))


def test_what_is_neither_old_nor_large_stays(stack: LiveStack, rotation: Rotation) -> None:
    """A day, or 100 MB: whichever comes first. An empty log isn't rotated."""
    rotation.run()
    before = [path.name for path in rotation.files("error")]
    rotation.run()
    assert [path.name for path in rotation.files("error")] == before
    log = stack.layout.log_file(DOMAIN, "error")
    with log.open("ab") as file:
        file.truncate(101 << 20)
    rotation.run()
    assert (log.stat().st_size, log.with_name(log.name + ".1").stat().st_size) == (0, 101 << 20)
    rotation.run("--force")
    assert log.with_name(log.name + ".1").stat().st_size == 101 << 20, "an empty one isn't rotated"


def test_nine_are_kept(stack: LiveStack, rotation: Rotation) -> None:
    """.1, and .2.gz to .9.gz."""
    log = stack.layout.log_file(DOMAIN, "server")
    for _ in range(10):
        with log.open("ab") as file:
            file.write(b"a line\n")
        rotation.run("--force")
    names = [path.name.removeprefix(log.name) for path in rotation.files("server")]
    assert names == ["", ".1", *(f".{number}.gz" for number in range(2, 10))]


# -- the budget


@pytest.mark.parametrize(
    ("budget", "gone"),
    [
        (1000, []),
        (60, []),
        (59, ["e.3"]),
        (39, ["e.3", "s.3"]),
        (30, ["e.3", "s.3", "e.2"]),
        (25, ["e.3", "s.3", "e.2"]),
        (10, ["e.3", "s.3", "e.2", "s.1"]),
        (0, ["e.3", "s.3", "e.2", "s.1"]),
    ],
)
def test_the_oldest_go_until_the_others_keep_the_budget(budget: int, gone: list[str]) -> None:
    """Of one age the larger first; what is written to stays, and what isn't a log."""
    files = [
        File("e", 10), File("s.1", 10, 1), File("e.3", 20, 3), File("e.2", 10, 2), File("other", 5),
        File("s.3", 5, 3),
    ]  # fmt: skip
    assert [file.name for file in log_budget.surplus(files, budget)] == gone


def test_what_is_too_large_by_itself_goes_before_anything_older() -> None:
    files = [File("e", 10), File("e.1", 1000, 1), File("e.2", 10, 2)]
    assert [file.name for file in log_budget.surplus(files, 100)] == ["e.1"]


def test_trim_deletes_and_tells(stack: LiveStack, rotation: Rotation) -> None:
    """A file of a terabyte that takes no room too, for compressing it would take hours; others' files stay."""
    log = stack.layout.log_file(DOMAIN, "error")
    huge, note = log.with_name(log.name + ".1"), log.with_name("notes")
    os.truncate(huge, 1 << 40)
    note.write_bytes(bytes(2 << 20))
    older = [path for path in rotation.files("server") if path.name[-1] != "g"]
    done = subprocess.run(
        bounded(UNIT, sys.executable, "-m", "user_wsgi_wrapper", "--root", str(stack.root), "trim"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{DOMAIN}: 1 rotated logs deleted, 1048576.0 MiB\n"
    assert not huge.exists()
    assert [path for path in rotation.files("server") if path.name[-1] != "g"] == older
    assert "site trimmed: 1 rotated logs, 1048576.0 MiB, were deleted" in stack.log(DOMAIN, "server")
    assert stack.command("trim") == ""
    assert "rotated logs deleted" in stack.command("trim", DOMAIN, "--budget", "1")
    assert [path.name for path in stack.layout.log_dir(DOMAIN).iterdir() if path.name[-1] not in "sg"] == []
    assert note.exists()
    assert stack.run("trim", "nobody.test").returncode == 1
    assert stack.run("trim", "..").returncode == 2
    assert stack.request(DOMAIN, "/?1").status == 200
