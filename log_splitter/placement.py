"""Where a key's log lies below the one folder, and what it is when it is made: pure."""

from __future__ import annotations

from log_splitter.errors import BadValueError, shorten

NAME_MAX = 255  # bytes of one name, limits.h
_KEY = "{key}"


class Placement:
    """Where logs are. `owner` is a uid and a gid for what is made here, each None to leave it as it comes.

    `as_folder` gives a new log the owner of its folder instead. Modes are as chmod(2) takes them, whatever the umask.
    """

    def __init__(
        self,
        name: str = "{key}/{key}.access.log",
        catch_all: str = "_unknown.access.log",
        make_folders: bool = False,
        mode: int = 0o640,
        folder_mode: int = 0o755,
        owner: tuple[int | None, int | None] = (None, None),
        as_folder: bool = False,
    ) -> None:
        self.name = name
        self._name = name.encode()
        self.catch_all = catch_all
        self.make_folders = make_folders
        self.mode = mode
        self.folder_mode = folder_mode
        self.owner = owner
        self.as_folder = as_folder

    def parts(self, key: bytes, end: bytes = b"") -> tuple[bytes, ...] | None:
        """The names that lead from the folder to a key's log; None if one is longer than a name may be.

        `end` is added to the last one.
        """
        path = self._name.replace(b"{key}", key) + end
        parts = tuple(path.split(b"/"))
        return parts if len(path) <= NAME_MAX or max(map(len, parts)) <= NAME_MAX else None

    @property
    def catch_all_parts(self) -> tuple[bytes, ...]:
        """The names that lead to the log of lines that no key's log takes."""
        return tuple(self.catch_all.encode().split(b"/"))


def parse_name(text: str) -> str:
    """A pattern for the logs' paths below the folder; raises BadValueError."""
    if _KEY not in text:
        raise BadValueError(f"name {shorten(text)}: {_KEY} must stand in it")
    if set("{}") & set(text.replace(_KEY, "")):
        raise BadValueError(f"name {shorten(text)}: braces may only stand in {_KEY}")
    return _parse_path("name", text)


def parse_catch_all(text: str, name: str) -> str:
    """The catch-all's path below the folder; raises BadValueError, also if a key's log could have it.

    No key begins with an underscore or has one in it.
    """
    if "_" not in text.split("/")[0] and "/" not in name:
        raise BadValueError(
            f"catch-all {shorten(text)}: an underscore is needed in it, as a key could have this name"
        )
    if set("{}") & set(text):
        raise BadValueError(f"catch-all {shorten(text)}: braces are not allowed")
    return _parse_path("catch-all", text)


def _parse_path(what: str, text: str) -> str:
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise BadValueError(f"{what} {shorten(text)}: a path below the folder is needed, without empty, '.' and '..'")
    if not text.isprintable() or len(text.encode()) > 1024:
        raise BadValueError(f"{what} {shorten(text)}: at most 1024 bytes of printable characters are allowed")
    return text
