"""What somebody who wants to help needs to know of a site, in one archive, its secrets taken out: `collect`."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import platform
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from user_wsgi_wrapper import __version__, inside
from user_wsgi_wrapper.emperor_hook import (
    deploys,
    emperor_report,
    explain,
    mounts,
    processes,
    redaction,
    site_checkup,
    tail,
)
from user_wsgi_wrapper.emperor_hook.as_tenant import AskError
from user_wsgi_wrapper.emperor_hook.checkup import Finding
from user_wsgi_wrapper.emperor_hook.redaction import Redaction
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.site import Site

_MOST = 1024 * 1024  # characters of each file
_OWN_LOGS = ("emperor", "initialize", "nginx.error", "nginx")
_README = """\
What `user-wsgi-wrapper collect {domain}` found at {time}.

Taken out: all values of the site's environment but a few that are known to hold no secret, wherever they stand;
passwords in URLs; and values that are called password, secret, token or API key.
Still in: such values in any other spelling; what the site's own code wrote into its logs; the addresses and the query
strings of its visitors.
Read it before you pass it on.
"""


def collect(machine: Machine, site: Site, config: Path | None, lines: int, output: BinaryIO) -> None:
    """Write the archive (tar, gzip); what can't be had is said in its place. Raises OSError if it can't write."""
    redact = Redaction(site.env)
    with (
        gzip.GzipFile(fileobj=output, mode="wb", filename="") as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, give in _parts(machine, site, config, lines):
            try:
                text = give()
            except (OSError, AskError, ValueError, subprocess.SubprocessError) as error:
                text = f"not to be had: {error}\n"
            _add(tar, f"{site.domain}/{name}", redact.text(text)[-_MOST:])


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = deploys.harmless(text).encode("utf-8", "backslashreplace")
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
    tar.addfile(member, io.BytesIO(data))


def _parts(machine: Machine, site: Site, config: Path | None, lines: int) -> Iterator[tuple[str, Callable[[], str]]]:
    layout, domain = machine.layout, site.domain
    yield "README", lambda: _README.format(domain=domain, time=time.strftime("%Y-%m-%d %H:%M:%S %z"))
    yield "versions.txt", _versions
    yield "site.json", lambda: _settings(site)
    yield "check.txt", lambda: "".join(f"{line(one)}\n" for one in site_checkup.examine(machine, domain))
    yield "status.json", lambda: _status(machine, site)
    yield "explain.txt", lambda: "\n".join(explain.lines(explain.explain(machine, f"http://{domain}/"))) + "\n"
    yield "deploys.json", lambda: _deploys(machine, site)
    yield "vassal.ini", lambda: _vassal(layout.vassal(domain).read_text(), site)
    yield "emperor.json", lambda: _emperor(machine, site)
    yield "mounts.txt", lambda: _mounts(machine, site)
    yield "configuration.toml", lambda: (config or layout.config_file).read_text()
    yield "nginx-front.conf", lambda: (layout.run_dir / "nginx-front.conf").read_text()
    for kind in inside.LOG_KINDS:
        yield f"logs/{kind}.log", lambda kind=kind: _tail(layout.log_file(domain, kind), lines)  # type: ignore[misc]
    for name in _OWN_LOGS:
        path = layout.own_logs_dir / f"{name}.log"
        if path.exists():
            yield f"logs/of-the-stack/{name}.log", lambda path=path: _about(path, domain, lines)  # type: ignore[misc]


def line(found: Finding) -> str:
    """A finding as a line of text."""
    return f"ok     {found.what}" if found.good else f"wrong  {found.what}: {found.advice}"


def _versions() -> str:
    text = f"user-wsgi-wrapper {__version__}, by Python {platform.python_version()}\n{platform.platform()}\n"
    for command in (["/usr/bin/python3", "--version"], ["/usr/bin/uwsgi", "--version"], ["/usr/sbin/nginx", "-v"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            text += f"{command[0]}: {(done.stdout + done.stderr).strip()}\n"
        except OSError as error:
            text += f"{command[0]}: {error.strerror}\n"
    release = Path("/etc/os-release")
    return text + (release.read_text(errors="replace") if release.exists() else "")


def _settings(site: Site) -> str:
    shown = dataclasses.replace(site, env=tuple(redaction.environment(site.env)))
    return json.dumps(dataclasses.asdict(shown), indent=2) + "\n"


def _status(machine: Machine, site: Site) -> str:
    uid = machine.registry.identity(site.username).uid
    found = processes.status(machine.layout, site, uid, processes.by_title())
    return json.dumps(dataclasses.asdict(found), indent=2) + "\n"


def _deploys(machine: Machine, site: Site) -> str:
    uid = machine.registry.identity(site.username).uid
    return (
        json.dumps(dataclasses.asdict(deploys.read(machine.layout, site.username, site.domain, uid)), indent=2) + "\n"
    )


def _vassal(text: str, site: Site) -> str:
    """The vassal with the site's own variables as they may be shown, also those too short to be looked for."""
    hidden = {name for name, _ in site.env if not redaction.is_harmless(name)}
    shown = []
    for one in text.splitlines():
        name = one.removeprefix("env = ").partition("=")[0]
        shown.append(f"env = {name}={redaction.GONE}" if one.startswith("env = ") and name in hidden else one)
    return "\n".join(shown) + "\n"


def _emperor(machine: Machine, site: Site) -> str:
    report = emperor_report.read(machine.layout)
    if report is None:
        return "no Emperor answers\n"
    state = report.of(site.domain)
    return json.dumps(None if state is None else dataclasses.asdict(state), indent=2) + "\n"


def _mounts(machine: Machine, site: Site) -> str:
    listed = mounts.mounted_beneath(machine.layout.chroot(site.username))
    return "".join(f"{one.target} {one.kind} {','.join(sorted(one.options))} {one.root}\n" for one in listed)


def _tail(path: Path, lines: int) -> str:
    return b"".join(tail.last_lines(path, lines)).decode("utf-8", "backslashreplace")


def _about(path: Path, domain: str, lines: int) -> str:
    """The lines of one of the stack's own logs that name the domain: the others are other tenants' matter."""
    wanted = domain.encode()
    found = [one for one in tail.last_lines(path, 50 * lines) if wanted in one]
    return b"".join(found[-lines:]).decode("utf-8", "backslashreplace")
