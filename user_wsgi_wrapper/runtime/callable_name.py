"""Advice for a file that defines no `application`: which of its objects looks like the one that is meant."""

from __future__ import annotations

import os
import sys

from user_wsgi_wrapper.runtime.origin import is_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

_FACTORIES = ("create_app", "make_app", "create_application", "make_application", "get_wsgi_application")
_SHOWN = 3
_ASYNC = 0x80 | 0x200
_FUNCTION = type(lambda: None)


def advise(wsgi_file: str) -> str:
    """The line that is missing in the file at `wsgi_file`, which has run to its end and defined no `application`."""
    path = os.path.abspath(wsgi_file)
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None) if isinstance(module, type(sys)) else None
        if names is not None and names.get("__file__") == path:
            return _advise(path, dict(names))
    return ""


def _advise(path: str, names: dict[str, Any]) -> str:
    found = {id(value): name for name, value in names.items() if _is_wsgi(value)}  # one object, two names: one
    meant = ["app"] if _is_wsgi(names.get("app")) else list(found.values())
    if meant:
        if len(meant) > _SHOWN:
            return ""
        said = " or ".join(f"`{name}`" for name in meant)
        first = meant[0] if len(meant) == 1 else "..."
        return f"{said} in {path} can be called as a WSGI application: add the line `application = {first}`"
    for name in _FACTORIES:
        if _needs_nothing(names.get(name)):
            return f"if {name}() of {path} makes the application, add the line `application = {name}()`"
    name = next((name for name in ("app", "api", "server") if _is_asgi(names.get(name))), "")
    if name:
        return (
            f"`{name}` in {path} is an asynchronous (ASGI) application, this server calls WSGI ones: an adapter, "
            f"a2wsgi.ASGIMiddleware({name}) for instance, makes it one"
        )
    return ""


def _called(value: object) -> tuple[CodeType | None, int]:
    """The code that runs when a value is called, and how many arguments come before the caller's."""
    if type(value) is _FUNCTION:
        return value.__code__, 0
    if isinstance(value, type):
        return None, 0
    for kind in type(value).__mro__:  # not by getattr, which may run code of the tenant's
        call = kind.__dict__.get("__call__")
        if call is not None:
            return (call.__code__, 1) if type(call) is _FUNCTION else (None, 0)
    return None, 0


def _is_wsgi(value: object) -> bool:
    code, before = _called(value)
    if code is None or code.co_flags & _ASYNC or code.co_argcount < before + 2:
        return False
    if not before and not is_own(code.co_filename):
        return False  # a library's function, imported for something else
    first, second = code.co_varnames[before : before + 2]
    return first.startswith("env") and second.startswith("start")


def _is_asgi(value: object) -> bool:
    code, before = _called(value)
    if code is None or not code.co_flags & _ASYNC:
        return False
    return code.co_varnames[before : before + 3] == ("scope", "receive", "send")


def _needs_nothing(value: object) -> bool:
    if type(value) is not _FUNCTION or value.__code__.co_flags & _ASYNC:
        return False
    required = value.__code__.co_argcount - len(value.__defaults__ or ())
    return required == 0 and value.__code__.co_kwonlyargcount == len(value.__kwdefaults__ or ())
