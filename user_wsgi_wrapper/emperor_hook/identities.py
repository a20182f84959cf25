"""The tenants' identities as the registry keeps them. Whatever is asked, an index answers, however many there are."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain

import sqlalchemy as sa
from sqlalchemy import Connection

from user_wsgi_wrapper.emperor_hook import unix_ids
from user_wsgi_wrapper.emperor_hook.tables import users
from user_wsgi_wrapper.emperor_hook.unix_ids import Identity
from user_wsgi_wrapper.site import BadValueError, shorten

_AT_ONCE = 500  # numbers in one query; SQLite takes 999 at most in its older versions


def known(connection: Connection, username: str) -> Identity | None:
    """The user's identity, if he has one. Raises BadValueError if another user's name is the same but for case."""
    row = connection.execute(sa.select(users).where(users.c.folded == _fold(username))).first()
    if row is None:
        return None
    if row.username != username:
        raise BadValueError(
            f"username {shorten(username)}: there is {shorten(row.username)} already, which differs only in case"
        )
    return _checked(row)


def everyone(connection: Connection) -> list[Identity]:
    """All of them, ordered by user name."""
    return [_checked(row) for row in connection.execute(sa.select(users).order_by(users.c.username))]


def with_uids(connection: Connection, uids: Collection[int]) -> list[Identity]:
    """Those whose uid is one of these, ordered by it."""
    wanted = sorted(set(uids))
    found: list[Identity] = []
    for start in range(0, len(wanted), _AT_ONCE):
        query = sa.select(users).where(users.c.uid.in_(wanted[start : start + _AT_ONCE])).order_by(users.c.uid)
        found += [_checked(row) for row in connection.execute(query)]
    return found


def add(connection: Connection, identity: Identity) -> None:
    """Keep a new one; the caller has seen to it that it collides with nobody's."""
    row = {"folded": _fold(identity.username), "uid": identity.uid, "gid": identity.gid}
    connection.execute(users.insert().values(username=identity.username, **row))


class Tenants:
    """What unix_ids.choose asks about the tenants there are, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_uid(self, uid: int) -> str | None:
        """The name of the tenant who has this uid."""
        return self._connection.scalar(sa.select(users.c.username).where(users.c.uid == uid))

    def has_gid(self, gid: int) -> bool:
        """Whether a tenant has this gid."""
        return self._connection.scalar(sa.select(users.c.gid).where(users.c.gid == gid)) is not None

    def highest(self, first: int, last: int) -> int | None:
        """The highest number of the range that a tenant has as his uid or his gid."""
        columns = (users.c.uid, users.c.gid)
        # MAX with bounds is one step into the index in all three databases
        queries = (sa.select(sa.func.max(column)).where(column.between(first, last)) for column in columns)
        found = [number for query in queries if (number := self._connection.scalar(query)) is not None]
        return max(found, default=None)

    def numbers(self, first: int, last: int) -> Iterator[int]:
        """All numbers of the range that tenants have. There may be very many."""
        columns = (users.c.uid, users.c.gid)
        queries = (sa.select(column).where(column.between(first, last)) for column in columns)
        return chain.from_iterable(self._connection.scalars(query) for query in queries)


def _fold(username: str) -> str:
    return username.lower()  # user names are ASCII


def _checked(row: sa.Row[tuple[object, ...]]) -> Identity:
    return unix_ids.check(Identity(row.username, row.uid, row.gid))
