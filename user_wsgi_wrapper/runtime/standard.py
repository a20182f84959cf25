"""Import a module of the standard library late, and that one, whatever the tenant calls his own modules.

For what only a failure needs: importing it at once would be most of what a worker's start takes, in time and memory.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib_external import PathFinder  # importlib.machinery's own, and there already
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_FOLDER = os.path.dirname(os.path.abspath(os.__file__))
_PATH = [entry for entry in sys.path if entry.startswith(_FOLDER) and "-packages" not in entry]
_loaded: dict[str, ModuleType] = {}


class _Finder:
    """Finds top-level modules in the standard library alone, for the thread that made it."""

    def __init__(self) -> None:
        self._thread = get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        if path is not None or get_ident() != self._thread:
            return None
        return PathFinder.find_spec(name, _PATH)


def load(name: str) -> ModuleType:
    """The module of that name. Raises what an import raises: out of memory, of descriptors."""
    module = _loaded.get(name) or sys.modules.get(name)
    if module is not None and not _is_foreign(name, module):
        return module
    # What he has put in the place of a module that ours may import stands aside meanwhile.
    aside = {other: found for other, found in list(sys.modules.items()) if _is_foreign(other, found)}
    for other in aside:
        del sys.modules[other]
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        module = _loaded[name] = __import__(name)
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(aside)
    return module


def _is_foreign(name: str, module: object) -> bool:
    """Whether a module that isn't the standard library's has the name of one that is."""
    if name not in _NAMES:
        return False
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return origin not in ("built-in", "frozen") and not (
        str(origin).startswith(_FOLDER) and "-packages" not in str(origin)
    )


# What `traceback` imports from CPython 3.9 to 3.14, directly or not, and a tenant might call a module of his own.
_NAMES = frozenset((
    "_colorize", "ast", "annotationlib", "codecs", "codeop", "collections", "contextlib", "copyreg", "dataclasses",
    "dis", "enum", "functools", "heapq", "inspect", "io", "itertools", "keyword", "linecache", "opcode",
    "operator", "re", "reprlib", "sre_compile", "sre_constants", "sre_parse", "string", "textwrap", "token",
    "tokenize", "traceback", "types", "typing", "warnings", "weakref",
))  # fmt: skip
