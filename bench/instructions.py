"""User instructions a request, counted by valgrind in the serving process after it has warmed up.

A count is the same on any machine with the same binaries. Two things move it by some hundred instructions, so it is
the mean of thousands of requests, taken in several processes that hold more and more objects of all sizes:
- uWSGI interns the names of its own variables anew for each request, and every few hundred requests CPython's table
  of interned strings, whose size depends on all that was ever imported, is built anew for that;
- the memory allocator's pools are filled differently.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.worker import PATIENCE, Worker, request

REQUESTS = 3000
WARM_UP = 100
HEAPS = (0, 9, 20)  # see apps/heap.py
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def a_request(
    app: Path,
    wrapped: bool,
    data: bytes | None = None,
    requests: int = REQUESTS,
    keep: Path | None = None,
    **more: Any,
) -> float:
    """Instructions of one request, the mean of so many. `keep` takes valgrind's own file. Raises SystemExit."""
    data = request() if data is None else data
    with tempfile.TemporaryDirectory(prefix="uww-bench-") as folder:
        command = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={folder}/%p"]
        with Worker(app, wrapped, under=command, **more) as worker:
            worker.wait()
            answer = worker.ask(data, WARM_UP)
            worker.check(answer)
            _dump(worker.pid, Path(folder), 1)
            worker.ask(data, requests)
            text = _dump(worker.pid, Path(folder), 2)
    if keep is not None:
        keep.write_text(text)
    return int(_TOTAL.findall(text)[0]) / requests


def spread(app: Path, wrapped: bool, environ: dict[str, str] | None = None, **more: Any) -> list[float]:
    """The same count in several processes, one for each number of HEAPS."""
    return [a_request(app, wrapped, environ={**(environ or {}), "HEAP": str(heap)}, **more) for heap in HEAPS]


def _dump(pid: int, folder: Path, number: int) -> str:
    """What was counted since the dump before, as callgrind writes it."""
    subprocess.run(["callgrind_control", "--dump=bench", str(pid)], check=True, capture_output=True)
    path = folder / f"{pid}.{number}"
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and _TOTAL.search(path.read_text())):
        if time.monotonic() > deadline:
            raise SystemExit(f"valgrind counted nothing in process {pid}")
        time.sleep(0.02)
    return path.read_text()
