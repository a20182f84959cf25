"""Advice for an SQLite database that can't be opened or written: which file it is, and what keeps it from it."""

from __future__ import annotations

import os
import re
import stat

from user_wsgi_wrapper.runtime.file_access import advise_missing, code_folders, owner, refused
from user_wsgi_wrapper.runtime.origin import kinds, line_of, places, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from user_wsgi_wrapper.runtime.origin import Place

_MAGIC = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html, section 1.3
_NAMES = (".db", ".sqlite", ".sqlite3", ".db3")
_DESCRIPTORS = 256
_PATHS = ("pathlib.PosixPath", "pathlib._local.PosixPath")


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do about an sqlite3.OperationalError that comes from the file system, verified there."""
    if "sqlite3.OperationalError" not in kinds(error):
        return ""
    text = text_of(error)
    if text.startswith("attempt to write a readonly database"):
        return _advise_readonly(wsgi_file)
    if text.startswith("no such table"):
        return _advise_empty(error, wsgi_file)
    if not text.startswith("unable to open database file"):
        return ""
    name = _connected(error)
    if name is None:
        return _advise_readonly(wsgi_file)  # it was opened; what couldn't be is its journal
    if not name or name == ":memory:" or name.startswith("file:"):
        return ""
    path = os.path.abspath(name)
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return f"{path}, which is to be the database, is a folder"
    folders = code_folders(error, wsgi_file)
    said = advise_missing(name, folders)
    if said:
        return said
    if not os.path.lexists(folder):
        return f"the folder of the database {path} isn't there: make {folder}"
    return refused(path, wsgi_file)


def _advise_readonly(wsgi_file: str) -> str:
    """SQLite writes a journal beside its file: the folder must be writable too."""
    databases = _open_databases()
    said = []
    for path in databases:
        folder = os.path.dirname(path)
        if not os.access(path, os.W_OK):
            said.append(refused(path, wsgi_file))
        elif not os.access(folder, os.W_OK):
            said.append(
                f"SQLite makes a journal beside the database {path}, and its folder may not be written in "
                f"({owner(folder)})"
            )
    return said[0] if len(said) == 1 and len(databases) == 1 else ""


def _advise_empty(error: BaseException, wsgi_file: str) -> str:
    """A database that was made empty where a relative path led, while the real one is somewhere else."""
    empty = list(_open_databases(empty=True))
    if len(empty) != 1:
        return ""
    name = os.path.basename(empty[0])
    for folder in code_folders(error, wsgi_file):
        other = os.path.join(folder, name)
        if other != empty[0] and os.path.isfile(other) and os.path.getsize(other) > 0:
            return (
                f"the database in use, {empty[0]}, is empty; there is another one, {other}: give that absolute path"
            )
    return ""


def _open_databases(empty: bool = False) -> list[str]:
    """The paths of the SQLite files that this process has open; with `empty` those of what may become such files.

    Nothing is opened here: closing a file ends all locks that the process holds on it (fcntl(2)), SQLite's too.
    """
    found: dict[str, None] = {}
    for name in os.listdir("/proc/self/fd")[:_DESCRIPTORS]:
        number = int(name)
        try:
            info = os.fstat(number)
            if stat.S_ISREG(info.st_mode):
                path = os.readlink(f"/proc/self/fd/{number}")
                is_one = path.endswith(_NAMES) if empty else os.pread(number, len(_MAGIC), 0) == _MAGIC
                if is_one and (info.st_size == 0) == empty and os.path.isfile(path):
                    found[path] = None
        except OSError:
            continue
    return list(found)


def _connected(error: BaseException) -> str | None:
    """The path given to sqlite3.connect: empty if it can't be told, None if it isn't that call that failed."""
    found = places(error)
    if not found:
        return ""
    place = found[-1]
    names = place[0].f_locals
    if "cargs" in names:  # SQLAlchemy's DefaultDialect.connect
        value = names["cargs"][0] if type(names["cargs"]) in (list, tuple) and names["cargs"] else None
    elif "conn_params" in names:  # Django's DatabaseWrapper.get_new_connection
        value = names["conn_params"].get("database") if type(names["conn_params"]) is dict else None
    elif "connect" not in line_of(place):
        return None
    else:
        value = _argument(place)
    return value if type(value) is str else _path(value)


def _argument(place: Place) -> object:
    line = line_of(place)
    literal = re.search(r"connect\(\s*(?:database\s*=\s*)?([\"'])([^\"'\\{}]*)\1\s*[,)]", line)
    if literal:
        return literal[2]
    name = re.search(r"connect\(\s*(?:database\s*=\s*)?([A-Za-z_]\w*)\s*[,)]", line)
    if not name:
        return None
    frame = place[0]
    return frame.f_locals.get(name[1], frame.f_globals.get(name[1]))


def _path(value: object) -> str:
    return str(value) if f"{type(value).__module__}.{type(value).__qualname__}" in _PATHS else ""
