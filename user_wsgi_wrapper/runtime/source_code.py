"""A source's code, as compile() makes it, without what the first call of compile() costs a process: 0.6 ms, 200 KiB.

That call makes a class for each kind of node that a syntax tree may have; exec() of a text compiles without them. So
the text is given to exec(), and its frame is stopped before the first instruction, its code taken and never run.
Python's cache of byte code is no way to spare it: that compares whole seconds, and misses the second save of one.
"""

# No annotations from the future: exec() hands on what the module that calls it has of the future.

import sys
import warnings
from _imp import _fix_co_filename  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Optional

_NOWHERE = "<string>"  # what exec() takes for the file's name


class _Stop(BaseException):
    """Raised in the frame instead of its first instruction."""


def compiled(source: bytes, path: str) -> "CodeType":
    """The code of the module at `path`. Raises what compile() raises, and warns as it does."""
    code = None
    if sys.getprofile() is None and sys.gettrace() is None:
        code = _take(source)
    if code is None:  # what is wrong with it is to be said with its path: by compile()
        return compile(source, path, "exec", dont_inherit=True)
    _fix_co_filename(code, path)
    return code


def _take(source: bytes) -> "Optional[CodeType]":
    taken = []

    def stop(frame: "FrameType", event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename == _NOWHERE:
            taken.append(frame.f_code)
            raise _Stop

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sys.setprofile(stop)
        try:
            exec(source, {"__builtins__": {}})  # noqa: S102  were it not stopped, it could do nothing
        except BaseException:  # noqa: S110
            pass
        finally:
            sys.setprofile(None)
    return taken[0] if taken else None
