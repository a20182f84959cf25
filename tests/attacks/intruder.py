"""A tenant who means harm: his code runs under his own uid in his own chroot, as whatever a site starts does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil

from tests.live import LiveStack, wait_for
from user_wsgi_wrapper.emperor_hook import chroot

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Intruder:
    """The tenant `username` of a stack whose chroot is built."""

    def __init__(self, stack: LiveStack, username: str) -> None:
        self.username = username
        self._chroot = stack.layout.chroot(username)
        owner = stack.layout.www(username).stat()
        self.uid, self.gid = owner.st_uid, owner.st_gid
        assert username in chroot.mounted_chroots(stack.layout), "his site must have been asked for"

    def _command(self, code: str, *arguments: str) -> list[str | Path]:
        ids = f"--userspec={self.uid}:{self.gid}"
        python = ("/usr/bin/python3", "-I", "-c", code, *arguments)
        return ["/usr/sbin/chroot", ids, "--groups=", self._chroot, *python]

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code as the tenant; gives what it printed."""
        done = subprocess.run(
            self._command(code, *arguments), env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Start Python code as the tenant, in a session of its own; it has begun once it has printed a line."""
        process = subprocess.Popen(
            self._command(code, *arguments), env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == "begun\n", first + process.stdout.read()
        return process

    def processes(self) -> list[psutil.Process]:
        """What runs under his uid."""
        found = []
        for pid in psutil.pids():
            try:
                process = psutil.Process(pid)
                if process.uids().real == self.uid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self, process: subprocess.Popen[str]) -> str:
        """Kill what was started; gives what it had printed."""
        process.kill()
        output, _ = process.communicate(timeout=20)
        return output

    def wait_until_gone(self) -> None:
        """Fails if a process of his stays."""
        wait_for(lambda: not self.processes(), f"no process of {self.username} is left: {self.processes()}", 10)
