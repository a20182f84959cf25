"""Bundles the modules that the entry imports, so that a worker's start reads one file and looks for none.

    python3 -I bundle.py PACKAGE SEEN_AS

writes PACKAGE/runtime/__pycache__/bundle.<interpreter>.bin, the entry's and every module's source being beneath
PACKAGE, which those who read it see as SEEN_AS. It is run by the interpreter that will read it, hence a program
without any import of this package. What a module says to type checkers and readers alone (annotations, docstrings,
TYPE_CHECKING) is left out, its lines keep their numbers. The bundle is the interpreter's magic number for byte code,
then a code as marshal has it, which is run with `folder` as PACKAGE's path: it is runtime/unpack.py's, and a call of
unpack whose arguments are constants of its own.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import CodeType

ENTRY = "user_wsgi_wrapper.py"
UNPACK = "runtime/unpack.py"
_ARGUMENTS = "arguments"  # in the call that is compiled: these take its place


def main() -> None:
    """Write the bundle of the package in the folder that is given."""
    package = Path(sys.argv[1])
    bundle = package / "runtime" / "__pycache__" / f"bundle.{sys.implementation.cache_tag}.bin"
    bundle.parent.mkdir(exist_ok=True)
    with bundle.open("wb") as file:
        file.write(render(package, Path(sys.argv[2])))
        file.flush()
        os.fsync(file.fileno())  # a machine that loses power must not come back with half of it


def render(package: Path, seen_as: Path) -> bytes:
    """The bundle's content. Raises OSError or SyntaxError if a module can't be read or compiled."""
    modules = order(package)
    needed = {name for path in modules.values() for name in imported(parse(path))}
    parts = []
    for name, path in modules.items():
        file = str(path.relative_to(package))
        parts.append((name, file, path.name == "__init__.py", compiled(path, seen_as / file)))
    code = program(package / UNPACK, seen_as / UNPACK, (tuple(standard(needed)), tuple(parts)))
    return importlib.util.MAGIC_NUMBER + marshal.dumps(code)


def standard(needed: set[str]) -> Iterator[tuple[str, str]]:
    """Which of these modules the interpreter has in C, and the file of each, "" for those of its own."""
    for name in sorted(needed):
        if name in sys.builtin_module_names:
            yield name, ""
        elif name in sys.stdlib_module_names:
            spec = importlib.util.find_spec(name)
            if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
                yield name, str(spec.origin)


def program(unpack: Path, seen_as: Path, arguments: tuple[object, ...]) -> CodeType:
    """The code that calls unpack."""
    tree = parse(unpack)
    tree.body += ast.parse(f"unpack(folder, *{_ARGUMENTS!r})").body
    code = compile(tree, str(seen_as), "exec", dont_inherit=True, optimize=2)
    return code.replace(co_consts=tuple(arguments if one == _ARGUMENTS else one for one in code.co_consts))


def order(package: Path) -> dict[str, Path]:
    """The modules of the package that the entry comes to import, each after those that it imports itself."""
    found: dict[str, Path] = {}

    def visit(name: str) -> None:
        parts = name.split(".")[1:]
        for path in (package.joinpath(*parts, "__init__.py"), package.joinpath(*parts).with_suffix(".py")):
            if name not in found and path.is_file():
                parent = name.rpartition(".")[0]
                if parent:
                    visit(parent)
                for other in imported(parse(path)):
                    if other.startswith(f"{package.name}."):
                        visit(other)
                found[name] = path

    for name in imported(parse(package / ENTRY)):
        if name.startswith(f"{package.name}."):
            visit(name)
    return found


def parse(path: Path) -> ast.Module:
    """A module's syntax tree, without what no interpreter needs."""
    tree = _Strip().visit(ast.parse(path.read_bytes(), str(path)))
    return ast.fix_missing_locations(tree)  # type: ignore[no-any-return]


def compiled(path: Path, seen_as: Path) -> CodeType:
    """A module's code, without docstrings and assertions."""
    return compile(parse(path), str(seen_as), "exec", dont_inherit=True, optimize=2)


def imported(tree: ast.Module) -> Iterator[str]:
    """What a module's import statements may name, in their order: of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Strip(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


if __name__ == "__main__":
    main()
