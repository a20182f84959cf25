"""What one `serve` is to do: its values, checked, and handed to the workers as text."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.runtime.settings import DEFAULT_DOMAIN, Settings

HOST = "127.0.0.1"


class ServeError(Exception):
    """Serving can't begin; str() is one line that names the value and what is wrong with it."""


@dataclass(frozen=True)
class Plan:
    """Absolute paths all: the application's file, the folder shown under /static, the error log."""

    wsgi_file: str
    static: str
    error_log: str
    port: int = 8000
    processes: int = 1

    @property
    def folder(self) -> str:
        """Where the application's file lies: what /var/www is to a hosted site, its working directory too."""
        return str(Path(self.wsgi_file).parent)

    def environment(self) -> dict[str, str]:
        """The variables that a vassal gives a hosted site, which the application may read."""
        return {
            "SITE_DOMAIN": DEFAULT_DOMAIN,
            "SITE_WSGI_FILE": self.wsgi_file,
            "SITE_ERROR_LOG": self.error_log,
            "SITE_STATIC": f"{inside.STATIC_URL}={self.static}",
            "SITE_ERROR_PAGE": str(Path(self.folder, Path(inside.ERROR_PAGE).name)),
        }

    def settings(self, environ: Mapping[str, str]) -> Settings:
        """The runtime's settings. Only the log's format and SITE_DEBUG are the environment's to choose."""
        chosen = {name: environ[name] for name in ("SITE_LOG_FORMAT", "SITE_DEBUG") if name in environ}
        settings = Settings.from_environ({**self.environment(), **chosen})
        settings.static = ((inside.STATIC_URL, self.static),)  # whatever separators its name holds
        return settings

    def to_json(self) -> str:
        """As text, for `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """What `to_json` was asked of."""
        return cls(**json.loads(text))


def make(wsgi_file: str, port: int, static: str | None, error_log: str, processes: int) -> Plan:
    """The plan for what was asked for on the command line. Raises ServeError.

    A static folder that isn't named is the one called `static` beside the application's file, which need not exist
    (yet).
    """
    _check("application", wsgi_file, stat.S_ISREG, "regular file")
    path = Path(wsgi_file).absolute()
    folder = path.parent / Path(inside.STATIC_DIR).name
    if static is not None:
        _check("static folder", static, stat.S_ISDIR, "directory")
        folder = Path(static).absolute()
    _check_writable(error_log)
    return Plan(str(path), str(folder), str(Path(error_log).absolute()), port, processes)


def _check(what: str, path: str, is_kind: Callable[[int], bool], kind: str) -> None:
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        raise ServeError(f"{what} {path!r}: {_reason(error)}") from None
    if not is_kind(mode):
        raise ServeError(f"{what} {path!r}: it is no {kind}")


def _check_writable(path: str) -> None:
    """Make the log if it isn't there; the runtime would go on without it, and nobody would know."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640))
    except (OSError, ValueError) as error:
        raise ServeError(f"log {path!r}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
