"""Who is logged in. Kept in memory alone: a restart logs everybody out, and nothing on a disk can be stolen."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from user_wsgi_wrapper.web.tokens import Token

LONGEST = 12 * 3600.0  # seconds from the login
IDLE = 2 * 3600.0  # seconds without a request
_OF_A_TOKEN = 20  # at a time; the oldest makes room
_MOST = 2000


@dataclass
class Session:
    """One login. `key` is the cookie's value, `csrf` what its forms carry; times are of the monotonic clock."""

    key: str
    csrf: str
    token_name: str
    token_digest: str
    began: float
    seen: float


class Sessions:
    """Opens, finds and ends logins. Safe with threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def open(self, token: Token) -> Session:
        """A new login. Its key is always a new one: what a visitor brought along means nothing."""
        now = self._clock()
        new = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), token.name, token.digest, now, now)
        with self._lock:
            self._forget_the_old(now)
            same = [one for one in self._open.values() if one.token_digest == token.digest]
            for one in same[: max(len(same) + 1 - _OF_A_TOKEN, 0)]:
                del self._open[one.key]
            while len(self._open) >= _MOST:
                del self._open[next(iter(self._open))]
            self._open[new.key] = new
        return new

    def find(self, key: str | None, *, touch: bool = True) -> Session | None:
        """The login with this key, if it hasn't ended; with `touch` it was used just now."""
        now = self._clock()
        with self._lock:
            found = self._open.get(key or "")
            if found is None:
                return None
            if _is_over(found, now):
                del self._open[found.key]
                return None
            if touch:
                found.seen = now
            return found

    def close(self, key: str) -> None:
        """Log out."""
        with self._lock:
            self._open.pop(key, None)

    def _forget_the_old(self, now: float) -> None:
        for key in [one.key for one in self._open.values() if _is_over(one, now)]:
            del self._open[key]


def _is_over(session: Session, now: float) -> bool:
    return now - session.began > LONGEST or now - session.seen > IDLE
