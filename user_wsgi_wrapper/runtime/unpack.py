"""Puts a bundle's modules into sys.modules: what importing them one after the other would, in a third of the time.

A bundle holds the code of all modules that the entry imports, and this function's to unpack them with. Whoever makes
it is on the operator's side; whoever reads it is the entry.
"""

from __future__ import annotations

import gc
import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec, module_from_spec
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader, spec_from_file_location
from _imp import _fix_co_filename  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType

    Part = tuple[str, str, bool, CodeType]


def unpack(folder: str, standard: Iterable[tuple[str, str]], parts: Iterable[Part]) -> None:
    """Run each of `parts` as a module: its name, its file beneath `folder`, whether it is a package, its code.

    A part comes after those that it imports. `standard` are modules in C that they need, each with its file, "" for
    one of the interpreter's own: those are made here because an import asks all finders for them first, and reads
    folders. Raises what a part raises; none is left then.
    """
    made: list[str] = []
    collects = gc.isenabled()
    gc.disable()  # what is made here stays, and looking through it again and again takes half as long as making it
    try:
        for name, file in standard:
            if name not in sys.modules:
                made.append(name)
                _load(name, file)
        for name, file, is_package, code in parts:
            if name not in sys.modules:
                made.append(name)
                _run(name, f"{folder}/{file}", is_package, code)
    except BaseException:
        for name in made:
            sys.modules.pop(name, None)
        raise
    finally:
        if collects:
            gc.enable()


def _load(name: str, file: str) -> None:
    spec = spec_from_file_location(name, file, loader=ExtensionFileLoader(name, file)) if file else None
    module = module_from_spec(spec or BuiltinImporter.find_spec(name))  # type: ignore[arg-type]
    sys.modules[name] = module
    module.__spec__.loader.exec_module(module)  # type: ignore[union-attr]


def _run(name: str, path: str, is_package: bool, code: CodeType) -> None:
    _fix_co_filename(code, path)  # it was compiled where the operator sees it
    loader = SourceFileLoader(name, path)
    spec = ModuleSpec(name, loader, origin=path, is_package=is_package)
    spec.has_location = True
    spec._initializing = False  # type: ignore[attr-defined]  # each import of it asks for that
    module = type(sys)(name)
    parent, _, tail = name.rpartition(".")
    module.__file__ = path
    module.__loader__ = loader
    module.__spec__ = spec
    module.__package__ = parent
    if is_package:
        module.__package__ = name
        module.__path__ = spec.submodule_search_locations = [path.rpartition("/")[0]]
    sys.modules[name] = module
    exec(code, module.__dict__)  # noqa: S102  what an import does
    if parent:
        setattr(sys.modules[parent], tail, module)
