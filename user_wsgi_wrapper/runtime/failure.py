"""Exceptions as text: verbatim CPython tracebacks that begin at the tenant's own frames."""

from __future__ import annotations

import os

from user_wsgi_wrapper.runtime import late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

    Place = tuple[FrameType, int]  # a frame and the line that it stands at

_FRAMES = 100  # that are named where the traceback can't be formatted
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
        trace = related.__traceback__
        while trace is not None:
            try:
                trace.tb_frame.clear()
            except RuntimeError:
                pass  # it is running
            trace = trace.tb_next
        related = related.__cause__ or related.__context__


def format_exception(error: BaseException) -> str:
    """The traceback as CPython prints it, with causes, groups and notes, without this package's own frames.

    Never raises: of an exception that can't be formatted so the frames are named without their source, also when
    descriptors or memory are used up before the first failure has loaded what formats.
    """
    trace = _skip_ours(error.__traceback__)
    if trace is None and isinstance(error, ResponseError):
        return ""  # found in what the application returned: none of its frames is on the stack any more
    try:
        traceback = late.load("traceback")
        formatted = traceback.TracebackException(type(error), error, trace)
        _drop_ours(formatted, 0)
        return "".join(formatted.format()).rstrip("\n")
    except BaseException as failure:
        return _format_plainly(error, trace, failure)


def _format_plainly(error: BaseException, trace: TracebackType | None, failure: BaseException) -> str:
    places: list[Place] = []
    while trace is not None and len(places) < _FRAMES:
        places.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    named = f"Traceback (most recent call last):\n{name_frames(places)}\n" if places else ""
    return f"{named}{describe(error)} (no more of the traceback: {describe(failure)})"


def format_stack(frame: FrameType | None) -> str:
    """The stack of a frame as CPython prints one, without the frames of this package and of the import system."""
    places: list[Place] = []
    while frame is not None:
        if not frame.f_code.co_filename.startswith((_OURS, "<frozen importlib")):
            places.append((frame, frame.f_lineno))
        frame = frame.f_back
    places.reverse()
    try:
        traceback = late.load("traceback")
        return "".join(traceback.StackSummary.extract(places).format()).rstrip("\n")
    except Exception:
        return name_frames(places[-_FRAMES:])


def name_frames(places: list[Place]) -> str:
    """Frames and lines as CPython names them, without their source: nothing is read or loaded for it."""
    named = [(frame.f_code, line) for frame, line in places if not frame.f_code.co_filename.startswith(_OURS)]
    return "\n".join(f'  File "{code.co_filename}", line {line}, in {code.co_name}' for code, line in named)


def _skip_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace


def _drop_ours(formatted: Any, depth: int) -> None:
    """Take our frames out of every exception of the chain: a check inside start_response is one, for instance."""
    if formatted.stack is not None:
        formatted.stack[:] = [frame for frame in formatted.stack if not frame.filename.startswith(_OURS)]
    if depth < 100:
        related = [formatted.__cause__, formatted.__context__, *(getattr(formatted, "exceptions", None) or ())]
        for other in related:
            if other is not None:
                _drop_ours(other, depth + 1)
