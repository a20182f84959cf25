"""Which sites there are, whose they are, and which uid and gid each tenant has.

The sites that the operator adds are kept in the registry's own tables; a `lookup_query` adds those of tables that
are there already. What comes from either is checked against the naming law before anyone gets to see it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy import Connection

from user_wsgi_wrapper.emperor_hook import identities, lookup_query, tables, unix_ids
from user_wsgi_wrapper.emperor_hook.config import Config
from user_wsgi_wrapper.emperor_hook.database import Database, RegistryDownError
from user_wsgi_wrapper.emperor_hook.store import Store
from user_wsgi_wrapper.emperor_hook.tables import sites, users
from user_wsgi_wrapper.emperor_hook.unix_ids import Accounts, Identity
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site, parse_username, shorten

__all__ = [
    "Identity",
    "NoSuchSiteError",
    "Registry",
    "RegistryDownError",
    "SiteExistsError",
    "open_registry",
]

_PAGE = 500  # rows of one answer while sites are listed


class SiteExistsError(Exception):
    """The domain has a site, or the user has sites, that stand in the way; str() is one line."""


class NoSuchSiteError(Exception):
    """There is no site under this domain; str() is one line."""


class Registry:
    """The sites and the tenants. Safe with threads and after a fork; connects when it is first asked.

    Every method raises RegistryDownError if its database can't be asked, and BadValueError if what is given or what
    comes out breaks the naming law. Domains are given in their canonical form (site.parse_domain).
    """

    def __init__(
        self, config: Config, layout: Layout, accounts: Callable[[], Accounts] = unix_ids.HostAccounts
    ) -> None:
        self._config = config
        self._layout = layout
        self._accounts = accounts
        self._store = Store(config.registry.url, config.registry.timeout)
        self._lookup = _make_lookup(config)

    @property
    def has_lookup(self) -> bool:
        """Whether a user may have domains that only the lookup query tells of: nobody can list those."""
        return self._lookup is not None

    def find(self, domain: str) -> Site | None:
        """The site under `domain`: one that was added, else one that the lookup query tells of."""
        return self._added(domain) or self._look_up(domain)

    def find_with_identity(self, domain: str) -> tuple[Site, Identity] | None:
        """find() and its user's identity(), in one question if both are known: a cold site's visitor waits for it."""
        with self._store.reading() as connection:
            site = _added(connection, domain)
            known = None if site is None else identities.known(connection, site.username)
        site = site or self._look_up(domain)
        return None if site is None else (site, known or self.identity(site.username))

    def get(self, domain: str) -> Site:
        """The site that was added under `domain`; raises NoSuchSiteError."""
        site = self._added(domain)
        if site is None:
            raise _no_such_site(domain)
        return site

    def add(self, site: Site) -> None:
        """Add a site, and give its user an identity if he has none. Raises SiteExistsError."""
        self.add_all([site])

    def add_all(self, added: Iterable[Site]) -> None:
        """Add sites, all of them or none, as add() does one."""
        rows = [(site, self._lawful_row(site)) for site in added]
        accounts = self._accounts()
        with self._store.writing() as connection:
            for site, row in rows:
                if _owner(connection, site.domain) is not None:
                    raise SiteExistsError(f"domain {site.domain}: there is a site already")
                self._identify(connection, site.username, accounts)
                connection.execute(sites.insert().values(row))

    def replace(self, site: Site) -> None:
        """Change the settings of a site. Raises NoSuchSiteError; a site's user can't change."""
        row = self._lawful_row(site)
        with self._store.writing() as connection:
            owner = _owner(connection, site.domain)
            if owner is None:
                raise _no_such_site(site.domain)
            if owner != site.username:
                raise BadValueError(
                    f"domain {site.domain}: it belongs to {shorten(owner)}; remove it and add it again"
                )
            connection.execute(sites.update().where(sites.c.domain == site.domain).values(row))

    def remove(self, domain: str) -> None:
        """Forget a site; its user keeps his identity. Raises NoSuchSiteError."""
        with self._store.writing() as connection:
            if connection.execute(sites.delete().where(sites.c.domain == domain)).rowcount == 0:
                raise _no_such_site(domain)

    def sites(self) -> Iterator[Site]:
        """All sites that were added, ordered by domain, however many: a page of them is in memory at a time."""
        return self._pages(sa.select(sites))

    def sites_of(self, username: str) -> Iterator[Site]:
        """A user's sites that were added, ordered by domain."""
        return self._pages(sa.select(sites).where(sites.c.username == username))

    def _pages(self, query: sa.Select[tuple[object, ...]]) -> Iterator[Site]:
        query = query.order_by(sites.c.domain).limit(_PAGE)
        last = ""
        while True:
            with self._store.reading() as connection:
                rows = connection.execute(query.where(sites.c.domain > last)).all()
            for row in rows:
                yield tables.to_site(row)
            if len(rows) < _PAGE:
                return
            last = str(rows[-1].domain)

    def identity(self, username: str) -> Identity:
        """A user's identity, chosen at the first call and the same ever after; of all processes one chooses."""
        parse_username(username)
        with self._store.reading() as connection:
            known = identities.known(connection, username)
        if known is not None:
            return known
        accounts = self._accounts()
        with self._store.writing() as connection:
            return self._identify(connection, username, accounts)

    def known_identity(self, username: str) -> Identity | None:
        """A user's identity if it was chosen already; nothing is."""
        parse_username(username)
        with self._store.reading() as connection:
            return identities.known(connection, username)

    def identities(self) -> list[Identity]:
        """Everyone's identity, ordered by user name."""
        with self._store.reading() as connection:
            return identities.everyone(connection)

    def identities_of(self, uids: Collection[int]) -> list[Identity]:
        """The identities that have one of these uids, ordered by uid."""
        with self._store.reading() as connection:
            return identities.with_uids(connection, uids)

    def forget_user(self, username: str) -> None:
        """Free a user's ids for others; nothing if he has none. For when no file and no process of his is left.

        Raises SiteExistsError while he has a site that was added.
        """
        with self._store.writing() as connection:
            query = sa.select(sites.c.domain).where(sites.c.username == username).order_by(sites.c.domain).limit(1)
            domain = connection.scalar(query)
            if domain is not None:
                raise SiteExistsError(f"username {shorten(username)}: there is a site of his still, {domain}")
            connection.execute(users.delete().where(users.c.username == username))

    def close(self) -> None:
        """Close this process's idle connections. The registry can still be used; it connects again."""
        self._store.database.close()
        if self._lookup is not None:
            self._lookup.database.close()

    def _lawful_row(self, site: Site) -> dict[str, object]:
        self._layout.socket(site.domain)  # raises BadValueError if the root leaves no room for so long a name
        return tables.to_row(site)

    def _added(self, domain: str) -> Site | None:
        with self._store.reading() as connection:
            return _added(connection, domain)

    def _look_up(self, domain: str) -> Site | None:
        if self._lookup is None:
            return None
        username = self._lookup.username(domain)
        if username is None:
            return None
        with self._store.reading() as connection:
            identities.known(connection, username)
        return self._config.sites.site(domain, username)

    def _identify(self, connection: Connection, username: str, accounts: Accounts) -> Identity:
        known = identities.known(connection, username)
        if known is not None:
            return known
        ids = self._config.ids
        tenants = identities.Tenants(connection)
        new = unix_ids.check(unix_ids.choose(username, accounts, tenants, ids.first, ids.last))
        identities.add(connection, new)
        return new


def open_registry(config: Config, layout: Layout) -> Registry:
    """The registry of the configuration, with this machine's accounts. Doesn't connect yet."""
    return Registry(config, layout)


class _Lookup:
    """The operator's query and the database that it is put to."""

    def __init__(self, database: Database, query: lookup_query.LookupQuery) -> None:
        self.database = database
        self._statement = query.statement("named" if database.backend == "sqlite" else "pyformat")

    def username(self, domain: str) -> str | None:
        with self.database.reading() as connection:
            result = connection.exec_driver_sql(self._statement, {"domain": domain})
            try:
                return lookup_query.username(list(result.keys()), result)
            except BadValueError as error:
                raise BadValueError(f"domain {domain}: registry.lookup_query: {error}") from None


def _make_lookup(config: Config) -> _Lookup | None:
    settings = config.registry
    if settings.lookup_query is None:
        return None
    database = Database(settings.lookup_url, settings.timeout, read_only=True)
    return _Lookup(database, lookup_query.parse(settings.lookup_query, database.backend))


def _no_such_site(domain: str) -> NoSuchSiteError:
    return NoSuchSiteError(f"domain {shorten(domain)}: there is no such site")


def _added(connection: Connection, domain: str) -> Site | None:
    row = connection.execute(sa.select(sites).where(sites.c.domain == domain)).first()
    return None if row is None else tables.to_site(row)


def _owner(connection: Connection, domain: str) -> str | None:
    return connection.scalar(sa.select(sites.c.username).where(sites.c.domain == domain))
