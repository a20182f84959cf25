"""The closed world: modules that are first needed while the tenant's code runs, without meeting a module of his.

What only a failure needs, of the standard library or of this package, is loaded with the first one. By then the
tenant's folder is on sys.path, modules of his may have any name in sys.modules, and his import hooks may be at work.
So these modules are found by their paths alone, live in a table of their own and import each other there: sys.path,
sys.meta_path and sys.modules are neither asked nor changed, and a `traceback` of his stays his. The price is a second
copy of what he imports himself. (linecache's cache is another one too: sources that he put into his aren't shown.)

What has to be one in a process isn't copied: modules in C, and those few that every interpreter starts with.
"""

from __future__ import annotations

import builtins
import os
import sys
from _frozen_importlib import BuiltinImporter, module_from_spec
from _frozen_importlib_external import ExtensionFileLoader, FileFinder, SourceFileLoader
from _imp import extension_suffixes
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _frozen_importlib import ModuleSpec
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

_STANDARD = os.path.dirname(os.path.abspath(os.__file__))
_OURS = __name__.partition(".")[0]
_LIBRARY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# The interpreter and a bare worker have them loaded. None of them imports anything later, in what is used of it here:
# such an import would go the tenant's way.
_SHARED = (
    "__future__", "_collections_abc", "_frozen_importlib", "_frozen_importlib_external", "abc", "codecs",
    "collections", "collections.abc", "functools", "io", "keyword", "operator", "os", "os.path", "reprlib", "stat",
    "threading", "types", "warnings", "weakref",
)  # fmt: skip
_LOADERS: tuple[tuple[Any, list[str]], ...] = (
    (ExtensionFileLoader, extension_suffixes()),
    (SourceFileLoader, [".py"]),
)


def load(name: str) -> Any:
    """The module `name`, of the standard library or of this package. Raises what loading it raises.

    That is an ImportError, also where loading has been interrupted by what asks for it; an OSError or a MemoryError,
    where descriptors or memory are used up. The next call tries again.
    """
    module = _loaded.get(name)
    if module is not None:
        return module
    if _loading.by == get_ident():
        raise ImportError(f"{name} is asked for while other modules are loaded", name=name)
    with _loading.lock:
        _loading.by = get_ident()
        try:
            module = _loaded[name] = _module(name)
            _loading.begun.clear()
        finally:
            _loading.abandon()
    return module


class _Loading:
    """The load that is going on: `by` is the ident of its thread, `begun` are the modules that it has made so far."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.by = 0
        self.begun: list[str] = []

    def abandon(self) -> None:
        """What isn't whole by now never was."""
        for name in self.begun:
            _modules.pop(name, None)
        self.begun.clear()
        self.by = 0

    def forget(self) -> None:
        """In a child process, where the thread that was loading isn't."""
        self.lock = allocate_lock()
        self.abandon()


def _module(name: str) -> ModuleType:
    if name in _modules:
        return _modules[name]
    parent, _, tail = name.rpartition(".")
    if parent:
        package = _module(parent)
        if name in _modules:  # the package has made it itself
            return _modules[name]
        folders = getattr(package, "__path__", [])
    else:
        folders = [_LIBRARY] if name == _OURS else [_STANDARD, f"{_STANDARD}/lib-dynload"]
    loaded = sys.modules.get(name)
    module = loaded if loaded is not None and _is_shared(name, loaded) else _make(name, folders)
    _modules[name] = module
    if parent:
        setattr(package, tail, module)
    return module


def _is_shared(name: str, module: ModuleType) -> bool:
    """Whether a module that the whole process has under that name is the one that is meant, and whole."""
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None) or ""
    if getattr(spec, "_initializing", False):
        return False
    if name.partition(".")[0] == _OURS:
        return origin.startswith(f"{_LIBRARY}/{_OURS}/")
    is_standard = origin in ("built-in", "frozen") or os.path.dirname(origin) in _STANDARD_FOLDERS
    in_c = getattr(spec, "loader", None) is BuiltinImporter or origin.endswith(".so")
    return is_standard and (in_c or name in _SHARED)


def _make(name: str, folders: Sequence[str]) -> ModuleType:
    spec = _find(name, folders)
    module = module_from_spec(spec)
    _loading.begun.append(name)
    _modules[name] = module
    if isinstance(spec.loader, SourceFileLoader):
        module.__dict__["__builtins__"] = _builtins
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return _modules[name]


def _find(name: str, folders: Sequence[str]) -> ModuleSpec:
    spec = BuiltinImporter.find_spec(name)
    for folder in folders:
        if spec is None or spec.loader is None:
            if folder not in _finders:
                _finders[folder] = FileFinder(folder, *_LOADERS)
            spec = _finders[folder].find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"the interpreter has no module named {name!r}", name=name)
    return spec


def _import(
    name: str, globals: Any = None, _locals: object = None, fromlist: Sequence[str] | None = (), level: int = 0
) -> ModuleType:
    """The import statement of these modules: builtins.__import__ is its reference."""
    if level:
        package = globals["__package__"].rsplit(".", level - 1)[0]
        name = f"{package}.{name}" if name else package
    elif name == "sys" and globals is not None and globals["__name__"].startswith(f"{_OURS}."):
        return sys
    module = _module(name)
    if not fromlist:
        return module if level else _module(name.partition(".")[0])
    for part in fromlist:
        if part != "*" and hasattr(module, "__path__") and not hasattr(module, part):
            try:
                _module(f"{name}.{part}")
            except ModuleNotFoundError as error:
                if error.name != f"{name}.{part}":
                    raise
    return module


def _own_sys() -> ModuleType:
    """`sys`, but for sys.modules: there `enum` and `dataclasses` look for the module that a class is made in."""
    module = type(sys)("sys")
    module.__dict__["__getattr__"] = lambda name: getattr(sys, name)
    module.__dict__["modules"] = _modules
    return module


_STANDARD_FOLDERS = (_STANDARD, f"{_STANDARD}/lib-dynload", f"{_STANDARD}/collections")
_finders: dict[str, FileFinder] = {}
_loaded: dict[str, ModuleType] = {}
_modules: dict[str, ModuleType] = {}  # all of this world, also those that are being loaded
_modules["sys"] = _own_sys()
_builtins = {**builtins.__dict__, "__import__": _import}
_loading = _Loading()
os.register_at_fork(after_in_child=_loading.forget)
