"""Reloads that pages ask for: each runs beside them as the command does, and its outcome is kept to be looked at.

In a process of its own, because the command changes identities between fork and exec, which threads forbid.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from user_wsgi_wrapper.emperor_hook.deploys import harmless

RUNNING, DONE, REFUSED = "running", "done", "refused"
_AT_ONCE, _OF_A_USER = 8, 2  # a load may take minutes, and nobody's shall keep others from theirs
_LONGEST = 400.0  # seconds; the command itself gives up before
_KEPT = 1000
_SAID = 64 * 1024  # characters


@dataclass(frozen=True)
class Outcome:
    """What became of a site's last reload: `text` is what the command said, `began` seconds since the epoch."""

    state: str
    text: str
    began: float


class Reloads:
    """One reload of a site at a time. `options` are the command's global ones."""

    def __init__(self, options: tuple[str, ...]) -> None:
        # under uWSGI sys.executable is uWSGI
        python = Path(sys.prefix) / "bin/python3"
        self._command = (str(python), "-I", "-m", "user_wsgi_wrapper", *options, "reload")
        self._lock = threading.Lock()
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self._users: dict[str, str] = {}  # by the domain that is being reloaded

    def start(self, domain: str, username: str) -> Outcome:
        """Begin one, unless one is under way or too many are."""
        with self._lock:
            known = self._outcomes.get(domain)
            if known is not None and known.state == RUNNING:
                return known
            if len(self._users) >= _AT_ONCE or list(self._users.values()).count(username) >= _OF_A_USER:
                busy = Outcome(
                    REFUSED, "Too many reloads are under way; nothing was done. Try again soon.", time.time()
                )
                self._outcomes[domain] = busy
                return busy
            outcome = Outcome(RUNNING, "", time.time())
            self._outcomes[domain] = outcome
            self._users[domain] = username
            self._outcomes.move_to_end(domain)
            idle = [key for key, one in self._outcomes.items() if one.state != RUNNING]
            for key in idle[: max(len(self._outcomes) - _KEPT, 0)]:
                del self._outcomes[key]
        threading.Thread(target=self._run, args=(domain, outcome), daemon=True, name="reload").start()
        return outcome

    def last(self, domain: str) -> Outcome | None:
        """The outcome of the last one, if there was any."""
        with self._lock:
            return self._outcomes.get(domain)

    def _run(self, domain: str, outcome: Outcome) -> None:
        end = replace(outcome, state=REFUSED, text="The reload could not be run.")
        try:
            done = subprocess.run(
                (*self._command, domain),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LONGEST,
                cwd="/",
                check=False,
            )
            said = harmless((done.stdout + done.stderr).decode(errors="backslashreplace"))
            text = said.strip().replace("user-wsgi-wrapper: ", "")[:_SAID]
            end = replace(outcome, state=REFUSED if done.returncode else DONE, text=text)
        except subprocess.TimeoutExpired:
            end = replace(outcome, state=REFUSED, text=f"There was no outcome within {_LONGEST:.0f} s.")
        finally:
            with self._lock:
                self._outcomes[domain] = end
                del self._users[domain]
