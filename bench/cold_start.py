"""From cold to the first byte: this project beside bare uWSGI doing the same, in turns, in one run.

    python bench/cold_start.py [--rounds N] [--raw FILE]

Run as root, with the tests' virtual environment. Every row serves the same three-line application. Times are only
good for comparing the rows of one run; the ratios are what lasts.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.asking import timed
from tests.live import LiveStack, wait_for

APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
VASSAL = """\
[uwsgi]
plugins = python3
uid = 65534
gid = 65534
master = true
socket = {socket}
chmod-socket = 666
wsgi-file = {wsgi}
"""


def ask(path: Path) -> bool:
    """One request by the uwsgi protocol; whether it was answered with 200."""
    variables = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "bare", "SERVER_PORT": "80"}
    packet = b"".join(struct.pack("<H", len(text)) + text.encode() for pair in variables.items() for text in pair)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        try:
            client.connect(str(path))
            client.sendall(struct.pack("<BHB", 0, len(packet), 0) + packet)
            return b" 200 " in client.recv(4096)
        except OSError:
            return False


def until_answered(path: Path) -> None:
    """Ask again and again until the first 200."""
    deadline = time.monotonic() + 60
    while not ask(path):
        if time.monotonic() > deadline:
            raise SystemExit(f"{path} never answered")
        time.sleep(0.001)


class Bare:
    """uWSGI alone: executed for one site, and as an Emperor over a folder of vassals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o777)
        (folder / "vassals").mkdir()
        (folder / "wsgi.py").write_text(APPLICATION)
        self.count = 0
        self.log = (folder / "log").open("wb")
        self.emperor = self._spawn("--emperor", str(folder / "vassals"))

    def _spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/usr/bin/uwsgi", "--die-on-term", *arguments], stdout=self.log, stderr=self.log)

    def _vassal(self) -> tuple[str, Path]:
        self.count += 1
        path = self.folder / f"{self.count}.socket"
        return VASSAL.format(socket=path, wsgi=self.folder / "wsgi.py"), path

    def executed(self) -> float:
        text, path = self._vassal()
        configuration = self.folder / f"{self.count}.ini"
        configuration.write_text(text)
        began = time.perf_counter()
        process = self._spawn("--ini", str(configuration))
        until_answered(path)
        took = time.perf_counter() - began
        process.terminate()
        process.wait()
        return took

    def under_an_emperor(self) -> float:
        text, path = self._vassal()
        vassal = self.folder / "vassals" / f"{self.count}.ini"
        began = time.perf_counter()
        vassal.write_text(text)
        until_answered(path)
        took = time.perf_counter() - began
        vassal.unlink()
        return took

    def close(self) -> None:
        self.emperor.terminate()
        self.emperor.wait()
        self.log.close()


class Ours:
    """The whole stack: nginx, initialize, chroot, Emperor."""

    def __init__(self, root: Path) -> None:
        root.chmod(0o755)
        self.stack = LiveStack(root)
        self.stack.start()
        self.stack.site("known.test", "Known", APPLICATION, "--idle", "2")
        self.stack.request("known.test")
        self.count = 0

    def never_seen(self) -> float:
        self.count += 1
        domain = f"site{self.count}.test"
        self.stack.site(domain, f"User{self.count}", APPLICATION)
        return timed(self.stack, domain)

    def known(self) -> float:
        self.stack.command("cool", "known.test")
        wait_for(lambda: self.stack.status("known.test")["pids"] == [], "known.test has ended")
        return timed(self.stack, "known.test")

    def idle(self) -> float:
        self.stack.request("known.test")
        wait_for(lambda: self.stack.status("known.test")["state"] == "idle", "known.test went idle")
        time.sleep(1.5)  # what the Emperor needs to bury the last process is not what is measured here
        return timed(self.stack, "known.test")

    def warm(self) -> float:
        self.stack.request("known.test")
        return timed(self.stack, "known.test")


def main() -> int:
    """Measure, print the table, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="how often each row is measured (15)")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single time there, as JSON")
    arguments = parser.parse_args()
    bare = Bare(Path(tempfile.mkdtemp(prefix="uww-bench-bare-")))
    ours = Ours(Path(tempfile.mkdtemp(prefix="uww-bench-")))
    rows: dict[str, Callable[[], float]] = {
        "uwsgi, executed": bare.executed,
        "uwsgi --emperor, vassal written": bare.under_an_emperor,
        "this project, site never seen": ours.never_seen,
        "this project, site known, cold": ours.known,
        "this project, site idle": ours.idle,
        "this project, site warm": ours.warm,
    }
    times: dict[str, list[float]] = {name: [] for name in rows}
    try:
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
            for name, measure in rows.items():
                times[name].append(measure())
    finally:
        bare.close()
        ours.stack.close()
    report(times, arguments.raw)
    return 0


def report(times: dict[str, list[float]], raw: Path | None) -> None:
    """The table on standard output; the raw numbers and the machine in `raw`."""
    unit = statistics.median(times["uwsgi, executed"])
    print(f"{'milliseconds to the first byte':36}{'median':>9}{'least':>9}{'most':>9}{'ratio':>9}")
    for name, taken in times.items():
        median = statistics.median(taken)
        cells = "".join(f"{1000 * value:9.1f}" for value in (median, min(taken), max(taken)))
        print(f"{name:36}{cells}{median / unit:9.2f}")
    version = subprocess.run(["/usr/bin/uwsgi", "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{len(taken)} rounds; uWSGI {version}, Linux {platform.release()}, {platform.machine()}")
    if raw is not None:
        raw.write_text(
            json.dumps({"uwsgi": version, "kernel": platform.release(), "seconds": times}, indent=1) + "\n"
        )


if __name__ == "__main__":
    sys.exit(main())
