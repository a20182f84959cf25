"""The tenant's own places that a site needs: his folders, the application's file, the virtual environment.

They are looked at with the tenant's ids, so that what the modes, the owners and the access lists come to is the
kernel's word.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
from collections.abc import Iterator
from typing import Any

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import as_tenant, tenant_files
from user_wsgi_wrapper.emperor_hook.checkup import Finding
from user_wsgi_wrapper.emperor_hook.deploys import harmless
from user_wsgi_wrapper.emperor_hook.tenant_files import Files, Trace
from user_wsgi_wrapper.emperor_hook.unix_ids import Identity
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

_MOST = 65536  # bytes of a pyvenv.cfg


def examine(layout: Layout, site: Site, identity: Identity) -> Iterator[Finding]:
    """The findings; raises AskError."""
    with tenant_files.open_files(layout, site.username) as files:
        seen = as_tenant.ask(identity, lambda: _look(files, site))
    traces = {name: tenant_files.from_dict(fields) for name, fields in seen["traces"].items()}
    yield _folder(f"{inside.WWW}, the tenant's files,", traces["www"], identity)
    yield _folder(f"{inside.home(site.username)}, the tenant's home,", traces["home"], identity)
    yield _code(traces["code"], site)
    for (url, folder), trace in zip(site.static, map(tenant_files.from_dict, seen["static"]), strict=True):
        if trace.error != errno.ENOENT:  # a site without static files has no folder for them
            good = bool(trace.real) and trace.readable
            yield Finding(f"static {url}={folder} can be entered", good, obstacle(trace))
    if site.virtualenv is not None:
        yield from _virtualenv(site.virtualenv, traces["virtualenv"], seen["pyvenv"], host_python())


def _look(files: Files, site: Site) -> dict[str, Any]:
    paths = {"www": f"{inside.WWW}/", "home": f"{inside.home(site.username)}/", "code": site.wsgi_file}
    if site.virtualenv is not None:
        paths["virtualenv"] = f"{site.virtualenv}/"
    seen: dict[str, Any] = {
        "traces": {name: dataclasses.asdict(_entered(files, path)) for name, path in paths.items()},
        "static": [dataclasses.asdict(_entered(files, f"{folder.rstrip('/')}/")) for _, folder in site.static],
        "pyvenv": None,
    }
    if site.virtualenv is not None:
        try:
            seen["pyvenv"] = files.read(f"{site.virtualenv}/pyvenv.cfg", _MOST).decode("utf-8", "replace")
        except OSError as error:
            seen["pyvenv_error"] = error.strerror
    return seen


def _entered(files: Files, path: str) -> Trace:
    """The trace of a path; of a folder also whether it can be entered: a name in it that nobody has is looked for."""
    trace = files.trace(path)
    if trace.real and trace.last is not None and trace.last.kind == "folder":
        inner = files.trace(f"{trace.real}/.no-such-name")
        if inner.error == errno.EACCES:
            return dataclasses.replace(trace, real="", readable=False, error=errno.EACCES, obstacle=inner.obstacle)
    return trace


def _folder(what: str, trace: Trace, identity: Identity) -> Finding:
    step = trace.last
    if trace.error == errno.ENOENT:
        return Finding(f"{what} will be made by the first request", True)
    if not trace.real or step is None:
        return Finding(f"{what} can be entered", False, obstacle(trace))
    owned = step.uid == identity.uid
    about = f"it belongs to uid {step.uid}, mode {step.mode:04o}: chown it to {identity.uid}:{identity.gid}"
    return Finding(f"{what} belongs to the tenant", owned, about)


def _code(trace: Trace, site: Site) -> Finding:
    what = f"{site.wsgi_file} is there and can be read"
    good = bool(trace.real) and trace.readable and trace.last is not None and trace.last.kind == "file"
    return Finding(what, good, obstacle(trace))


def _virtualenv(folder: str, trace: Trace, pyvenv: str | None, python: str) -> Iterator[Finding]:
    yield Finding(f"virtualenv {folder} is there and can be entered", bool(trace.real), obstacle(trace))
    if not trace.real:
        return
    make = f"make it anew: /usr/bin/python3 -m venv --clear {folder}"
    yield Finding(f"{folder}/pyvenv.cfg is there", pyvenv is not None, f"it is no virtual environment; {make}")
    if pyvenv is not None:
        version = python_version(pyvenv)
        about = f"it is for Python {version}, and the server's is {python}: {make}"
        good = version is None or version == python
        yield Finding(f"virtualenv {folder} is for the server's Python, {python}", good, about)


def python_version(pyvenv: str) -> str | None:
    """The `3.11` of a pyvenv.cfg (PEP 405), as venv and virtualenv write it; None if it doesn't say."""
    for line in pyvenv.splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version", "version_info"):
            parts = value.strip().split(".")
            return harmless(".".join(parts[:2]))[:20]
    return None


def host_python() -> str:
    """The version, like `3.11`, of the Python that runs in sites: uWSGI's plugin is /usr/bin/python3's."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run(["/usr/bin/python3", "-ISc", code], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


def obstacle(trace: Trace) -> str:
    """What stands in the way of a trace that should have arrived, with its owner and mode, and what to do."""
    if trace.error == errno.ENOENT:
        return f"there is no {trace.obstacle}; put it there"
    if trace.error == errno.EACCES:
        folder = os.path.dirname(trace.obstacle)  # noqa: PTH120  a path in the chroot
        return f"{_owner(trace, folder)} may not be entered by the tenant; chown it, or chmod +x"
    if trace.error:
        return f"{trace.obstacle}: {os.strerror(trace.error).lower()}"
    last = trace.last
    if last is not None and last.kind not in ("file", "folder"):
        return f"{trace.real} is a {last.kind}"
    if last is not None and not trace.readable:
        return f"{_owner(trace, trace.real)} may not be read by the tenant; chown it, or chmod +r"
    return f"{trace.real} is a {last.kind}, a file is needed" if last is not None else "it can't be looked at"


def _owner(trace: Trace, path: str) -> str:
    step = next((one for one in reversed(trace.steps) if one.path == path), None)
    return path if step is None else f"{path} (uid {step.uid}, mode {step.mode:04o})"
