"""Looks for a module where the interpreter didn't: with other letters, in other environments, beside the code.

Bounded: a few folders are listed, and of each at most LISTED names are looked at.
"""

from __future__ import annotations

import os
import sys
from _imp import extension_suffixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRIES = 30  # of sys.path
LISTED = 3000
SUBFOLDERS = 60
_SYSTEM = ("/usr/lib/python3", "/usr/local/lib")


def module_in(folder: str, name: str) -> str:
    """The file of a module right below a folder, a package's __init__.py or an extension; empty if there is none."""
    for ending in ("/__init__.py", ".py", *extension_suffixes()):
        path = os.path.join(folder, name + ending)
        if os.path.isfile(path):
            return path
    return ""


def search_path() -> list[str]:
    """The folders of sys.path, absolute, each once, the first ENTRIES of them."""
    return list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path[:ENTRIES] if isinstance(entry, str)))


def is_found(name: str) -> bool:
    """Whether a folder of sys.path has the module, or a folder of its name, which may be a package without a file."""
    return any(module_in(folder, name) or os.path.isdir(os.path.join(folder, name)) for folder in search_path())


def other_spelling(name: str) -> str:
    """The path of a module on sys.path whose name differs from this one by upper and lower case only."""
    for folder in search_path():
        for other in _names(folder):
            stem = other[:-3] if other.endswith(".py") else other
            if stem.lower() == name.lower() and stem != name and module_in(folder, stem):
                return os.path.join(folder, other)
    return ""


def other_installation(name: str, wsgi_file: str) -> tuple[str, str, str] | None:
    """Where else the module is installed: the virtual environment (empty for none), the folder, and its Python.

    The system's packages are for Python 3 as such: for these the version is empty.
    """
    seen = search_path()
    for venv in [sys.prefix, *_virtualenvs(wsgi_file)]:
        for folder, version in _site_packages(f"{venv}/lib"):
            if folder not in seen and module_in(folder, name):
                return venv, folder, version
    for prefix in (f"{_home()}/.local/lib", *_SYSTEM):
        for folder, version in [(f"{prefix}/dist-packages", ""), *_site_packages(prefix)]:
            if folder not in seen and version in ("", _own_version()) and module_in(folder, name):
                return "", folder, version
    return None


def folders_with(name: str, wsgi_file: str) -> list[str]:
    """The folders of the tenant's with a module of that name that aren't on sys.path."""
    seen = search_path()
    return [
        folder
        for folder in folders_around(wsgi_file)
        if folder not in seen
        and not os.path.exists(f"{folder}/pyvenv.cfg")
        and (os.path.isfile(f"{folder}/{name}.py") or os.path.isfile(f"{folder}/{name}/__init__.py"))
    ]


def folders_around(wsgi_file: str) -> list[str]:
    """The WSGI file's folder, the one above it, the tenant's home, and the folders in the first and the home."""
    bases = _bases(wsgi_file)
    above = os.path.dirname(os.path.dirname(os.path.abspath(wsgi_file)))
    return list(dict.fromkeys([*bases, above, *(inner for base in bases for inner in subfolders(base))]))


def _virtualenvs(wsgi_file: str) -> Iterator[str]:
    bases = [*_bases(wsgi_file), f"{_home()}/.virtualenvs"]
    for folder in dict.fromkeys(inner for base in bases for inner in subfolders(base, hidden=True)):
        if folder != sys.prefix and os.path.isfile(f"{folder}/pyvenv.cfg"):
            yield folder


def _site_packages(lib: str) -> Iterator[tuple[str, str]]:
    for name in _names(lib)[:LISTED]:
        if name.startswith("python3."):
            for kind in ("site-packages", "dist-packages"):
                yield f"{lib}/{name}/{kind}", name[len("python") :]


def _bases(wsgi_file: str) -> list[str]:
    www = os.path.dirname(os.path.abspath(wsgi_file))
    return [folder for folder in dict.fromkeys([www, _home()]) if folder.strip("/")]


def _home() -> str:
    home = os.environ.get("HOME", "")
    return home.rstrip("/") if os.path.isabs(home) else ""


def subfolders(folder: str, hidden: bool = False) -> list[str]:
    """The paths of the folders in a folder, SUBFOLDERS of them at most; hidden ones if asked for."""
    paths = [f"{folder}/{name}" for name in sorted(_names(folder)) if hidden or not name.startswith(".")]
    return [path for path in paths[: SUBFOLDERS * 2] if os.path.isdir(path)][:SUBFOLDERS]


def _names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry, _ in zip(entries, range(LISTED))]
    except OSError:
        return []


def _own_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
