"""The account that initialize's HTTP side runs as: of its own, with no files, no login and no rights."""

from __future__ import annotations

import fcntl
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import program
from user_wsgi_wrapper.site import BadValueError, shorten

_USERADD = Path("/usr/sbin/useradd")
_LOCK = Path("/run/uww-account.lock")
_PATIENCE = 10.0  # seconds, while somebody else holds the lock of the password database
_TRY_AGAIN = 0.1


def find(name: str) -> tuple[int, int]:
    """The account's uid and gid. Raises BadValueError if there is none, or if it is root's."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BadValueError(f"user {shorten(name)} of [warm]: no such account on this machine") from None
    if entry.pw_uid == 0 or entry.pw_gid == 0:
        raise BadValueError(f"user {shorten(name)} of [warm]: it has root's uid or gid")
    return entry.pw_uid, entry.pw_gid


def is_there(name: str) -> bool:
    """Whether there is an account of that name, fit or not."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def command(name: str) -> list[str | Path]:
    """What makes the account (useradd(8)): a system account, whose uid no tenant can have."""
    return [
        _USERADD, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
        "--shell", "/usr/sbin/nologin", name,
    ]  # fmt: skip


def can_be_made() -> bool:
    """Whether this process may make accounts and the machine has the program for it."""
    return os.geteuid() == 0 and _USERADD.exists()


def ensure(name: str) -> tuple[int, int]:
    """find(), after making the account if it isn't there; of several who try at once one makes it."""
    if not is_there(name):
        with _lock():
            _make_unless_there(name)
    return find(name)


def _make_unless_there(name: str) -> None:
    give_up_at = time.monotonic() + _PATIENCE
    while not is_there(name):
        try:
            program.run(command(name), _PATIENCE)
        except OSError as error:
            raise _not_made(name, error) from None
        except program.ProgramError as error:  # perhaps only that somebody else changes the password database
            if time.monotonic() > give_up_at:
                raise _not_made(name, error) from None
            time.sleep(_TRY_AGAIN)


def _not_made(name: str, why: Exception) -> BadValueError:
    return BadValueError(f"user {shorten(name)} of [warm]: it can't be made: {why}")


@contextmanager
def _lock() -> Iterator[None]:
    """Of two useradd that run at once both may make an account of one name; the kernel frees this at our death."""
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
