"""Static files where the server has none of uWSGI's check-static and static-map: find, decide, then send."""

from __future__ import annotations

import errno
import io
import os

from user_wsgi_wrapper.runtime import beneath, http_file

TYPE_CHECKING = False  # typing costs milliseconds in every worker
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    StartResponse = Callable[[str, list[tuple[str, str]]], object]

BLOCK = 65536  # bytes a read
MIME_TYPES = "/etc/mime.types"
_METHODS = ("GET", "HEAD")
_SUFFIXES = {"br": b".br", "gzip": b".gz"}

# What the web needs, as registered; the others are looked up in /etc/mime.types, once each, when they are asked for.
# The mimetypes module isn't used: it reads every table it knows, and a tenant's file of that name could stand for it.
_types = {
    "css": "text/css",
    "csv": "text/csv",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",  # RFC 9239
    "json": "application/json",
    "map": "application/json",
    "mjs": "text/javascript",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xml": "application/xml",
    "zip": "application/zip",
}


class Span:
    """The bytes of a part of a file, as a WSGI iterable. A file that became shorter meanwhile raises OSError."""

    __slots__ = ("_file", "_length", "_start")

    def __init__(self, file: io.FileIO, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length

    def __iter__(self) -> Iterator[bytes]:
        position, end = self._start, self._start + self._length
        while position < end:
            block = os.pread(self._file.fileno(), min(BLOCK, end - position), position)
            if not block:
                raise OSError(errno.EIO, "the file became shorter while it was sent")
            position += len(block)
            yield block

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


class StaticFiles:
    """The static files of a site, looked up on the disk at every request, so that a new file is seen at once.

    `mappings` are pairs of a URL prefix and the folder (or the one file) that it shows, as uWSGI's static-map;
    `check_static` is a folder looked into first for every path, as uWSGI's option of that name. `index` are names
    tried in a folder that is asked for with a slash at its end. Names that begin with a dot are left alone, except
    `.well-known` (RFC 8615); `dotfiles` shows the others too, but never what is known to hold secrets. Compiled code
    is left alone, and in a folder that holds the application's file `code`, so are that one and all other sources.
    """

    def __init__(
        self,
        mappings: Sequence[tuple[str, str]],
        check_static: str | None = None,
        *,
        index: Sequence[str] = (),
        dotfiles: bool = False,
        code: str = "",
    ) -> None:
        pairs = ([("", check_static)] if check_static is not None else []) + list(mappings)
        # a server hands the bytes of the path over as latin-1 (PEP 3333)
        self._mappings = [
            (os.fsencode(url.rstrip("/")).decode("latin-1"), os.fsencode(folder).rstrip(b"/") or b"/")
            for url, folder in pairs
        ]
        self._prefixes = tuple(url for url, _ in self._mappings)
        self._index = [os.fsencode(name) for name in index]
        self._dotfiles = dotfiles
        self._code = os.fsencode(code)

    def serve(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes] | None:
        """The body of the static file that the request means, its head given to start_response.

        None, and start_response not called, if it means none that may be shown: the request is the application's.
        Raises OSError for what is no fault of the path (no descriptors left, a failing disk).
        """
        path = environ.get("PATH_INFO", "")
        if not path.startswith(self._prefixes) or environ["REQUEST_METHOD"] not in _METHODS:
            return None
        for url, folder in self._mappings:
            if path.startswith(url):
                body = self._try(folder, path[len(url) :], environ, start_response)
                if body is not None:
                    return body
        return None

    def _try(
        self, folder: bytes, rest: str, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes] | None:
        if rest:
            names = beneath.split(rest, self._dotfiles)
        else:  # the prefix itself: it may be mapped to one file
            folder, name = os.path.split(folder)
            names = [name] if name else None
        # one call that raises nothing tells most misses
        if names is None or not os.access(os.path.join(folder, *names), os.F_OK):
            return None
        for end in [[name] for name in self._index] if rest.endswith("/") else [[]]:
            found = beneath.find(folder, names + end, self._dotfiles)
            if found is not None:
                try:
                    if self._is_code(folder, found[1]):
                        return None
                    return _answer(*found, content_type([*names, *end][-1]), environ, start_response)
                finally:
                    os.close(found[0])
        return None

    def _is_code(self, folder: bytes, name: bytes) -> bool:
        """Whether a file found below `folder`, its links followed, is code that no visitor is to read."""
        if name.endswith(b".pyc"):
            return True
        holds_code = self._code.startswith(folder.rstrip(b"/") + b"/")
        return holds_code and (name.endswith(b".py") or name == os.path.basename(self._code))


def _answer(
    folder: int, name: bytes, media_type: str, environ: dict[str, Any], start_response: StartResponse
) -> Iterable[bytes] | None:
    chosen = _choose(folder, name, environ.get("HTTP_ACCEPT_ENCODING", ""))
    if chosen is None:
        return None
    file, info, encoding, varies = chosen
    body: Iterable[bytes] | None = None
    try:
        reply = http_file.decide(environ, info.st_size, info.st_mtime_ns, media_type, encoding, varies)
        start_response(reply.status, reply.headers)
        if not reply.length or environ["REQUEST_METHOD"] == "HEAD":
            return []
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not None and reply.length == info.st_size:
            body = wrapper(file, BLOCK)  # handed through untouched, else the server doesn't use sendfile
        else:
            body = Span(file, reply.start, reply.length)
        return body
    finally:
        if body is None:
            file.close()


def _choose(folder: int, name: bytes, accept: str) -> tuple[io.FileIO, os.stat_result, str, bool] | None:
    """The best of a file and its compressed siblings, its encoding, and whether there is a choice at all.

    A sibling older than its file (by whole seconds) was made from another one, so it is left alone.
    """
    plain = beneath.open_regular(folder, name)
    if plain is None:
        return None
    there = [coding for coding, suffix in _SUFFIXES.items() if os.access(name + suffix, os.F_OK, dir_fd=folder)]
    for coding in http_file.accepted_encodings(accept) if there else ():
        sibling = beneath.open_regular(folder, name + _SUFFIXES[coding]) if coding in there else None
        if sibling is not None:
            if int(sibling[1].st_mtime) >= int(plain[1].st_mtime):
                plain[0].close()
                return *sibling, coding, True
            sibling[0].close()
    return *plain, "", bool(there)


def content_type(name: bytes) -> str:
    """The media type for a file's name, by its extension; text is taken for UTF-8."""
    extension = os.path.splitext(name)[1][1:].lower().decode("latin-1")
    found = _types.get(extension)
    if found is None:
        found = _types[extension] = _look_up(extension) or "application/octet-stream"
    return found + "; charset=utf-8" if found.startswith("text/") else found


def _look_up(extension: str) -> str | None:
    try:
        with open(MIME_TYPES, encoding="latin-1") as table:
            for line in table:
                media_type, *extensions = line.partition("#")[0].split() or [""]
                if extension in extensions:
                    return media_type
    except OSError:
        pass
    return None
