"""From exec to the first 200, and what an idle worker has for itself."""

from __future__ import annotations

import re
import time
from pathlib import Path

from bench.worker import ENTRY, Worker
from user_wsgi_wrapper.emperor_hook import shared_files
from user_wsgi_wrapper.layout import Layout

APP = Path(__file__).resolve().with_name("apps") / "empty.py"
_FIELD = re.compile(r"^(\w+): +(\d+) kB", re.MULTILINE)


def installed(root: Path) -> Path:
    """The entry of the runtime as chroots have it, made beneath a folder."""
    layout = Layout(root)
    shared_files.refresh(layout)
    return (layout.shared_library / "user_wsgi_wrapper").resolve() / ENTRY.name


def start(entry: Path | None) -> tuple[float, float, float]:
    """Milliseconds to the first 200; KiB of private memory; KiB of the proportional set. No `entry`: bare."""
    environ = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONHASHSEED": "random"}
    began = time.perf_counter()
    with Worker(APP, entry is not None, environ=environ, entry=entry or ENTRY) as worker:
        worker.wait(interval=0.0002)
        took = time.perf_counter() - began
        fields = dict(_FIELD.findall(Path(f"/proc/{worker.pid}/smaps_rollup").read_text()))
    private = sum(int(fields[name]) for name in ("Private_Clean", "Private_Dirty"))
    return 1000 * took, float(private), float(fields["Pss"])


class Starts:
    """Starts, to be measured in turns by `milliseconds`; the memory of the same starts is kept in two lists."""

    def __init__(self, entry: Path | None) -> None:
        self._entry = entry
        self.private: list[float] = []
        self.proportional: list[float] = []

    def milliseconds(self) -> float:
        took, private, proportional = start(self._entry)
        self.private.append(private)
        self.proportional.append(proportional)
        return took
