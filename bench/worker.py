"""One uWSGI with the options of a vassal and one worker, asked by the uwsgi protocol."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.bare_uwsgi import packet  # noqa: E402

UWSGI = "/usr/bin/uwsgi"  # Debian's: what a site is served by
ENTRY = ROOT / "user_wsgi_wrapper" / "user_wsgi_wrapper.py"
PATIENCE = 60  # seconds; under valgrind everything takes fifty times as long

# What nginx makes of a first visit by Firefox 128 (conf/nginx.conf.template): the environ's size is part of the cost.
BROWSER = {
    "CONTENT_TYPE": "", "SCRIPT_NAME": "", "REQUEST_SCHEME": "https", "HTTPS": "on", "UWSGI_SCHEME": "https",
    "REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "50000", "SERVER_PORT": "443",
    "REQUEST_ID": "3f9c2a71d0b4e5f60718293a4b5c6d7e", "HTTP_X_REQUEST_ID": "3f9c2a71d0b4e5f60718293a4b5c6d7e",
    "HTTP_X_REAL_IP": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "192.0.2.7", "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "tenant.example", "HTTP_X_FORWARDED_PORT": "443",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5", "HTTP_ACCEPT_ENCODING": "gzip, deflate, br, zstd",
    "HTTP_CONNECTION": "keep-alive", "HTTP_UPGRADE_INSECURE_REQUESTS": "1", "HTTP_SEC_FETCH_DEST": "document",
    "HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_SITE": "none", "HTTP_SEC_FETCH_USER": "?1",
    "HTTP_PRIORITY": "u=0, i",
}  # fmt: skip
# valgrind counts each round of a `rep stosb` as an instruction, the processor does not: libc shall not use it.
_TUNABLES = "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000"
_SPAWNED = re.compile(r"spawned uWSGI worker 1 \(pid: (\d+)")
_OPTIONS = """
plugin = python3
master = true
lazy-apps = true
enable-threads = true
harakiri = 300
single-interpreter = true
die-on-term = true
ignore-sigpipe = true
ignore-write-errors = true
disable-write-exception = true
disable-logging = true
honour-range = true
buffer-size = 32768
"""


class Worker:
    """A context manager around one uWSGI that serves `app`, bare or `wrapped`; `under` is a command to run it with.

    `options` are further lines of its configuration, `environ` further environment variables. Unless `mapped` is
    false it has a vassal's static mapping. `entry` is the wrapper's file.
    """

    def __init__(
        self,
        app: Path,
        wrapped: bool,
        under: Sequence[str] = (),
        options: Sequence[str] = (),
        environ: dict[str, str] | None = None,
        threads: int = 1,
        mapped: bool = True,
        entry: Path = ENTRY,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="uww-bench-"))
        self.socket = self.folder / "s"
        self.log = self.folder / "error.log"
        self.output = self.folder / "server.log"
        lines = [f"file = {entry if wrapped else app}", f"uwsgi-socket = {self.socket}", f"chdir = {app.parent}"]
        (self.folder / "static").mkdir()
        if mapped:
            lines.append(f"static-map = /static/={self.folder}/static/")
        if threads > 1:
            lines.append(f"threads = {threads}")
        (self.folder / "vassal.ini").write_text("[uwsgi]" + _OPTIONS + "\n".join([*lines, *options]) + "\n")
        self._command = [*under, UWSGI, "--ini", str(self.folder / "vassal.ini")]
        self._environ = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
            "GLIBC_TUNABLES": _TUNABLES if under else "",
            "SITE_DOMAIN": "tenant.example", "SITE_WSGI_FILE": str(app), "SITE_ERROR_LOG": str(self.log),
            "SITE_STATIC": f"/static={self.folder}/static", "SITE_ERROR_PAGE": str(self.folder / "500.html"),
            **(environ or {}),
        }  # fmt: skip

    def __enter__(self) -> Worker:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environ,
                start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.end()
        shutil.rmtree(self.folder)

    def end(self) -> None:
        """End it and all that it started. Not by SIGTERM: the master looks after its workers once a second only."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self, interval: float = 0.01) -> None:
        """Until it listens. Raises SystemExit if it ends instead."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.socket))
                    probe.sendall(request("/"))
                    if probe.recv(1):
                        while probe.recv(1 << 20):
                            pass
                        return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"uWSGI does not serve: {self.output.read_text()}")
            time.sleep(interval)

    def check(self, answer: bytes) -> None:
        """Raises SystemExit if an answer is not a 200, or if the wrapper has recorded something."""
        if b" 200 " not in answer.partition(b"\n")[0] or (self.log.exists() and self.log.stat().st_size):
            raise SystemExit(f"{self._command}: not the answer that is measured: {answer[:200]!r}")

    @property
    def pid(self) -> int:
        """The serving process, not its master."""
        return int(_SPAWNED.findall(self.output.read_text())[-1])

    def ask(self, data: bytes, times: int = 1) -> bytes:
        """The same request, one after the other; the last answer."""
        answer = b""
        for _ in range(times):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(str(self.socket))
                client.sendall(data)
                parts = []
                while part := client.recv(1 << 20):
                    parts.append(part)
                answer = b"".join(parts)
        return answer

    def microseconds(self, data: bytes, times: int) -> float:
        """The mean of so many requests, one after the other, as their client sees them."""
        began = time.perf_counter()
        self.ask(data, times)
        return 1e6 * (time.perf_counter() - began) / times


def request(path: str = "/", **more: str) -> bytes:
    """A browser's GET as nginx hands it on."""
    return packet(path, **{**BROWSER, **more})
