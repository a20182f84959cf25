"""The kept version: a copy of wsgi.py and of the modules of the tenant's own that it imported, as they last worked.

A site whose file on disk can't be loaded goes on with it when no process is left that has the good version. Copied is
what lies in the tenant's own folders and no package installer has put there; data files, templates and what is first
imported by a request are not.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader

from user_wsgi_wrapper.runtime import late
from user_wsgi_wrapper.runtime.black_box import file_state
from user_wsgi_wrapper.runtime.deploy_file import replace
from user_wsgi_wrapper.runtime.source_code import compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, ModuleType

    File = tuple[int, int, int]

MANIFEST = "kept"
MOST_FILES = 5000
MOST_BYTES = 50_000_000
_INSTALLED = ("/site-packages/", "/dist-packages/")
_MAIN = "-"  # the name of wsgi.py's module in the manifest: what it is called is the loader's to say


class Entry:
    """One file of the copy: its module's name, its path, its state when it was copied, whether it is a package."""

    __slots__ = ("file", "is_package", "name", "path")

    def __init__(self, name: str, path: str, file: File, is_package: bool) -> None:
        self.name = name
        self.path = path
        self.file = file
        self.is_package = is_package

    @property
    def copy(self) -> str:
        """The name of the copied file: another state has another."""
        return "{:x}-{:x}-{:x}.py".format(*self.file)


def save(folder: str, wsgi_file: str, file: File, roots: Iterable[str], began: float) -> bool:
    """Copy the version that this process has loaded, of which wsgi.py had the state `file`; False if that can't be.

    Nothing is copied where a file changed since `began` (seconds since the epoch), when the load began: it may not
    be what was loaded. The last copy is left as it is then. Raises OSError.
    """
    entries = [Entry(_MAIN, wsgi_file, file, False), *_modules(tuple(roots), wsgi_file)]
    if any(entry.file[2] >= began * 1e9 for entry in entries[1:]) or file_state(wsgi_file) != file:
        return False
    if len(entries) > MOST_FILES or sum(entry.file[1] for entry in entries) > MOST_BYTES:
        return False
    text = _render(entries)
    manifest = f"{folder}/{MANIFEST}"
    if _content(manifest) == text:
        return True
    os.makedirs(f"{folder}/files", 0o700, exist_ok=True)
    for entry in entries:
        path = f"{folder}/files/{entry.copy}"
        if not os.path.exists(path):
            with open(entry.path, "rb") as source:
                content = source.read(MOST_BYTES)
            if file_state(entry.path) != entry.file:
                return False
            replace(path, content)
    replace(manifest, text)
    _drop_others(f"{folder}/files", {entry.copy for entry in entries})
    return True


def version(folder: str) -> File | None:
    """The state of the wsgi.py that is kept; None if none is."""
    entries = _read(folder)
    return entries[0].file if entries else None


def restore(folder: str) -> bytes:
    """The kept wsgi.py's source; from now on its modules are imported as they are kept. Raises OSError."""
    main, *modules = _read(folder)
    source = _copied(folder, main)
    _show_in_tracebacks(main.path, source)
    sys.meta_path.insert(0, _KeptFinder(folder, modules))
    return source


class _KeptFinder:
    """Finds the modules that are kept (importlib.abc.MetaPathFinder)."""

    def __init__(self, folder: str, entries: list[Entry]) -> None:
        self._folder = folder
        self._entries = {entry.name: entry for entry in entries}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        loader = _KeptLoader(name, entry.path, self._folder, entry)
        spec = ModuleSpec(name, loader, origin=entry.path, is_package=entry.is_package)
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(entry.path))
        return spec


class _KeptLoader(SourceFileLoader):
    """Loads a module from its copy, under its own path. No bytecode is cached: it would be taken for the disk's."""

    def __init__(self, name: str, path: str, folder: str, entry: Entry) -> None:
        super().__init__(name, path)
        self._folder = folder
        self._entry = entry

    def get_code(self, fullname: str) -> CodeType:
        source = _copied(self._folder, self._entry)
        _show_in_tracebacks(self.path, source)
        return compiled(source, self.path)

    def get_source(self, fullname: str) -> str:
        return _copied(self._folder, self._entry).decode("utf-8", "replace")


def _show_in_tracebacks(path: str, source: bytes) -> None:
    """The lines of a traceback are the kept ones: the file on disk is another version."""
    lines = source.decode("utf-8", "replace").splitlines(True)
    cache = late.load("linecache").cache  # 0.8 MiB, which a worker that only keeps its version is spared
    cache[path] = (len(source), None, lines, path)  # None: linecache.checkcache leaves it alone


def _modules(roots: tuple[str, ...], wsgi_file: str) -> list[Entry]:
    found = []
    for name, module in sorted(sys.modules.items()):
        path = _source_of(module)
        if path is None or path == wsgi_file or not path.startswith(roots) or not _is_his_own(path):
            continue
        file = file_state(path)
        if file[2]:
            found.append(Entry(name, path, file, hasattr(module, "__path__")))
    return found


def _source_of(module: ModuleType) -> str | None:
    spec = getattr(module, "__spec__", None)
    path = getattr(spec, "origin", None)
    if type(getattr(spec, "loader", None)) in (SourceFileLoader, _KeptLoader) and isinstance(path, str):
        return None if "\n" in path or "\t" in path else path
    return None


def _is_his_own(path: str) -> bool:
    is_in_venv = sys.prefix != sys.base_prefix and path.startswith(f"{sys.prefix}/")
    return not is_in_venv and not any(part in path for part in _INSTALLED)


def _render(entries: list[Entry]) -> bytes:
    return "".join(
        "{}\t{}\t{}\t{}\t{}\t{}\n".format(entry.name, entry.path, *entry.file, int(entry.is_package))
        for entry in entries
    ).encode("utf-8", "surrogateescape")


def _read(folder: str) -> list[Entry]:
    entries = []
    for line in _content(f"{folder}/{MANIFEST}").decode("utf-8", "surrogateescape").splitlines():
        try:
            name, path, inode, size, mtime, is_package = line.split("\t")
            entries.append(Entry(name, path, (int(inode), int(size), int(mtime)), is_package == "1"))
        except ValueError:
            return []
    return entries


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _copied(folder: str, entry: Entry) -> bytes:
    with open(f"{folder}/files/{entry.copy}", "rb") as file:
        return file.read()


def _drop_others(folder: str, wanted: set[str]) -> None:
    for name in os.listdir(folder):
        if name not in wanted:
            os.unlink(f"{folder}/{name}")
