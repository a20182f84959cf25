"""Static files: a tree that is only imagined says what a path leads to, and the one on the disk must agree."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

from user_wsgi_wrapper.runtime.static import StaticFiles

# What lies where: a file's content, None for a folder, a link's target behind an arrow. The root is /root/static.
TREE = {
    "/root/static": None, "/root/static/a": b"a", "/root/static/b.txt": b"b", "/root/static/dir": None,
    "/root/static/dir/c": b"c", "/root/static/dir/deep": None, "/root/static/dir/deep/d": b"d",
    "/root/static/.hidden": b"hidden", "/root/static/.git": None, "/root/static/.git/config": b"git",
    "/root/static/.well-known": None, "/root/static/.well-known/w": b"w", "/root/static/.well-known/.env": b"env",
    "/root/static/x.pyc": b"code", "/root/static/x.py": b"source", "/root/static/\xe9": b"e", "/root/static/-": b"-",
    "/root/static/to-a": "->a", "/root/static/to-dir": "->dir", "/root/static/dir/up": "->../a",
    "/root/static/dir/up-and-down": "->../dir/deep", "/root/static/out": "->../outside", "/root/static/far": "->/etc",
    "/root/static/loop": "->loop", "/root/static/loop1": "->loop2", "/root/static/loop2": "->loop1",
    "/root/static/dangling": "->none", "/root/static/to-hidden": "->.hidden", "/root/static/to-git": "->.git",
    "/root/static/to-code": "->x.pyc", "/root/static/absolute": "->/root/static/dir",
    "/root/static/around": "->../static/a",
    "/root/static/chain": "->chain1", "/root/static/chain1": "->dir/up", "/root/static/slashes": "->./dir//./c",
    "/root/static/dotted": "->dir/..", "/root/static/filed": "->a/", "/root/outside": b"secret",
    "/root/static-secret": None, "/root/static-secret/s": b"secret", "/root/static/beside": "->../static-secret/s",
}  # fmt: skip
TOKENS = sorted({part for path in TREE for part in path.split("/") if part} - {"root"}) + [
    "/", "//", "/", "..", ".", "/../", "/./", "\0", "%2e%2e", "\\", "...", "~", "\u0100", "\udce9", "a/", " ", "\n",
]  # fmt: skip


@functools.cache
def files() -> tuple[StaticFiles, str]:
    """The tree on the disk, and what shows it."""
    base = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, base)
    for path, what in TREE.items():
        place = base + path.encode("latin-1").decode("utf-8", "surrogateescape")
        if what is None:
            os.makedirs(place, exist_ok=True)
        elif isinstance(what, bytes):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).write_bytes(what)
    for path, what in TREE.items():
        if isinstance(what, str):
            target = what[2:]
            os.symlink(base + target if target.startswith("/root") else target, base + path)
    os.mkfifo(f"{base}/root/static/fifo")
    return StaticFiles([("/static", f"{base}/root/static")]), base


def imagined(rest: str) -> bytes | None:
    """The content that `rest`, the path behind /static, leads to in the tree, if that may be shown."""
    if not rest.startswith("/") or "\0" in rest or rest.endswith("/") or not _is_latin(rest):
        return None
    here, ahead, links = "/root/static", [part for part in rest.split("/") if part], 0
    if any(part.startswith(".") and part != ".well-known" for part in ahead):
        return None
    while ahead:
        part = ahead.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if here == "/root/static":
                return None  # it goes on outside, even if it came back
            here = here.rpartition("/")[0]
            continue
        if part.startswith(".") and part != ".well-known":
            return None
        here = f"{here}/{part}"
        what = TREE.get(here, b"no")
        if here not in TREE:
            return None
        if isinstance(what, str):
            links += 1
            if links > 40:
                return None
            target = what[2:]
            if target.startswith("/root/static/"):
                here, target = "/root/static", target.removeprefix("/root/static/")
            elif target.startswith("/"):
                return None
            else:
                here = here.rpartition("/")[0]
            ahead = target.split("/") + ahead
        elif isinstance(what, bytes):
            return what if not ahead and not here.endswith(".pyc") else None
    return None


def _is_latin(text: str) -> bool:
    return all(ord(character) < 256 for character in text)


def check_static(data: bytes) -> None:
    """StaticFiles.serve: a file of the tree, whole, or None; never another's content, no open descriptor."""
    rest = "".join(TOKENS[byte] if byte < len(TOKENS) else "/" if byte < 160 else chr(byte) for byte in data)
    served, _ = files()
    head: list[str] = []
    first = _next_descriptor()
    environ = {"PATH_INFO": f"/static/{rest}", "REQUEST_METHOD": "GET"}
    body = served.serve(environ, lambda status, headers: head.append(status))
    wanted = imagined(f"/{rest}")
    assert (body is None) == (wanted is None), (rest, wanted)
    if body is not None:
        assert head == ["200 OK"]
        assert b"".join(body) == wanted, rest
        body.close()  # type: ignore[attr-defined]
    assert _next_descriptor() == first


def _next_descriptor() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor
