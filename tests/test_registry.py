"""The registry, on every kind of database that it is for."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.schema import CreateTable

from tests.databases import BACKENDS, Server, SQLite
from tests.registries import FULL, LAYOUT, TIMEOUT, assert_down_soon, config_for, execute, sqlite_config, with_lookup
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook import registry as registry_module
from user_wsgi_wrapper.emperor_hook import tables
from user_wsgi_wrapper.emperor_hook.config import Config, IdRange
from user_wsgi_wrapper.emperor_hook.config_values import database_url
from user_wsgi_wrapper.emperor_hook.database import Database
from user_wsgi_wrapper.emperor_hook.registry import (
    Identity,
    NoSuchSiteError,
    Registry,
    RegistryDownError,
    SiteExistsError,
    open_registry,
)
from user_wsgi_wrapper.emperor_hook.unix_ids import Account
from user_wsgi_wrapper.site import LIMITS, BadValueError, Site

THE_SEED_QUERY = (
    "SELECT concat('/mnt/user_storage/webapps/', lower(username), '/escalate_privileges.py'), username as "
    "cased_username from auth_user, webapps_userdomain where auth_user.id = webapps_userdomain.user_id and "
    "webapps_userdomain.domain_name = %s"
)


@pytest.fixture(scope="module", params=list(BACKENDS))
def server(request: pytest.FixtureRequest) -> Iterator[SQLite | Server]:
    with BACKENDS[request.param]() as running:
        yield running


@pytest.fixture
def config(server: SQLite | Server) -> Config:
    """A configuration with an empty database of its own."""
    url = database_url(server.new_url())
    return config_for(url)


@pytest.fixture
def file_config(tmp_path: Path) -> Config:
    """The same on SQLite, for what has nothing to do with the kind of database."""
    return sqlite_config(tmp_path / "sites.db")


@pytest.fixture
def registry(config: Config) -> Iterator[Registry]:
    opened = open_registry(config, LAYOUT)
    yield opened
    opened.close()


def make_operators_tables(config: Config, *pairs: tuple[str, str]) -> None:
    """The tables that the operator has already: users, and the domains that are theirs."""
    numbered = list(enumerate(dict.fromkeys(user for _, user in pairs), 1))
    numbers = {user: number for number, user in numbered}
    execute(
        config,
        "CREATE TABLE auth_user (id integer PRIMARY KEY, username varchar(30) NOT NULL)",
        "CREATE TABLE webapps_userdomain (domain_name varchar(255) NOT NULL, user_id integer NOT NULL)",
        *(f"INSERT INTO auth_user VALUES ({number}, '{user}')" for number, user in numbered),
        *(f"INSERT INTO webapps_userdomain VALUES ('{domain}', {numbers[user]})" for domain, user in pairs),
    )


# Sites


def test_a_site_comes_back_as_it_was_added(registry: Registry) -> None:
    """Every field survives, whatever lawful text it holds."""
    registry.add(FULL)
    plain = Site("plain.example", "Bob")
    registry.add(plain)
    assert registry.find("full.example") == FULL == registry.get("full.example")
    assert registry.find("plain.example") == plain


def test_an_unknown_domain_has_no_site(registry: Registry) -> None:
    """find() says None, get(), replace() and remove() say why not."""
    assert registry.find("none.example") is None
    for ask in (registry.get, registry.remove):
        with pytest.raises(NoSuchSiteError, match=r"domain 'none\.example': there is no such site"):
            ask("none.example")
    with pytest.raises(NoSuchSiteError):
        registry.replace(Site("none.example", "Alice"))


def test_a_domain_has_one_site(registry: Registry) -> None:
    """A second site under a domain is refused and the first stays."""
    registry.add(FULL)
    with pytest.raises(SiteExistsError, match=r"domain full\.example"):
        registry.add(Site("full.example", "Bob"))
    assert registry.get("full.example") == FULL
    assert [one.username for one in registry.identities()] == ["Alice"]


def test_a_site_can_be_changed_and_removed(registry: Registry) -> None:
    """replace() changes every field but the owner; remove() leaves the other sites."""
    registry.add(Site("full.example", "Alice"))
    registry.add(Site("other.example", "Alice"))
    registry.replace(FULL)
    assert registry.get("full.example") == FULL
    with pytest.raises(BadValueError, match="it belongs to 'Alice'"):
        registry.replace(replace(FULL, username="Bob"))
    registry.remove("full.example")
    assert registry.find("full.example") is None
    assert [site.domain for site in registry.sites()] == ["other.example"]


def test_replacing_a_site_by_itself_is_no_error(registry: Registry) -> None:
    """MySQL counts rows that changed, not rows that were found."""
    registry.add(FULL)
    registry.replace(FULL)
    assert registry.get("full.example") == FULL


def test_sites_are_listed_in_order_page_by_page(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each site is listed once, ordered by the bytes of its domain, at and between the ends of pages."""
    monkeypatch.setattr(registry_module, "_PAGE", 3)
    domains = [
        "b.example",
        "a-b.example",
        "ab.example",
        "a.example",
        "1.example",
        "a0.example",
        "xn--bcher-kva.example",
    ]
    for count, domain in enumerate(domains, 1):
        registry.add(Site(domain, "Alice" if count % 2 else "Bob"))
        assert [site.domain for site in registry.sites()] == sorted(domains[:count])
    assert [site.domain for site in registry.sites_of("Alice")] == sorted(domains[::2])
    assert list(registry.sites_of("alice")) == []


def test_sites_can_be_removed_while_they_are_listed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing holds no transaction open between its pages."""
    monkeypatch.setattr(registry_module, "_PAGE", 2)
    for number in range(5):
        registry.add(Site(f"s{number}.example", "Alice"))
    for site in registry.sites():
        registry.remove(site.domain)
    assert list(registry.sites()) == []


@pytest.mark.parametrize(
    "site",
    [
        Site("Upper.example", "Alice"),
        Site("a.example", "a/b"),
        Site("a.example", "Alice", wsgi_file="/var/../etc"),
        Site("a.example", "Alice", wsgi_file="/var/\udcff.py"),
        Site("a.example", "Alice", env=(("A=B", "c"),)),
        Site("a.example", "Alice", env=(("A", "c" * 70_000),)),
        Site("a.example", "Alice", static=(("/static/", "/var/www"),)),
        Site("a.example", "Alice", processes=0),
        Site("a" * 63 + "." + "b" * 40, "Alice"),
    ],
)
def test_an_unlawful_site_is_refused_with_nothing_changed(file_config: Config, site: Site) -> None:
    """The error is one line, and neither the site nor its user is in the registry."""
    registry = open_registry(file_config, LAYOUT)
    with pytest.raises(BadValueError) as caught:
        registry.add(site)
    assert len(str(caught.value).splitlines()) == 1
    assert list(registry.sites()) == []
    assert registry.identities() == []
    registry.close()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("static = '[1]'", "JSON list of pairs"),
        ("static = '[[\"/a\", 1]]'", "JSON list of pairs"),
        ("env = '" + "[" * 5000 + "'", "JSON list of pairs"),
        ('env = \'[["UWSGI_FILE", "/x"]]\'', "reserved"),
        ("wsgi_file = '/var/../../x'", "'..' parts"),
        ("processes = 0", "from 1 to 64"),
        ("log_format = 'xml'", "text or json"),
        ("preflight = 'run'", "import, compile or off"),
    ],
)
def test_what_someone_wrote_into_the_tables_is_checked(file_config: Config, change: str, complaint: str) -> None:
    """A row that breaks the law is an error that names the domain, never a site."""
    registry = open_registry(file_config, LAYOUT)
    registry.add(FULL)
    execute(file_config, f"UPDATE user_wsgi_sites SET {change}")
    for ask in (lambda: registry.find("full.example"), lambda: list(registry.sites())):
        with pytest.raises(BadValueError, match=r"site 'full\.example' in the registry: ") as caught:
            ask()
        assert complaint in str(caught.value)
    registry.remove("full.example")
    registry.close()


@pytest.mark.parametrize("number", [0, 999, 65534, -1, 2**32 - 1])
def test_ids_that_no_tenant_may_have_are_never_handed_out(file_config: Config, number: int) -> None:
    """Whoever writes root's uid into the table makes nobody root."""
    registry = open_registry(file_config, LAYOUT)
    registry.identity("Alice")
    execute(file_config, f"UPDATE user_wsgi_users SET uid = {number}")
    for ask in (lambda: registry.identity("Alice"), registry.identities):
        with pytest.raises(BadValueError, match=f"'Alice': {number} is no id for a tenant"):
            ask()
    registry.close()


# Identities


def test_an_identity_is_chosen_once(registry: Registry, config: Config) -> None:
    """The same user has the same ids ever after, for another process's registry too; others have other ids."""
    alice = registry.identity("Alice")
    bob = registry.identity("Bob")
    assert alice == Identity("Alice", config.ids.first, config.ids.first)
    assert bob == Identity("Bob", config.ids.first + 1, config.ids.first + 1)
    again = open_registry(config, LAYOUT)
    assert (again.identity("Alice"), again.identity("Bob")) == (alice, bob)
    assert registry.identities() == [alice, bob]
    again.close()


def test_identities_are_found_by_their_uids(registry: Registry) -> None:
    """Of any number of uids those that are tenants', each once."""
    alice, bob = registry.identity("Alice"), registry.identity("Bob")
    registry.identity("Carol")
    assert registry.identities_of([bob.uid, 0, alice.uid, *range(3_000_000, 3_002_000), alice.uid]) == [alice, bob]
    assert registry.identities_of([]) == []


def test_adding_a_site_gives_its_user_an_identity(registry: Registry) -> None:
    """A site that can have no identity is refused, not left without one."""
    registry.add(Site("a.example", "Alice"))
    assert [one.username for one in registry.identities()] == ["Alice"]
    with pytest.raises(BadValueError, match="'root': it is a system account"):
        registry.add(Site("b.example", "root"))
    assert registry.find("b.example") is None


def test_names_that_differ_only_in_case_are_refused(registry: Registry) -> None:
    """The first comer keeps the name, in his case; whatever is asked for the second is refused."""
    registry.add(Site("a.example", "Alice"))
    for ask in (
        lambda: registry.add(Site("b.example", "alice")),
        lambda: registry.identity("ALICE"),
    ):
        with pytest.raises(BadValueError, match="there is 'Alice' already, which differs only in case"):
            ask()
    assert registry.find("b.example") is None
    assert registry.identity("Alice").username == "Alice"


def test_ids_are_used_again_only_after_the_user_is_forgotten(config: Config) -> None:
    """A removed site keeps its user's ids; a user with a site can't be forgotten. New numbers come first."""
    registry = open_registry(replace(config, ids=IdRange(200_000, 200_002)), LAYOUT)
    registry.add(Site("a.example", "Alice"))
    alice = registry.identity("Alice")
    with pytest.raises(SiteExistsError, match=r"'Alice': there is a site of his still, a\.example"):
        registry.forget_user("Alice")
    registry.remove("a.example")
    assert registry.identity("Bob").uid != alice.uid
    registry.forget_user("Alice")
    registry.forget_user("Alice")
    assert registry.identity("Carol").uid == 200_002
    assert registry.identity("Dave").uid == alice.uid
    registry.close()


def test_forgetting_looks_at_the_case_of_the_name(registry: Registry) -> None:
    """MySQL's usual comparison would forget another user."""
    alice = registry.identity("Alice")
    registry.forget_user("alice")
    assert registry.identities() == [alice]


def test_a_range_that_is_used_up_is_an_error(config: Config) -> None:
    """The error names the range, and those who have ids keep them."""
    registry = open_registry(replace(config, ids=IdRange(200_000, 200_001)), LAYOUT)
    both = [registry.identity("a"), registry.identity("b")]
    with pytest.raises(BadValueError, match="ids 200000 to 200001: all are in use"):
        registry.add(Site("c.example", "c"))
    assert registry.identities() == both
    assert list(registry.sites()) == []
    registry.close()


class OneAccount:
    """A machine with one account."""

    def find(self, username: str) -> Account | None:
        return Account(1001, 1002, shared_group=False) if username == "Alice" else None

    def is_taken(self, number: int) -> bool:
        return number == 200_000


def test_the_machines_accounts_are_asked(config: Config) -> None:
    """A user with an account gets its ids; a number that the machine uses is never allocated."""
    registry = Registry(config, LAYOUT, OneAccount)
    assert registry.identity("Alice") == Identity("Alice", 1001, 1002)
    assert registry.identity("Bob") == Identity("Bob", 200_001, 200_001)
    registry.close()


# Several at once


def in_processes(count: int, work, *arguments) -> list:
    """What `work(number, *arguments)` gives in each of `count` forked processes that start together."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(count), context.SimpleQueue()

    def run(number: int) -> None:
        barrier.wait(30)
        try:
            answers.put(work(number, *arguments))
        except BaseException as error:
            answers.put(error)

    processes = [context.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    gathered = [answers.get() for _ in processes]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    answers.close()
    for answer in gathered:
        if isinstance(answer, BaseException):
            raise answer
    return gathered


def test_processes_that_open_an_empty_database_at_once_agree(config: Config) -> None:
    """The tables are made once, nobody fails; the same user has the same ids, different users different ones."""

    def work(number: int) -> list[Identity]:
        registry = open_registry(config, LAYOUT)
        shared = [registry.identity(f"shared{count}") for count in range(5)]
        own = [registry.identity(f"own{number}-{count}") for count in range(5)]
        registry.close()
        return shared + own

    gathered = in_processes(6, work)
    distinct = {identity for answer in gathered for identity in answer}
    assert len({tuple(answer[:5]) for answer in gathered}) == 1
    assert len(distinct) == 5 + 6 * 5
    assert len({one.uid for one in distinct}) == len({one.gid for one in distinct}) == len(distinct)


def test_a_registry_that_was_used_before_a_fork_works_on_both_sides(registry: Registry) -> None:
    """A child neither uses nor closes its parent's connections."""
    registry.add(FULL)

    def work(number: int) -> Identity:
        for _ in range(20):
            assert registry.find("full.example") == FULL
        identity = registry.identity(f"user{number}")
        registry.close()
        return identity

    identities = in_processes(4, work)
    assert len({one.uid for one in identities}) == 4
    assert registry.find("full.example") == FULL
    assert len(registry.identities()) == 5


def test_threads_share_a_registry(registry: Registry) -> None:
    """More threads than pooled connections each get their answer; ids stay distinct."""

    def work(number: int) -> int:
        registry.add(Site(f"s{number}.example", f"user{number}"))
        assert registry.get(f"s{number}.example").username == f"user{number}"
        return registry.identity(f"user{number}").uid

    with ThreadPoolExecutor(24) as pool:
        uids = list(pool.map(work, range(24)))
    assert len(set(uids)) == 24
    assert len(list(registry.sites())) == 24


def test_of_many_who_add_one_domain_one_succeeds(registry: Registry) -> None:
    """The others are told that there is a site."""

    def work(number: int) -> str:
        try:
            registry.add(Site("a.example", f"user{number}"))
        except SiteExistsError:
            return ""
        return f"user{number}"

    with ThreadPoolExecutor(8) as pool:
        winners = [name for name in pool.map(work, range(8)) if name]
    assert winners == [registry.get("a.example").username]


def test_a_creation_that_was_cut_off_is_completed(config: Config) -> None:
    """MySQL commits each CREATE by itself, so a kill can leave some tables, or no version."""
    execute(config, str(CreateTable(tables.schema)))
    registry = open_registry(config, LAYOUT)
    registry.add(FULL)
    assert registry.get("full.example") == FULL
    registry.close()


def test_tables_of_an_earlier_version_are_completed_with_their_rows(registry: Registry, config: Config) -> None:
    """Several programs may find them at the same time; one completes them."""
    registry.add(FULL)
    for columns in tables.ADDED:
        for column in columns:
            execute(config, f"ALTER TABLE user_wsgi_sites DROP COLUMN {column.name}")
    execute(config, "UPDATE user_wsgi_schema SET version = 1")

    def look(_number: int) -> Site:
        newcomer = open_registry(config, LAYOUT)
        try:
            return newcomer.get("full.example")
        finally:
            newcomer.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(look, range(4))) == {replace(FULL, preflight="import", **dict.fromkeys(LIMITS))}
    registry.replace(FULL)
    assert registry.get("full.example") == FULL


def test_tables_of_another_version_are_left_alone(registry: Registry, config: Config) -> None:
    """A program that doesn't know the tables says so and reads nothing."""
    registry.add(FULL)
    execute(config, "UPDATE user_wsgi_schema SET version = 99")
    newcomer = open_registry(config, LAYOUT)
    with pytest.raises(RegistryDownError, match="version 99, this program knows 3"):
        newcomer.find("full.example")
    newcomer.close()


# The operator's own tables


@pytest.mark.parametrize("query", [THE_SEED_QUERY, THE_SEED_QUERY.replace("%s", ":domain") + ";"])
def test_a_query_over_existing_tables_tells_whose_a_domain_is(config: Config, query: str) -> None:
    """The query that mod_vhost_dbd was given works unchanged; the site has the configured defaults."""
    make_operators_tables(config, ("one.example", "Alice"), ("two.example", "Alice"), ("bob.example", "bob"))
    defaults = configuration.SiteDefaults(idle=30, processes=2, threads=3, memory=256)
    registry = open_registry(replace(with_lookup(config, query), sites=defaults), LAYOUT)
    expected = Site("two.example", "Alice", idle=30, processes=2, threads=3, memory=256)
    assert registry.find("two.example") == expected
    assert registry.find("bob.example").username == "bob"
    assert registry.find("none.example") is None
    assert registry.find("x' or '1'='1") is None
    with pytest.raises(NoSuchSiteError):
        registry.get("two.example")
    registry.close()


def test_a_site_that_was_added_comes_before_the_query(config: Config) -> None:
    """So an operator can give one looked-up site settings of its own."""
    make_operators_tables(config, ("one.example", "Alice"))
    registry = open_registry(with_lookup(config, THE_SEED_QUERY), LAYOUT)
    assert registry.find("one.example").idle == 600
    registry.add(Site("one.example", "Alice", idle=5))
    assert registry.find("one.example").idle == 5
    registry.remove("one.example")
    assert registry.find("one.example").idle == 600
    registry.close()


def test_a_site_and_its_user_s_identity_are_found_together(config: Config) -> None:
    """As by find() and identity(): of one that was added, of one that the query tells of, of one that isn't there."""
    make_operators_tables(config, ("a.example", "Alice"))
    registry = open_registry(with_lookup(config, THE_SEED_QUERY), LAYOUT)
    registry.add(FULL)
    for domain in (FULL.domain, "a.example"):
        found = registry.find(domain)
        assert found is not None
        assert registry.find_with_identity(domain) == (found, registry.identity(found.username))
    assert registry.find_with_identity("nobody.example") is None
    registry.close()


def test_a_query_means_what_it_says(config: Config, server: SQLite | Server) -> None:
    """Percent signs, colons, casts, modulo, comments and quoted placeholders need no escaping."""
    make_operators_tables(config, ("one.example", "Alice"), ("two.example", "Bob"))
    cast = "'7'::integer" if server.backend == "postgresql" else "7"
    query = f"""
        SELECT username FROM auth_user, webapps_userdomain -- it's :domain, 100 %s
        WHERE auth_user.id = user_id /* %s */ AND domain_name = :domain AND domain_name LIKE '%.example'
        AND '12:30 :domain %s %% it''s' LIKE '12:30 :d%' AND {cast} % 4 = 3 AND domain_name = %s
    """
    registry = open_registry(with_lookup(config, query), LAYOUT)
    assert registry.find("one.example").username == "Alice"
    assert registry.find("two.example").username == "Bob"
    assert registry.find("three.example") is None
    registry.close()


def test_rows_must_agree_on_the_user(config: Config) -> None:
    """The same user twice is one user; two users are an error that names both."""
    make_operators_tables(config, ("a.example", "Alice"), ("a.example", "Alice"), ("b.example", "Alice"))
    registry = open_registry(with_lookup(config, THE_SEED_QUERY), LAYOUT)
    assert registry.find("a.example").username == "Alice"
    execute(
        config, "INSERT INTO auth_user VALUES (7, 'Bob')", "INSERT INTO webapps_userdomain VALUES ('b.example', 7)"
    )
    with pytest.raises(
        BadValueError, match=r"domain b\.example: registry\.lookup_query: it gives two users"
    ) as caught:
        registry.find("b.example")
    assert "'Alice'" in str(caught.value)
    assert "'Bob'" in str(caught.value)
    registry.close()


@pytest.mark.parametrize("name", ["a/b", "..", "al ice", "", "x" * 30 + "$"])
def test_a_users_name_that_breaks_the_law_is_refused_wherever_it_is_from(file_config: Config, name: str) -> None:
    """The operator's tables may hold what can be no folder."""
    make_operators_tables(file_config, ("a.example", "Alice"))
    execute(file_config, "CREATE TABLE names (username varchar(80))", f"INSERT INTO names VALUES ('{name}')")
    registry = open_registry(with_lookup(file_config, "SELECT username FROM names WHERE 'a.example' = %s"), LAYOUT)
    with pytest.raises(BadValueError, match="username"):
        registry.find("a.example")
    registry.close()


def test_case_twins_are_refused_among_looked_up_users_too(config: Config) -> None:
    """Whoever of the two came first is served, the other is an error."""
    make_operators_tables(config, ("upper.example", "Alice"), ("lower.example", "alice"))
    registry = open_registry(with_lookup(config, THE_SEED_QUERY), LAYOUT)
    registry.identity(registry.find("lower.example").username)
    assert registry.find("lower.example").username == "alice"
    with pytest.raises(BadValueError, match="'Alice': there is 'alice' already"):
        registry.find("upper.example")
    registry.close()


def test_the_query_may_go_to_another_database(config: Config, server: SQLite | Server) -> None:
    """The registry's own tables and the operator's needn't be neighbors."""
    elsewhere = database_url(server.new_url())
    make_operators_tables(replace(config, registry=replace(config.registry, url=elsewhere)), ("a.example", "Alice"))
    database = replace(config.registry, lookup_url=elsewhere, lookup_query=THE_SEED_QUERY)
    registry = open_registry(replace(config, registry=database), LAYOUT)
    assert registry.find("a.example").username == "Alice"
    assert registry.identity("Alice").uid == 200_000
    registry.close()


def test_the_lookup_database_is_opened_for_reading_only(config: Config) -> None:
    """A query that writes is refused by the database itself."""
    make_operators_tables(config, ("a.example", "Alice"))
    database = Database(config.registry.url, TIMEOUT, read_only=True)
    with pytest.raises(RegistryDownError, match=r"read.?only|READ ONLY"), database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM auth_user")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM auth_user").scalar() == 1
    database.close()


def test_a_query_that_the_database_refuses_is_told_on_one_line(config: Config) -> None:
    """A table that isn't there is the registry's failure, not an unknown domain."""
    registry = open_registry(with_lookup(config, "SELECT username FROM missing WHERE d = %s"), LAYOUT)
    with pytest.raises(RegistryDownError, match="missing") as caught:
        registry.find("a.example")
    assert len(str(caught.value).splitlines()) == 1
    registry.close()


def test_a_writer_that_never_ends_holds_up_writers_for_a_while_and_readers_not_at_all(
    config: Config, registry: Registry
) -> None:
    """A stuck process makes changes fail in time, and warm-ups go on."""
    registry.add(FULL)
    stuck = open_registry(config, LAYOUT)
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with stuck._store.writing():
            holding.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(10)
        assert_down_soon(lambda: registry.add(Site("b.example", "Bob")))
        assert registry.find("full.example") == FULL
        assert registry.identity("Alice").username == "Alice"
    finally:
        done.set()
        thread.join()
    registry.add(Site("b.example", "Bob"))
    stuck.close()
