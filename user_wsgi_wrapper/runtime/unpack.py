"""Puts a bundle's modules into sys.modules: what importing them one after the other would, in a third of the time.

A bundle holds the code of all modules that the entry imports, and this function's to unpack them with. Whoever makes
it is on the operator's side; whoever reads it is the entry.
"""

from __future__ import annotations

import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec, module_from_spec
from _frozen_importlib_external import SourceFileLoader
from _imp import _fix_co_filename  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType

    Part = tuple[str, str, bool, CodeType]


def unpack(folder: str, builtin: Iterable[str], parts: Iterable[Part]) -> None:
    """Run each of `parts` as a module: its name, its file beneath `folder`, whether it is a package, its code.

    A part comes after those that it imports. `builtin` are modules of the interpreter's own that they need: those
    are made here because an import asks every finder for them first. Raises what a part raises; none is left then.
    """
    made = []
    try:
        for name in builtin:
            if name not in sys.modules:
                spec = BuiltinImporter.find_spec(name)
                made.append(name)
                sys.modules[name] = module_from_spec(spec)  # type: ignore[arg-type]
                spec.loader.exec_module(sys.modules[name])  # type: ignore[union-attr]
        for name, file, is_package, code in parts:
            if name not in sys.modules:
                made.append(name)
                _run(name, f"{folder}/{file}", is_package, code)
    except BaseException:
        for name in made:
            sys.modules.pop(name, None)
        raise


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
