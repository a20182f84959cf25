"""All that initialize's HTTP side is told, as variables of its environment. Pure.

It reads no configuration: that may hold a database's password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ACCOUNT = "USER_WSGI_WRAPPER_ACCOUNT"
_WARMER = "USER_WSGI_WRAPPER_WARMER"
_PATIENCE = "USER_WSGI_WRAPPER_PATIENCE"


@dataclass(frozen=True)
class Settings:
    """Whom it becomes, where the warmer listens; the rest is as in [warm] of the configuration, in seconds."""

    uid: int
    gid: int
    warmer: Path
    page_after: float
    give_up_after: float
    threads: int


def write(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The variables' names and values."""
    return (
        (_ACCOUNT, f"{settings.uid} {settings.gid}"),
        (_WARMER, str(settings.warmer)),
        (_PATIENCE, f"{settings.page_after!r} {settings.give_up_after!r} {settings.threads}"),
    )


def read(environment: Mapping[str, str]) -> Settings:
    """What write() wrote. Raises KeyError or ValueError if it didn't."""
    uid, gid = map(int, environment[_ACCOUNT].split())
    page_after, give_up_after, threads = environment[_PATIENCE].split()
    return Settings(uid, gid, Path(environment[_WARMER]), float(page_after), float(give_up_after), int(threads))
