"""Advice for a file of the tenant's that stands in the way of a library's module of the same name."""

from __future__ import annotations

import os
import re
import sys

from user_wsgi_wrapper.runtime.module_search import module_in, search_path
from user_wsgi_wrapper.runtime.origin import is_own, text_of

_READ = 1 << 20  # bytes of a source file
_MODULE = type(sys)
_NO_ATTRIBUTE = r"(?:partially initialized )?module '([A-Za-z_]\w*)' has no attribute '(\w+)'"
_NO_NAME = r"cannot import name '(\w+)' from (?:partially initialized module )?'([A-Za-z_]\w*)'"
_NO_PACKAGE = r"No module named '([A-Za-z_]\w*)\.(\w+)[\w.]*'; '\1' is not a package"


def advise(error: BaseException) -> str:
    """What to rename, if the module that lacks a name is the tenant's and a library's of that name has it."""
    module, wanted, file = _lacking(error)
    if not file or not is_own(file) or module in sys.builtin_module_names:
        return ""
    library = _library(module)
    if not library or not _has(library, wanted) or _defines(file, wanted):
        return ""
    return (
        f"{os.path.abspath(file)} stands in the way of the library's module {module!r} ({library}), which has "
        f"{wanted!r}: give your file another name"
    )


def _lacking(error: BaseException) -> tuple[str, str, str]:
    """The module, the name that it lacks and its file; empty where the exception says nothing of the kind."""
    text = text_of(error) if isinstance(error, (ImportError, AttributeError)) else ""
    if isinstance(error, AttributeError):
        match = re.match(_NO_ATTRIBUTE, text)
        if match:
            return match[1], match[2], _file(getattr(error, "obj", None)) or _file(sys.modules.get(match[1]))
    elif isinstance(error, ModuleNotFoundError):
        match = re.match(_NO_PACKAGE, text)
        if match:
            return match[1], match[2], _file(sys.modules.get(match[1]))
    elif text:
        match = re.match(_NO_NAME, text)
        if match:
            # The module itself may be gone from sys.modules again.
            path = error.path if isinstance(error, ImportError) else None
            return match[2], match[1], path if type(path) is str else _file(sys.modules.get(match[2]))
    return "", "", ""


def _file(module: object) -> str:
    path = module.__dict__.get("__file__") if isinstance(module, _MODULE) else None  # runs no __getattr__ of its
    return path if type(path) is str else ""


def _library(module: str) -> str:
    """The file of the module in the standard library or among the installed packages; empty if there is none."""
    for folder in search_path():
        if not is_own(folder + os.sep):
            path = module_in(folder, module)
            if path:
                return path
    return ""


def _has(library: str, wanted: str) -> bool:
    folder, file = os.path.split(library)
    if file.startswith("__init__.") and module_in(folder, wanted):
        return True
    name = wanted.encode()
    if not file.endswith(".py"):
        return b"\0%s\0" % name in _read(library)
    made = rb"(?m)^(?:(?:async )?def|class) %s\b|^%s *[=:]|^ *from .* import .*\b%s\b|^    %s(?: as \w+)?,?$"
    listed = rb"(?m)^__all__[^\])]*[\"']%s[\"']"
    source = _read(library)
    return bool(re.search(made % (name, name, name, name), source) or re.search(listed % name, source))


def _defines(file: str, name: str) -> bool:
    """Whether the tenant's own file makes the name: then it is his, and merely not there yet."""
    pattern = rb"(?m)^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+%s\b|^%s[ \t]*[=:]" % (name.encode(), name.encode())
    return bool(re.search(pattern, _read(file)))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_READ)
    except OSError:
        return b""
