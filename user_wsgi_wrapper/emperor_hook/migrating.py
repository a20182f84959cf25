"""`site import` and `site export`: many sites at once, all of them or none."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import import_apache, import_piku, site_tables, sites
from user_wsgi_wrapper.emperor_hook.carried import Carried, Entry
from user_wsgi_wrapper.emperor_hook.deploys import harmless
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.site import BadValueError, Site, parse_username

_MOST = 256 * 1024 * 1024  # bytes of a file
_NOWHERE = "import.invalid"


def export(machine: Machine, arguments: argparse.Namespace) -> int:
    """Write all sites that were added, secrets and all, to standard output."""
    write = site_tables.write_csv if arguments.format == "csv" else site_tables.write_json_lines
    for text in write(machine.registry.sites()):
        sys.stdout.write(text)
    return 0


def bring_in(machine: Machine, arguments: argparse.Namespace) -> int:
    """Add the sites of a file; 2 and nothing changed if any of them can't be added."""
    username = None if arguments.user is None else parse_username(arguments.user)
    found = read(machine, Path(arguments.source), arguments.format, username)
    errors = [*found.errors, *_refusals(machine, found.entries)]
    for note in found.notes:
        _tell(note)
    for error in errors:
        _tell(error)
    if errors:
        return 2
    chosen = [entry.site for entry in found.entries]
    if not arguments.dry_run:
        sites.add_all(machine, chosen)
    for site in chosen:
        print(f"{site.domain}: {'would be added' if arguments.dry_run else 'added'} for {site.username}")
    return 0


def _tell(line: str) -> None:
    print(f"user-wsgi-wrapper: {harmless(line)}", file=sys.stderr)


def read(machine: Machine, source: Path, kind: str | None, username: str | None) -> Carried:
    """What is in the file or folder. Raises OSError, and BadValueError if it isn't clear what it is."""
    defaults = machine.config.sites.site(_NOWHERE, "nobody")
    kind = kind or _guess(source)
    if kind == "piku":
        root = source if (source / "apps").is_dir() else source / ".piku"
        return import_piku.read(root, defaults, username)
    text = _text(source)
    if kind == "apache":
        return import_apache.read(str(source), text, defaults, username)
    if username is not None:
        raise BadValueError("--user is for piku and apache: a table names the user of each site")
    if kind == "csv":
        return site_tables.read_csv(str(source), text, defaults)
    return site_tables.read_json_lines(str(source), text, defaults)


def _guess(source: Path) -> str:
    if source.is_dir():
        return "piku"
    kinds = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".conf": "apache"}
    kind = kinds.get(source.suffix.lower())
    if kind is None:
        raise BadValueError(f"{source}: its name doesn't tell what it is; say --format csv, json, piku or apache")
    return kind


def _text(source: Path) -> str:
    with source.open("rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise BadValueError(f"{source}: at most {_MOST >> 20} MiB are read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadValueError(f"{source}:{line}: it is not UTF-8") from None


def _refusals(machine: Machine, entries: tuple[Entry, ...]) -> Iterator[str]:
    """What the sites would be refused for when they are added, a line each."""
    seen: dict[str, str] = {}
    users = {one.username.lower(): one.username for one in machine.registry.identities()}
    for entry in entries:
        site = entry.site
        try:
            sites.check(machine, site)
            _refuse_twins(site, entry.where, seen, users)
            if machine.registry.find(site.domain) is not None:
                raise BadValueError(f"domain {site.domain}: there is a site already")
        except BadValueError as error:
            yield f"{entry.where}: {error}"


def _refuse_twins(site: Site, where: str, seen: dict[str, str], users: dict[str, str]) -> None:
    if site.domain in seen:
        raise BadValueError(f"domain {site.domain}: it stands in {seen[site.domain]} too")
    seen[site.domain] = where
    other = users.setdefault(site.username.lower(), site.username)
    if other != site.username:
        raise BadValueError(f"username {site.username!r}: there is {other!r} too, which differs only in case")
