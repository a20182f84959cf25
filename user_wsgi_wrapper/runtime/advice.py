"""One line that says what to do about an exception, for the mistakes that everybody makes once.

A false hint is worse than none: each rule verifies what it says, in the frames, on the disk or in sys.modules, and is
silent otherwise. No rule imports anything or runs code of the tenant's but an exception's __str__. The rules are
loaded with the first failure: a site that works pays nothing for them.
"""

from __future__ import annotations

from user_wsgi_wrapper.runtime import late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

LIMIT = 1500  # characters


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do about an exception, on one line; empty if nothing certain can be said. Never raises.

    `wsgi_file` is the path of the site's WSGI file. Called when a failure is recorded, while its frames are there.
    """
    try:
        said: str = late.load("user_wsgi_wrapper.runtime.rules").said_of(error, wsgi_file)
        return " ".join(said.split())[:LIMIT]
    except BaseException:
        return ""  # the failure has its record; what is missing is a hint


def advise_running(frame: FrameType, wsgi_file: str) -> str:
    """The same for a load that doesn't come to its end: `frame` is where it stands."""
    try:
        said: str = late.load("user_wsgi_wrapper.runtime.rules").said_of_running(frame, wsgi_file)
        return " ".join(said.split())[:LIMIT]
    except BaseException:
        return ""
