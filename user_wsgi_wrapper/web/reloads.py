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


_Key = tuple[str, str]  # domain and user: what one owner's code said is not for the next


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
        self._outcomes: OrderedDict[_Key, Outcome] = OrderedDict()
        self._running: set[_Key] = set()

    def start(self, domain: str, username: str) -> Outcome:
        """Begin one, unless one is under way or too many are."""
        key = domain, username
        with self._lock:
            known = self._outcomes.get(key)
            if known is not None and known.state == RUNNING:
                return known
            of_the_user = sum(one[1] == username for one in self._running)
            if len(self._running) >= _AT_ONCE or of_the_user >= _OF_A_USER:
                busy = Outcome(
                    REFUSED, "Too many reloads are under way; nothing was done. Try again soon.", time.time()
                )
                self._outcomes[key] = busy
                return busy
            outcome = Outcome(RUNNING, "", time.time())
            self._outcomes[key] = outcome
            self._running.add(key)
            self._outcomes.move_to_end(key)
            idle = [old for old, one in self._outcomes.items() if one.state != RUNNING]
            for old in idle[: max(len(self._outcomes) - _KEPT, 0)]:
                del self._outcomes[old]
        threading.Thread(target=self._run, args=(key, outcome), daemon=True, name="reload").start()
        return outcome

    def last(self, domain: str, username: str) -> Outcome | None:
        """The outcome of the last one while the site was this user's, if there was any."""
        with self._lock:
            return self._outcomes.get((domain, username))

    def _run(self, key: _Key, outcome: Outcome) -> None:
        end = replace(outcome, state=REFUSED, text="The reload could not be run.")
        try:
            done = subprocess.run(
                (*self._command, key[0]),
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
                self._outcomes[key] = end
                self._running.discard(key)
