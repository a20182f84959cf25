"""Exceptions as text: verbatim CPython tracebacks that begin at the tenant's own frames."""

from __future__ import annotations

import os

from user_wsgi_wrapper.runtime import standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    import traceback
    from types import TracebackType

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


def format_exception(error: BaseException) -> str:
    """The traceback as CPython prints it, with causes, groups and notes, without this package's own frames.

    Never raises: an exception that can't be formatted is described on one line.
    """
    try:
        trace = _skip_ours(error.__traceback__)
        if trace is None and isinstance(error, ResponseError):
            return ""  # found in what the application returned: none of its frames is on the stack any more
        formatted = standard.load("traceback").TracebackException(type(error), error, trace)
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
