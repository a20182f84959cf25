"""From exec to the first 200, and what an idle worker has for itself."""

from __future__ import annotations

import re
import time
from pathlib import Path

from bench.worker import Worker

APP = Path(__file__).resolve().with_name("apps") / "empty.py"
_FIELD = re.compile(r"^(\w+): +(\d+) kB", re.MULTILINE)


def start(wrapped: bool) -> tuple[float, float, float]:
    """Milliseconds to the first 200; KiB of private memory; KiB of the proportional set."""
    began = time.perf_counter()
    with Worker(APP, wrapped, environ={"PYTHONDONTWRITEBYTECODE": "", "PYTHONHASHSEED": "random"}) as worker:
        worker.wait(interval=0.0002)
        took = time.perf_counter() - began
        fields = dict(_FIELD.findall(Path(f"/proc/{worker.pid}/smaps_rollup").read_text()))
    private = sum(int(fields[name]) for name in ("Private_Clean", "Private_Dirty"))
    return 1000 * took, float(private), float(fields["Pss"])


class Starts:
    """Starts, to be measured in turns by `milliseconds`; the memory of the same starts is kept in two lists."""

    def __init__(self, wrapped: bool) -> None:
        self._wrapped = wrapped
        self.private: list[float] = []
        self.proportional: list[float] = []

    def milliseconds(self) -> float:
        took, private, proportional = start(self._wrapped)
        self.private.append(private)
        self.proportional.append(proportional)
        return took
