"""A real stack for tests: nginx, the Emperor, initialize and chroots, under a root of the test's own."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from user_wsgi_wrapper.layout import Layout

PATIENCE = 30.0  # seconds; a bound for what takes milliseconds on an idle machine


@dataclass(frozen=True)
class Reply:
    """An HTTP answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The condition's first true value; fails with `what` when it stays false for `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mounts_beneath(folder: Path) -> list[str]:
    """The mount points under a folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [target for target in (line.split()[4] for line in lines) if target.startswith(f"{folder}/")]


class LiveStack:
    """`up` over a root of its own, with a command line and an HTTP client."""

    def __init__(self, root: Path, config: str = "") -> None:
        self.root = root.resolve()
        self.layout = Layout(self.root)
        self.port = free_port()
        self.output = self.root / "up.output"
        self.process: subprocess.Popen[bytes] | None = None
        # ids of its own, so that stacks of several tests never see each other's processes
        first = random.randrange(300_000, 2_000_000, 100)
        self.uids = range(first, first + 100)
        self.layout.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.layout.config_file.write_text(f"[ids]\nfirst = {first}\nlast = {self.uids[-1]}\n{config}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of user-wsgi-wrapper, whatever its exit status."""
        return subprocess.run(
            [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(self.root), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )

    def command(self, *arguments: str) -> str:
        """One command that must succeed; gives its output."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def status(self, domain: str) -> dict[str, Any]:
        """What `status --json` says of a site."""
        return json.loads(self.command("status", domain, "--json"))[0]  # type: ignore[no-any-return]

    def start(self) -> None:
        """Start the stack and wait until it says that it serves."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.up(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self._is_up, "the stack says that it serves")

    def up(self) -> list[str]:
        """The command that runs the stack."""
        return [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(self.root), "up", "--port", str(self.port)]

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"`up` ended: {self.output.read_text()}{self.own_logs()}"
        return "Ctrl-C" in self.output.read_text()

    def own_logs(self) -> str:
        """The ends of the stack's own logs, for a failure's message."""
        logs = sorted(self.layout.own_logs_dir.glob("*.log"))
        return "".join(f"\n--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask the stack to end; gives its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self.process = None
        return status

    def kill(self) -> None:
        """End the stack as a power cut would: its own process and its services, at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def site(self, domain: str, user: str, code: str | None = None, *settings: str) -> Path:
        """Add a site whose wsgi.py holds `code`; gives the host path of the tenant's /var/www."""
        self.command("site", "add", domain, "--user", user, *settings)
        www = self.layout.www(user)
        if code is not None:
            self.write(user, "wsgi.py", code)
        return www

    def write(self, user: str, name: str, text: str | bytes) -> Path:
        """A file in the tenant's /var/www, the tenant's own. A changed wsgi.py reloads."""
        www = self.layout.www(user)
        path = www / name
        owner = www.stat()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.chown(temporary, owner.st_uid, owner.st_gid)
        os.replace(temporary, path)
        return path

    def request(
        self, domain: str, path: str = "/", method: str = "GET", body: Any = None,
        headers: dict[str, str] | None = None, timeout: float = 90.0,
    ) -> Reply:  # fmt: skip
        """One request through nginx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers={"Host": domain, **(headers or {})})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def log(self, domain: str, kind: str = "error") -> str:
        """The whole text of one of a site's logs."""
        return self.layout.log_file(domain, kind).read_text(errors="surrogateescape")

    def wait_for_log(self, domain: str, text: str, kind: str = "error") -> str:
        """The log once it holds `text`."""
        wait_for(lambda: text in self.log(domain, kind), f"{text!r} stands in the {kind} log of {domain}")
        return self.log(domain, kind)

    def leftovers(self) -> list[str]:
        """Processes and mounts that a stopped stack should not have left."""
        left = mounts_beneath(self.root)
        for process in psutil.process_iter():
            try:
                if str(self.root) in " ".join(process.cmdline()) or process.uids().real in self.uids:
                    left.append(str(process))
            except psutil.Error:
                continue
        return left

    def close(self) -> None:
        """Stop the stack if it runs, and fail if it left anything."""
        if self.process is not None:
            self.stop()
        wait_for(lambda: not self.leftovers(), f"nothing is left: {self.leftovers()}", patience=10)
        shutil.rmtree(self.root)
