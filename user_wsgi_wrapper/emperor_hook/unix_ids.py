"""Which uid and gid a tenant's processes run as.

`choose` decides; what it needs to know about the machine comes through `Accounts`, so that a test can be a machine.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from user_wsgi_wrapper.site import BadValueError, parse_username, shorten

FIRST_PERSON = 1000  # ids below are the system's, Debian Policy section 9.2.2
NOBODY = 65534
LAST = 2**32 - 2  # (uid_t) -1 means "no change" to chown(2)


@dataclass(frozen=True)
class Identity:
    """The unix side of a tenant: no other tenant has this uid or this gid."""

    username: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Account:
    """What the password database knows of a user. `shared_group`: someone else is in his primary group too."""

    uid: int
    gid: int
    shared_group: bool


class Accounts(Protocol):
    """The machine's id databases."""

    def find(self, username: str) -> Account | None:
        """The account of exactly this name."""

    def is_taken(self, number: int) -> bool:
        """Whether anyone on this machine has `number` as a uid or a gid."""


class Tenants(Protocol):
    """The identities given so far."""

    def of_uid(self, uid: int) -> str | None:
        """The name of the tenant who has this uid."""

    def has_gid(self, gid: int) -> bool:
        """Whether a tenant has this gid."""

    def highest(self, first: int, last: int) -> int | None:
        """The highest number of the range, both ends included, that a tenant has as his uid or his gid."""

    def numbers(self, first: int, last: int) -> Iterable[int]:
        """All numbers of the range that tenants have."""


def check(identity: Identity) -> Identity:
    """The identity itself, if its name keeps the law and its ids are a person's; raises BadValueError."""
    parse_username(identity.username)
    for number in (identity.uid, identity.gid):
        if not isinstance(number, int) or not FIRST_PERSON <= number <= LAST or number == NOBODY:
            raise BadValueError(f"username {shorten(identity.username)}: {number!r} is no id for a tenant")
    return identity


def choose(username: str, accounts: Accounts, tenants: Tenants, first: int, last: int) -> Identity:
    """The identity of a user who has none yet: his own account's if he has one, else a free number for both ids.

    `first` to `last`, both included, is the range to allocate from. Raises BadValueError for a system account, for a
    uid that is another tenant's, and if the range is used up.
    """
    account = accounts.find(username)
    if account is None:
        number = _free(accounts, tenants, first, last)
        return Identity(username, number, number)
    uid = account.uid
    if uid < FIRST_PERSON or uid == NOBODY:
        raise BadValueError(f"username {shorten(username)}: it is a system account (uid {uid})")
    owner = tenants.of_uid(uid)
    if owner is not None:
        raise BadValueError(f"username {shorten(username)}: its uid {uid} is {owner}'s already")
    if _is_private(account) and not tenants.has_gid(account.gid):
        return Identity(username, uid, account.gid)
    return Identity(username, uid, _free(accounts, tenants, first, last))


def _is_private(account: Account) -> bool:
    return account.gid >= FIRST_PERSON and account.gid != NOBODY and not account.shared_group


def _free(accounts: Accounts, tenants: Tenants, first: int, last: int) -> int:
    """The first free number above all that tenants have; once there is none, the lowest that is free again.

    To find a gap takes a look at every tenant; and what someone had a while ago is best left alone.
    """
    highest = tenants.highest(first, last)
    for number in range(first if highest is None else highest + 1, last + 1):
        if not accounts.is_taken(number):
            return number
    used = frozenset(tenants.numbers(first, last))
    for number in range(first, last + 1):
        if number not in used and not accounts.is_taken(number):
            return number
    raise BadValueError(f"ids {first} to {last}: all are in use; widen [ids] in the configuration")


class HostAccounts:
    """The id databases of this machine: passwd and group through NSS, and subordinate ids (subuid(5)).

    Make one for each choice: it reads the subordinate ids once.
    """

    def __init__(self, etc: Path = Path("/etc")) -> None:
        self._subordinate = [*_subordinate_ranges(etc / "subuid"), *_subordinate_ranges(etc / "subgid")]

    def find(self, username: str) -> Account | None:
        """The account of exactly this name; a directory service that ignores case doesn't count as having it."""
        try:
            entry = pwd.getpwnam(username)
        except KeyError:
            return None
        if entry.pw_name != username:
            return None
        return Account(entry.pw_uid, entry.pw_gid, self._is_shared(entry.pw_gid, username))

    def _is_shared(self, gid: int, username: str) -> bool:
        if any(other.pw_gid == gid and other.pw_name != username for other in pwd.getpwall()):
            return True
        try:
            return any(member != username for member in grp.getgrgid(gid).gr_mem)
        except KeyError:
            return False

    def is_taken(self, number: int) -> bool:
        """Whether `number` is someone's uid or gid, or one that someone may take on in a user namespace."""
        if any(number in numbers for numbers in self._subordinate):
            return True
        return _has(pwd.getpwuid, number) or _has(grp.getgrgid, number)


class _Lookup(Protocol):
    def __call__(self, number: int, /) -> object: ...


def _has(look_up: _Lookup, number: int) -> bool:
    try:
        look_up(number)
    except KeyError:
        return False
    return True


def _subordinate_ranges(path: Path) -> Iterator[range]:
    """The ranges of a file of lines `name:first:count`; lines that aren't are newuidmap's to complain about."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            yield range(int(fields[1]), int(fields[1]) + int(fields[2]))
