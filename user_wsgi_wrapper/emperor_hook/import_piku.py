"""Sites from a piku's root: its apps with their Procfile, ENV and SCALING (https://piku.github.io).

An app becomes a site under each name of its NGINX_SERVER_NAME, its tenant has the app's name. A Procfile's
`wsgi: package.module:application` becomes the file of that module beneath /var/www.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import mounts, site_fields
from user_wsgi_wrapper.emperor_hook.carried import Carried, Entry
from user_wsgi_wrapper.site import BadValueError, Site, parse_env, parse_static, shorten

_MOST = 1 << 20  # bytes of a file
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")
_MODULE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
# What piku itself makes of these has no counterpart, or isn't needed.
_NEEDLESS = {"PORT", "BIND_ADDRESS", "PYTHON_VERSION", "NGINX_SERVER_NAME", "NGINX_STATIC_PATHS", "UWSGI_PROCESSES"}
_ITS_OWN = ("NGINX_", "UWSGI_", "PIKU_", "CRON_", "ACME_", "SITE_")


@dataclass(frozen=True)
class Setting:
    """A line of an ENV file."""

    where: str
    name: str
    value: str


def read(root: Path, defaults: Site, username: str | None) -> Carried:
    """The sites of a piku root, the folder that has apps and envs. Raises OSError if there is no such folder."""
    found = Carried(())
    for folder in sorted(one for one in (root / "apps").iterdir() if one.is_dir()):
        found += _App(root, folder, defaults, username).carry()
    return found


class _App:
    def __init__(self, root: Path, folder: Path, defaults: Site, username: str | None) -> None:
        self.root = root
        self.folder = folder
        self.settings_folder = root / "envs" / folder.name
        self.defaults = defaults
        self.username = username or folder.name
        self.notes: list[str] = [f"{folder}:1: to do: copy it to {inside.WWW} of {self.username}"]
        self.errors: list[str] = []

    def carry(self) -> Carried:
        workers = dict(self._pairs(self.folder / "Procfile"))
        if "wsgi" not in workers:
            kinds = ", ".join(workers) or "nothing"
            note = f"{self.folder}/Procfile:1: not carried over: no wsgi in it, but {kinds}"
            return Carried((), (note,), tuple(self.errors))
        settings = self._settings()
        names = settings.get("NGINX_SERVER_NAME")
        if names is None:
            note = f"{self.folder}:1: not carried over: no NGINX_SERVER_NAME in its ENV"
            return Carried((), (note,), tuple(self.errors))
        values = self._values(workers, settings)
        entries = []
        for domain in names.value.replace(",", " ").split():
            try:
                entries.append(Entry(names.where, site_fields.build({**values, "domain": domain}, self.defaults)))
            except BadValueError as error:
                self.errors.append(f"{names.where}: {error}")
        return Carried(tuple(entries), tuple(self.notes), tuple(self.errors))

    def _values(self, workers: dict[str, Setting], settings: dict[str, Setting]) -> dict[str, object]:
        values: dict[str, object] = {"username": self.username}
        values["virtualenv"] = f"{inside.home(self.username)}/venv"
        self.notes.append(
            f"{self.settings_folder}:1: to do: make {values['virtualenv']} of {self.username} with its packages, "
            "it can't be moved: python3 -m venv"
        )
        for kind, setting in workers.items():
            if kind == "wsgi":
                values["wsgi_file"] = self._wsgi_file(setting)
            else:
                self.notes.append(f"{setting.where}: not carried over: {kind}: {setting.value}")
        processes = settings.get("UWSGI_PROCESSES") or dict(self._pairs(self.settings_folder / "SCALING")).get("wsgi")
        if processes is not None:
            self._put(values, "processes", processes, lambda text: site_fields.from_cell("processes", text))
        paths = settings.get("NGINX_STATIC_PATHS")
        if paths is not None:
            self._put(values, "static", paths, self._static)
        values["env"] = tuple(self._environment(settings))
        return values

    def _put(self, values: dict[str, object], name: str, setting: Setting, parse: object) -> None:
        try:
            values[name] = parse(setting.value)  # type: ignore[operator]
        except BadValueError as error:
            self.errors.append(f"{setting.where}: {error}")

    def _wsgi_file(self, setting: Setting) -> str:
        found = _MODULE.fullmatch(setting.value)
        if found is None:
            self.errors.append(f"{setting.where}: wsgi {shorten(setting.value)}: MODULE:CALLABLE is needed")
            return inside.WSGI_FILE
        if found[2] == "application":
            return f"{inside.WWW}/{found[1].replace('.', '/')}.py"
        line = f"from {found[1]} import {found[2]} as application"
        self.notes.append(f"{setting.where}: to do: put this line into {inside.WSGI_FILE} of {self.username}: {line}")
        return inside.WSGI_FILE

    def _static(self, text: str) -> tuple[tuple[str, str], ...]:
        """`/prefix:path,/prefix2:path`, the paths beneath the app's folder unless absolute."""
        found = []
        for item in filter(None, (part.strip() for part in text.split(","))):
            url, _, path = item.partition(":")
            path = path.strip().removeprefix(f"{self.folder}/")
            if path.startswith("/"):
                raise BadValueError(f"static path {shorten(path)}: it is not beneath {self.folder}")
            found.append(parse_static(f"{url.strip().rstrip('/') or '/'}={inside.WWW}/{path.strip('/')}".rstrip("/")))
        return tuple(found)

    def _environment(self, settings: dict[str, Setting]) -> Iterator[tuple[str, str]]:
        for setting in settings.values():
            if setting.name in _NEEDLESS:
                continue
            if setting.name.startswith(_ITS_OWN):
                self.notes.append(f"{setting.where}: not carried over: {setting.name}={setting.value}")
                continue
            try:
                yield parse_env(f"{setting.name}={setting.value}")
            except BadValueError as error:
                self.errors.append(f"{setting.where}: {error}")

    def _settings(self) -> dict[str, Setting]:
        """The app's own ENV, then the one that `piku config:set` writes, each line seeing those before it."""
        found: dict[str, Setting] = {}
        known = {"APP": self.folder.name, "HOME": inside.home(self.username), "USER": self.username}
        for file in (self.folder / "ENV", self.settings_folder / "ENV"):
            for name, setting in self._pairs(file, "="):
                value = _VARIABLE.sub(lambda match: known.get(match[1] or match[2], match[0]), setting.value)
                known[name] = value
                found[name] = Setting(setting.where, name, value)
        return found

    def _pairs(self, file: Path, separator: str = ":") -> Iterator[tuple[str, Setting]]:
        try:
            text = _text(self.root, file)
        except BadValueError as error:
            self.errors.append(str(error))
            return
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, found, value = (part.strip() for part in line.partition(separator))
            if found:
                yield name, Setting(f"{file}:{number}", name, value)
            else:
                self.errors.append(f"{file}:{number}: {shorten(line)}: NAME{separator}VALUE is needed")


def _text(root: Path, file: Path) -> str:
    """A file's text; empty if there is none. What was pushed isn't the operator's: no link is followed."""
    base = os.open(root, mounts.FOLDER | os.O_CLOEXEC)
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = mounts.open_beneath(base, str(file.relative_to(root)), flags)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadValueError(f"{file}:1: {os.strerror(error.errno or 0).lower()}") from None
    finally:
        os.close(base)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadValueError(f"{file}:1: it is no regular file")
        return opened.read(_MOST).decode("utf-8", "replace")
