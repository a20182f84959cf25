"""Where in the tenant's own code an exception came from, and what stands there. Reads tracebacks, runs nothing."""

from __future__ import annotations

import linecache
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    Place = tuple[FrameType, int]  # a frame and the line that it stands at

DEPTH = 1000  # frames
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_PACKAGES = ("/site-packages/", "/dist-packages/")


def places(error: BaseException) -> list[Place]:
    """The frames of an exception's traceback, outermost first, this package's own left out."""
    found: list[Place] = []
    trace = error.__traceback__
    while trace is not None and len(found) < DEPTH:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def is_own(path: str) -> bool:
    """Whether a source file is the tenant's, neither the standard library's nor an installed package's."""
    return not path.startswith(("<", _OURS, _STANDARD)) and not any(part in path for part in _PACKAGES)


def is_standard(path: str) -> bool:
    """Whether a source file is the standard library's."""
    return path.startswith(_STANDARD) and not any(part in path for part in _PACKAGES)


def own_places(error: BaseException) -> list[Place]:
    """Those of an exception's frames that are the tenant's, innermost first."""
    return [place for place in reversed(places(error)) if is_own(file_of(place))]


def file_of(place: Place) -> str:
    """The path of the source file, as the interpreter has it."""
    return place[0].f_code.co_filename


def line_of(place: Place) -> str:
    """The source line, stripped; empty if the source isn't there."""
    return linecache.getline(file_of(place), place[1]).strip()


def name_of(place: Place) -> str:
    """What the advice calls the place: `/var/www/wsgi.py line 9`."""
    return f"{os.path.abspath(file_of(place))} line {place[1]}"


def module_of(place: Place) -> object:
    """The name of the module whose code it is."""
    return place[0].f_globals.get("__name__")


def loading(found: list[Place], wsgi_file: str) -> dict[str, Any] | None:
    """The globals of the WSGI file as far as it has run; None unless it was being loaded."""
    path = os.path.abspath(wsgi_file)
    for place in found:
        if place[0].f_code.co_name == "<module>" and file_of(place) == path:
            return place[0].f_globals
    return None


def kinds(error: BaseException) -> list[str]:
    """The qualified names of an exception's class and of those above it; known by them, nothing is imported."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]


def text_of(error: BaseException) -> str:
    """An exception's message; empty if its __str__ fails."""
    try:
        return str(error)
    except BaseException:
        return ""
