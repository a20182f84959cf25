"""Exceptions as text: verbatim CPython tracebacks that begin at the tenant's own frames."""

from __future__ import annotations

import os
import sys
import traceback
from _thread import get_ident
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import TracebackType

_STANDARD = os.path.dirname(os.path.abspath(os.__file__))
# What traceback and linecache import only when they come to need it (CPython 3.11 and 3.13).
_NEEDED_LATE = ("ast", "tokenize")
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class ResponseError(ValueError):
    """The application breaks a rule of PEP 3333; str() names what it gave and the rule."""


def describe(error: BaseException) -> str:
    """An exception's type and message on one line; never raises, whatever its __str__ does."""
    try:
        text = str(error)
    except BaseException:
        text = "<exception str() failed>"
    first = text.partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def free_memory(error: BaseException) -> None:
    """Let go of what the failed frames hold, which is what a request that ran out of memory still has."""
    seen: list[BaseException] = []
    related: BaseException | None = error
    while related is not None and not any(related is other for other in seen):
        seen.append(related)
        traceback.clear_frames(related.__traceback__)
        related = related.__cause__ or related.__context__


def format_exception(error: BaseException) -> str:
    """The traceback as CPython prints it, with causes, groups and notes, without this package's own frames.

    Never raises: an exception that can't be formatted is described on one line.
    """
    try:
        _import_late()
        trace = _skip_ours(error.__traceback__)
        if trace is None and isinstance(error, ResponseError):
            return ""  # found in what the application returned: none of its frames is on the stack any more
        formatted = traceback.TracebackException(type(error), error, trace)
        _drop_ours(formatted, 0)
        return "".join(formatted.format()).rstrip("\n")
    except BaseException as failure:
        return f"{_frames(error)}{describe(error)} (no lines of code: {describe(failure)})"


def _frames(error: BaseException) -> str:
    """Where it happened, by what needs no module, no file and hardly any memory."""
    lines: list[str] = []
    try:
        trace = _skip_ours(error.__traceback__)
        while trace is not None and len(lines) < 1000:
            code = trace.tb_frame.f_code
            lines.append(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}\n')
            trace = trace.tb_next
    except BaseException:
        return ""
    return f"Traceback (most recent call last):\n{''.join(lines)}" if lines else ""


class _StandardFinder:
    """Finds the standard library's modules for one thread, whatever the tenant has of that name on his path."""

    def __init__(self) -> None:
        self._thread = get_ident()

    def find_spec(self, name: str, path: object = None, _target: object = None) -> ModuleSpec | None:
        """As importlib.abc.MetaPathFinder's; None leaves it to the next finder."""
        if path is not None or get_ident() != self._thread:
            return None
        return PathFinder.find_spec(name, [_STANDARD, f"{_STANDARD}/lib-dynload"])


def _import_late() -> None:
    missing = [name for name in _NEEDED_LATE if name not in sys.modules]
    if missing:
        finder = _StandardFinder()
        sys.meta_path.insert(0, finder)
        try:
            for name in missing:
                __import__(name)
        finally:
            sys.meta_path.remove(finder)


def _skip_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace


def _drop_ours(formatted: traceback.TracebackException, depth: int) -> None:
    """Take our frames out of every exception of the chain: a check inside start_response is one, for instance."""
    if formatted.stack is not None:
        formatted.stack[:] = [frame for frame in formatted.stack if not frame.filename.startswith(_OURS)]
    if depth < 100:
        related = [formatted.__cause__, formatted.__context__, *(getattr(formatted, "exceptions", None) or ())]
        for other in related:
            if other is not None:
                _drop_ours(other, depth + 1)
