"""Advice for files that aren't found or may not be used: relative paths, and what this site's user may write."""

from __future__ import annotations

import os
import re

from user_wsgi_wrapper.runtime.origin import file_of, module_of, own_places, places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ENOENT, _EACCES, _EROFS = 2, 13, 30  # the module errno is 20 KiB
_LISTED = 3000


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do about an OSError that names a file, verified on the disk."""
    if not isinstance(error, OSError) or error.errno not in (_ENOENT, _EACCES, _EROFS):
        return ""
    name = error.filename
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    # With two names it isn't said which one is meant; of a program's it is $PATH that matters.
    if type(name) is not str or not name or error.filename2 is not None or _runs_program(error):
        return ""
    if error.errno == _ENOENT:
        return advise_missing(name, code_folders(error, wsgi_file))
    return refused(os.path.abspath(name), wsgi_file)


def _runs_program(error: BaseException) -> bool:
    return any(module_of(place) in ("subprocess", "asyncio.subprocess") for place in places(error))


def code_folders(error: BaseException, wsgi_file: str) -> list[str]:
    """Where a relative path may have been meant to begin: the code's folders, innermost first, then the home."""
    files = [*(file_of(place) for place in own_places(error)[:20]), wsgi_file]
    folders = [os.path.dirname(os.path.abspath(file)) for file in files]
    home = os.environ.get("HOME", "")
    return list(dict.fromkeys([*folders, *([home.rstrip("/")] if os.path.isabs(home) else [])]))


def advise_missing(name: str, folders: list[str]) -> str:
    """Where the file of that name is; empty if it is nowhere that was looked at, or there is one after all."""
    here = os.path.abspath(name)
    if os.path.lexists(here):
        return ""
    if re.match(r"[A-Za-z]:[\\/]", name):
        return f"{name!r} is a path of a Windows machine; this site's files are in {folders[0]}"
    if not os.path.isabs(name):
        for folder in folders:
            there = os.path.join(folder, name)
            if os.path.exists(there):
                return (
                    f"the relative path {name!r} leads to {here}, since the current folder is {os.getcwd()}; "
                    f"there is {os.path.abspath(there)}: give that absolute path"
                )
    other = _other_case(here)
    if other:
        return f"there is no {here}, but {other}: upper and lower case differ"
    parent = os.path.dirname(name)
    if not os.path.isabs(name) and parent and not os.path.lexists(os.path.dirname(here)):
        for folder in folders:
            there = os.path.join(folder, parent)
            if os.path.isdir(there):
                return (
                    f"the relative path {name!r} leads to {here}, since the current folder is {os.getcwd()}, and "
                    f"there is no folder {os.path.dirname(here)}; there is {os.path.abspath(there)}: "
                    "give the absolute path"
                )
    return ""


def _other_case(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_LISTED))]
    except OSError:
        return ""
    return next((f"{folder}/{other}" for other in sorted(names) if other.lower() == name.lower()), "")


def refused(path: str, wsgi_file: str) -> str:
    """Why this process may not use the file; empty if it may read and write it, as far as the modes say."""
    for folder in _parents(path):
        if os.path.isdir(folder) and not os.access(folder, os.X_OK):
            return f"the folder {folder}, on the way to {path}, may not be entered ({owner(folder)})"
    if not os.path.lexists(path):
        folder = os.path.dirname(path)
        if not os.path.isdir(folder) or os.access(folder, os.W_OK):
            return ""
        return f"{path} can't be made, the folder may not be written in ({owner(folder)}){_writable(wsgi_file)}"
    if not os.access(path, os.R_OK):
        return f"{path} may not be read ({owner(path)})"
    if not os.access(path, os.W_OK):
        return f"{path} may be read but not written ({owner(path)}){_writable(wsgi_file)}"
    return ""


def _parents(path: str) -> Iterator[str]:
    parts = path.strip("/").split("/")[:-1]
    return ("/" + "/".join(parts[: count + 1]) for count in range(len(parts)))


def owner(path: str) -> str:
    """Whose a file is and what its mode lets whom do, and who this process is."""
    found = os.stat(path)
    return f"mode {found.st_mode & 0o7777:03o}, uid {found.st_uid}; this site runs as uid {os.geteuid()}"


def _writable(wsgi_file: str) -> str:
    folders = [os.path.dirname(os.path.abspath(wsgi_file)), os.environ.get("HOME", ""), "/tmp"]  # noqa: S108
    able = [folder for folder in dict.fromkeys(folders) if os.path.isabs(folder) and os.access(folder, os.W_OK)]
    return f": files can be made in {', '.join(able)}" if able else ""
