"""Tell tenants in their own server logs which of their limits was reached, and keep their logs to a size.

The kernel counts for each control group what it refused: forks (pids.events), processes ended for want of memory
(memory.events, version 1: memory.oom_control), periods without processor time (cpu.stat).
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import cgroups, server_log, vassal
from user_wsgi_wrapper.layout import Layout

EVERY = 2.0  # seconds between two looks, or a hundred times what a look takes, if that is longer
AGAIN = 60.0  # seconds until a limit that goes on being reached is told of once more
KEPT = 1 << 20  # bytes of a log's end that are left when it has grown too large
_LOGS = ("error", "server")
# controller -> files, the first that is there counts, and the word before the number
_COUNTERS = {
    "pids": (("pids.events",), "max"),
    "memory": (("memory.events", "memory.oom_control"), "oom_kill"),
    "cpu": (("cpu.stat",), "nr_throttled"),
}
_TEXTS = {
    "pids": "processes or threads refused: {0}; the site had all those that it may (tasks-max)",
    "memory": "processes killed: {0}; all together took more memory than they may (memory-max)",
    "cpu": "tenths of a second with processes held back: {0}; they took all processor time they may (cpu-quota)",
}


def count(group: Path, controller: str) -> int:
    """What the kernel has counted of a controller's refusals in a group; 0 if it doesn't say."""
    files, word = _COUNTERS[controller]
    for name in files:
        try:
            text = (group / name).read_text()
        except OSError:
            continue
        return parse_count(text, word)
    return 0


def parse_count(text: str, word: str) -> int:
    """The number behind `word` in lines of `WORD NUMBER`."""
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == word and number.isdigit():
            return int(number)
    return 0


class LimitWatch:
    """What was told so far. `log_size` is in MiB, 0 for no bound."""

    def __init__(self, layout: Layout, log_size: int) -> None:
        self._layout = layout
        self._log_size = log_size << 20
        self._told: dict[tuple[str, str], tuple[int, float]] = {}

    def start(self) -> None:
        """Look from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="limit-watch", daemon=True).start()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            with contextlib.suppress(Exception):  # a site that went, a disk that fails: the next look
                self.look()
            time.sleep(max(EVERY, 100 * (time.monotonic() - began)))

    def look(self) -> None:
        """Look once at each warm site."""
        for domain in vassal.warm_domains(self._layout):
            self._look_at(domain, cgroups.group_of(self._layout, domain))
            for kind in _LOGS if self._log_size else ():
                cut = cut_log(self._layout.log_file(domain, kind), self._log_size)
                if cut:
                    self._say(domain, f"the {kind} log had grown to {cut >> 20} MiB; all but its end was dropped")

    def _look_at(self, domain: str, groups: Mapping[str, Path]) -> None:
        now = time.monotonic()
        for controller, group in groups.items():
            counted = count(group, controller)
            before, last = self._told.get((domain, controller), (0, now - AGAIN))
            if counted < before:
                before = 0  # the group was made anew
            if counted > before and now - last >= AGAIN:
                self._say(domain, _TEXTS[controller].format(counted - before))
                self._told[domain, controller] = counted, now

    def _say(self, domain: str, text: str) -> None:
        server_log.say(self._layout, domain, "limited", text)


def cut_log(path: Path, most: int) -> int:
    """Leave only the end of a log that is larger than `most` bytes; gives its size before, 0 if it is small enough.

    Who appends to it goes on: nothing is renamed. The file is the tenant's, in a folder of root's.
    """
    try:
        descriptor = os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        )
    except OSError:
        return 0
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size <= most:
            return 0
        end = os.pread(descriptor, KEPT, facts.st_size - KEPT)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, end[end.find(b"\n") + 1 :])
        return facts.st_size
    except OSError:
        return 0
    finally:
        os.close(descriptor)
