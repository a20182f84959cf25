"""The site's life in its server log, a line an event, each with a code that programs may look for:

`2012-08-24 10:11:12,345 [-] site reloaded: worker 2 (pid 17) serves /var/www/wsgi.py of 2012-08-24 10:11:10,120`
"""

from __future__ import annotations

import os
import time

CODES = ("started", "reloaded", "refused", "kept", "broken", "unkept", "killed", "idle", "stopped")
_IDLE = "workers have been inactive for more than"  # what uWSGI writes before it ends an idle vassal
_STOP = ("graceful shutdown triggered", "SIGINT/SIGTERM received", "SIGINT/SIGQUIT received", "killing workers")


class SiteLog:
    """Writes the lines to the descriptor `fd`, which is the server log's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def say(self, code: str, text: str) -> None:
        """One event; `code` is one of CODES. Never raises: a full disk costs the line."""
        line = f"{moment(time.time_ns())} [-] site {code}: {' '.join(text.split())}\n"
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass


def moment(ns: int) -> str:
    """A time in nanoseconds since the epoch as the logs have it: local, with milliseconds."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(ns // 10**9))},{ns // 10**6 % 1000:03d}"


def how_it_ends(log: str) -> str:
    """Which of CODES describes the end that uWSGI has begun, by the end of its log; "" if it hasn't."""
    begun = max(log.rfind(f" [-] site {code}: ") for code in ("started", "kept", "broken"))
    life = log[max(begun, 0) :]
    if _IDLE in life:
        return "idle"
    return "stopped" if any(stop in life for stop in _STOP) else ""
