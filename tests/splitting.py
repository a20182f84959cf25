"""A real log-splitter for tests: started, fed, signalled, its counters read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from log_splitter import line
from tests.live import PATIENCE, wait_for


class Splitting:
    """One log-splitter process, fed through a pipe unless told where to read."""

    def __init__(self, directory: Path, *options: str, folders: str = "make") -> None:
        self.directory = directory
        self.errors = directory.with_name(directory.name + ".errors")
        directory.mkdir(exist_ok=True)
        arguments = ["--directory", str(directory), "--json", "--folders", folders, *options]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "log_splitter", *arguments], stdin=subprocess.PIPE, stderr=errors, cwd="/"
            )
        assert self.process.stdin is not None
        self.pipe = self.process.stdin.fileno()

    def __enter__(self) -> Splitting:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self.process.stdin.closed:
            self.process.stdin.close()

    def write(self, data: bytes) -> None:
        """All of it, to the pipe."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.pipe, view) :]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> dict[str, object]:
        """Close the pipe, wait; the counters."""
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0, self.said()
        return self.counters()

    def terminate(self) -> dict[str, object]:
        """SIGTERM, wait; the counters."""
        wait_for(lambda: catches_term(self.process.pid), "it is ready for signals")
        self.signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.said()
        return self.counters()

    def said(self) -> str:
        return self.errors.read_text()

    def counters(self) -> dict[str, object]:
        """Those reported last."""
        return json.loads([text for text in self.said().splitlines() if text.startswith("{")][-1])

    def report(self) -> dict[str, object]:
        """Those of now."""
        before = self.said().count("{")
        self.signal(signal.SIGUSR1)
        wait_for(lambda: self.said().count("{") > before and self.said().endswith("\n"), "the counters are reported")
        return self.counters()

    def log(self, key: str) -> Path:
        return self.directory / key / f"{key}.access.log"

    @property
    def catch_all(self) -> Path:
        return self.directory / "_unknown.access.log"

    def wait_until_read(self, key: str, text: bytes, patience: float = PATIENCE) -> float:
        """Wait until a log ends with `text`; the seconds that took."""
        began = time.monotonic()
        wait_for(
            lambda: self.log(key).exists() and self.log(key).read_bytes().endswith(text),
            f"{text!r} is written",
            patience,
        )
        return time.monotonic() - began


def catches_term(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM; true also if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return not caught or bool(int(caught[0], 16) >> (signal.SIGTERM - 1) & 1)


def numbers(*paths: Path) -> list[int]:
    """The numbers that lines of the form `n` or `n …` in files begin with."""
    return [int(line.split()[0]) for path in paths if path.exists() for line in path.read_bytes().splitlines()]


def parse_pipe(text: bytes) -> tuple[bytes | None, bytes]:
    """What the format `pipe` is, said for a single line: its key, None for the catch-all, and what is kept of it."""
    return _parse(text, b"|", line.canonical)


def parse_vhost(text: bytes) -> tuple[bytes | None, bytes]:
    """What the format `vhost` is, said for a single line."""
    return _parse(text, b" ", line.canonical_host)


def parse_json(text: bytes, field: str = "host") -> tuple[bytes | None, bytes]:
    """What the format `json` is, said for a single line."""
    return line.canonical(line.json_key(text, field)), text


def _parse(text: bytes, separator: bytes, name: Callable[[bytes], bytes | None]) -> tuple[bytes | None, bytes]:
    first, found, rest = text.partition(separator)
    key = name(first) if found else None
    return (key, rest) if key is not None else (None, text)
