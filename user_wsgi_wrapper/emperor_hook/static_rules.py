"""Which static file uWSGI finds for a path, by the rules of its check-static and static-map. Pure but for `look`.

uwsgi_parse_vars (core/protocol.c) and uwsgi_file_serve (core/static.c): a name that is skipped, then check-static,
then each mapping whose prefix the path begins with; the file's real path must begin with the folder's. A file that
uWSGI finds but can't open is passed over (GET; to HEAD it answers as if it could).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from user_wsgi_wrapper.emperor_hook.tenant_files import Trace
from user_wsgi_wrapper.emperor_hook.vassal import shows_code
from user_wsgi_wrapper.site import Site

SENT = "sent"
Look = Callable[[str], Trace]


@dataclass(frozen=True)
class Try:
    """One place that was looked at. `trace` is the way to the file, None if the place wasn't gone to."""

    place: str
    outcome: str
    trace: Trace | None = None
    is_obstacle: bool = False


@dataclass(frozen=True)
class Decision:
    """`file` is what is sent, as the tenant sees it, `place` the mapping that shows it; None: the application's."""

    file: str | None
    place: str
    tries: tuple[Try, ...]


def decide(site: Site, path: str, look: Look) -> Decision:
    """What becomes of a GET for `path`, the front's normalized one, `look` being the tenant's Files.trace."""
    skipped = _skipped(site, path)
    if skipped is not None:
        return Decision(None, "", (Try("all static folders", skipped),))
    tries: list[Try] = []
    for place, prefix, folder in _places(site):
        if not path.startswith(prefix):
            tries.append(Try(place, f"the path does not begin with {prefix}"))
            continue
        found = _look_below(place, folder, path[len(prefix) :], look)
        tries.append(found)
        if found.trace is not None and found.trace.real and not found.outcome:
            return Decision(found.trace.real, place, (*tries[:-1], Try(place, SENT, found.trace)))
    return Decision(None, "", tuple(tries))


def _places(site: Site) -> list[tuple[str, str, str]]:
    """What to call it, the prefix that uWSGI compares, and the folder that uWSGI is told."""
    places = [] if site.check_static is None else [(f"check-static {site.check_static}", "", site.check_static)]
    for url, folder in site.static:
        places.append((f"static {url}={folder}", f"{url.rstrip('/')}/", f"{folder.rstrip('/')}/"))
    return places


def _skipped(site: Site, path: str) -> str | None:
    endings = [".pyc", *([".py", site.wsgi_file] if shows_code(site) else [])]
    ending = next((one for one in endings if path.endswith(one)), None)
    return None if ending is None else f"left out: code is not shown (what ends in {ending})"


def _look_below(place: str, folder: str, rest: str, look: Look) -> Try:
    root = look(folder)
    if not root.real:
        return Try(place, _miss(root), root, is_obstacle=root.error == errno.EACCES)
    trace = look(f"{root.real.rstrip('/')}/{rest}")
    if not trace.real:
        return Try(place, _miss(trace), trace, is_obstacle=trace.error == errno.EACCES)
    if not trace.real.startswith(root.real):
        return Try(place, f"a link leads out of the folder, to {trace.real}: not shown", trace, is_obstacle=True)
    kind = trace.last.kind if trace.last is not None else ""
    if kind != "file":
        return Try(place, f"{trace.real} is no file but a {kind}; folders have no index", trace)
    if not trace.readable:
        return Try(place, f"{trace.real} may not be read by the tenant: passed over", trace, is_obstacle=True)
    return Try(place, "", trace)


def _miss(trace: Trace) -> str:
    if trace.error == errno.EACCES:
        return f"{os.path.dirname(trace.obstacle)} may not be entered"  # noqa: PTH120  a path in the chroot
    if trace.error == errno.ENOENT:
        return f"there is no {trace.obstacle}"
    return f"{trace.obstacle}: {os.strerror(trace.error).lower()}"
