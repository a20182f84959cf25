"""The requests that the server is about to kill: their stacks are kept in time, for the next worker to tell of."""

from __future__ import annotations

import faulthandler
import sys

from user_wsgi_wrapper.runtime.failure import format_stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from user_wsgi_wrapper.runtime.black_box import BlackBox

_LOOK_EVERY = 10.0  # seconds, or a tenth of harakiri


class RequestWatch:
    """Looks at the threads' frames now and then, so that a request pays nothing for being watched.

    `harakiri` is the server's option, in seconds; `find_request(frame)` gives the environ of the request that a frame
    serves. Should something hold the interpreter's lock, faulthandler's own thread writes the stacks. `last_call` is
    the second of a request by which they must be written.
    """

    def __init__(
        self,
        box: BlackBox,
        harakiri: int,
        find_request: Callable[[FrameType | None], dict[str, Any] | None],
        now: float,
    ) -> None:
        self._box = box
        self._harakiri = harakiri
        self._find_request = find_request
        self._margin = min(1.0, harakiri / 4)
        self.last_call = harakiri - self._margin / 2
        self._looked = now
        self._seen: dict[int, tuple[int, float]] = {}

    def look(self, now: float) -> float:
        """Keep the stacks of those that will be killed before the next look; the seconds until that is due."""
        frames = sys._current_frames()
        ends = self._note(frames, now)
        late = {ident: frames[ident] for ident, end in ends.items() if end - self._margin <= now}
        ahead = [end - self._margin - now for ident, end in ends.items() if ident not in late]
        pause = min([_LOOK_EVERY, self._harakiri / 10, *ahead])
        if late:
            faulthandler.cancel_dump_traceback_later()  # it would write over this
            self._box.write_dump(dump_of(late))
        else:
            self._box.clear_dump()
            self.arm(pause)
        self._looked = now
        return pause

    def arm(self, pause: float) -> None:
        """Have the stacks written if no look comes within `pause` seconds."""
        if self._box.is_ours():
            # again and again: on a machine that is busy it may come once before the look does
            try:
                faulthandler.dump_traceback_later(pause + self._margin / 2, repeat=True, file=self._box.fd)
            except RuntimeError:
                pass  # the site has all the threads that it may: the next look tries again

    def _note(self, frames: dict[int, FrameType], now: float) -> dict[int, float]:
        """When each thread's request will be killed at the earliest: one that is new began after the last look."""
        seen = {}
        for ident, frame in frames.items():
            environ = self._find_request(frame)
            if environ is not None:
                before = self._seen.get(ident)
                is_same = before is not None and before[0] == id(environ)
                seen[ident] = before if before is not None and is_same else (id(environ), self._looked)
        self._seen = seen
        return {ident: began + self._harakiri for ident, (_, began) in seen.items()}


def dump_of(frames: dict[int, FrameType]) -> str:
    """Stacks in the form of faulthandler's dump, but with their source lines and the most recent call last."""
    return "\n\n".join(
        f"Thread 0x{ident:016x} (most recent call last):\n{format_stack(frame)}" for ident, frame in frames.items()
    )
