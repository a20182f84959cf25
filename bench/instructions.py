"""User instructions a request, counted by valgrind in the serving process after it has warmed up.

A count is the same on any machine with the same binaries, and two counts in one process differ by less than 0.01 %.
Between processes the heap lies differently (an environment variable more is enough), which moves the memory
allocator's part by up to 2 %: so every count is taken in several processes whose environments differ in size.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.worker import PATIENCE, Worker, request

REQUESTS = 300
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def a_request(
    app: Path, wrapped: bool, data: bytes | None = None, requests: int = REQUESTS, keep: Path | None = None, **more: Any
) -> float:
    """Instructions of one request, the mean of so many. `keep` takes valgrind's own file. Raises SystemExit."""
    data = request() if data is None else data
    with tempfile.TemporaryDirectory(prefix="uww-bench-") as folder:
        command = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={folder}/%p"]
        with Worker(app, wrapped, under=command, **more) as worker:
            worker.wait()
            answer = worker.ask(data, requests)
            worker.check(answer)
            _dump(worker.pid, Path(folder), 1)
            worker.ask(data, requests)
            text = _dump(worker.pid, Path(folder), 2)
    if keep is not None:
        keep.write_text(text)
    return int(_TOTAL.findall(text)[0]) / requests


def spread(app: Path, wrapped: bool, processes: int = 5, environ: dict[str, str] | None = None, **more: Any) -> list[float]:
    """The same count in several processes, each with a larger environment than the one before."""
    return [
        a_request(app, wrapped, environ={**(environ or {}), "PADDING": "x" * (1 + 24 * number)}, **more)
        for number in range(processes)
    ]


def _dump(pid: int, folder: Path, number: int) -> str:
    """What was counted since the dump before, as callgrind writes it."""
    subprocess.run(["callgrind_control", "--dump=bench", str(pid)], check=True, stdout=subprocess.DEVNULL)
    path = folder / f"{pid}.{number}"
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and _TOTAL.search(path.read_text())):
        if time.monotonic() > deadline:
            raise SystemExit(f"valgrind counted nothing in process {pid}")
        time.sleep(0.02)
    return path.read_text()
