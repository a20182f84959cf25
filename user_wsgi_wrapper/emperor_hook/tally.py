"""What the stack's programs count together, in one small file that the machine's restart begins anew.

Each is a name and a number. To count never fails or holds up what is counted: a number that can't be written is lost.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping

from user_wsgi_wrapper.emperor_hook.atomic import write_if_changed
from user_wsgi_wrapper.emperor_hook.locks import LockedError, locked
from user_wsgi_wrapper.layout import Layout

# Seconds. A cold start takes some tenths, most of it the application's imports.
BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
STARTS, FAILED_STARTS, SECONDS = "cold_starts", "cold_starts_failed", "cold_start_seconds"
REAPED = "reaped_orphans"
_PATIENCE = 0.5  # seconds for others who count; one that was stopped while it did may hold the lock for ever
_LOOK_AGAIN = 0.002


def add(layout: Layout, numbers: Mapping[str, float]) -> None:
    """Add each number to what was counted under its name."""
    give_up_at = time.monotonic() + _PATIENCE
    with contextlib.suppress(OSError):
        while True:
            try:
                with locked(layout, "tally", "all", wait=False):
                    _add(layout, numbers)
                    return
            except LockedError:
                if time.monotonic() > give_up_at:
                    return
                time.sleep(_LOOK_AGAIN)


def _add(layout: Layout, numbers: Mapping[str, float]) -> None:
    sums = read(layout)
    for name, number in numbers.items():
        sums[name] = round(sums.get(name, 0) + number, 6)
    write_if_changed(layout.tally, json.dumps(sums), mode=0o600)


def add_cold_start(layout: Layout, seconds: float, *, failed: bool = False) -> None:
    """Count one warm-up of a cold site: into the first bound that isn't below its time, bounds aren't cumulated."""
    if failed:
        add(layout, {FAILED_STARTS: 1})
        return
    bound = next((one for one in BOUNDS if seconds <= one), "more")
    add(layout, {STARTS: 1, SECONDS: seconds, f"{SECONDS}_{bound}": 1})


def read(layout: Layout) -> dict[str, float]:
    """All that was counted; nothing, if there is no such file or it can't be understood."""
    try:
        sums = json.loads(layout.tally.read_bytes())
        return {str(name): float(number) for name, number in sums.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
