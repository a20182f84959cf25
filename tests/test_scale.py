"""What is asked of the registry, however many domains and tenants there are, is answered by an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.databases import BACKENDS
from tests.many_domains import FIRST_ID, domain, fill, username
from tests.registries import LAYOUT, config_for
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook.config_values import database_url
from user_wsgi_wrapper.emperor_hook.registry import Registry, open_registry
from user_wsgi_wrapper.emperor_hook.unix_ids import Identity
from user_wsgi_wrapper.site import Site

DOMAINS, TENANTS = 20_000, 2_000
# What the databases' EXPLAIN calls a look at every row of a table.
_EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN", "mysql": "EXPLAIN"}
_SCAN = re.compile(r"SCAN user_wsgi_|Seq Scan on user_wsgi_|^\d+ \w+ user_wsgi_\w+ (ALL|index) ")


@pytest.fixture(scope="module", params=BACKENDS)
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A registry with many domains."""
    with BACKENDS[request.param]() as server:
        config = replace(
            config_for(database_url(server.new_url())), ids=configuration.IdRange(FIRST_ID, FIRST_ID + 10 * TENANTS)
        )
        fill(config, LAYOUT, DOMAINS, TENANTS)
        opened = open_registry(config, LAYOUT)
        yield opened
        opened.close()


QUESTIONS: dict[str, Callable[[Registry], object]] = {
    "find": lambda registry: registry.find(domain(DOMAINS // 2)),
    "find nobody's": lambda registry: registry.find("nobody.example"),
    "add": lambda registry: registry.add(Site("new.example", "Newcomer")),
    "add another of a tenant's": lambda registry: registry.add(Site("second.example", username(3))),
    "change": lambda registry: registry.replace(Site(domain(7), username(7), idle=1)),
    "remove": lambda registry: registry.remove(domain(8)),
    "identity": lambda registry: registry.identity(username(9)),
    "new identity": lambda registry: registry.identity("Stranger"),
    "identities of uids": lambda registry: registry.identities_of([FIRST_ID, FIRST_ID + 1]),
    "sites of a tenant": lambda registry: list(registry.sites_of(username(10))),
    "first site": lambda registry: next(registry.sites()),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_looks_at_every_row(registry: Registry, question: str) -> None:
    """The database's own plan for each statement says so."""
    database = registry._store.database
    statements: list[tuple[str, object]] = []

    def remember(_connection, _cursor, statement, parameters, _context, _many) -> None:
        statements.append((statement, parameters))

    with database.reading() as connection:
        engine = connection.engine
    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        QUESTIONS[question](registry)
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    explained = [
        one for one in statements if re.match("SELECT|UPDATE|DELETE", one[0]) and "user_wsgi_schema" not in one[0]
    ]
    assert explained
    for statement, parameters in explained:
        with database.reading() as connection:
            result = connection.exec_driver_sql(f"{_EXPLAIN[database.backend]} {statement}", parameters)
            plan = [" ".join(str(cell) for cell in row) for row in result]
        assert not [line for line in plan if _SCAN.search(line)], f"{statement}\n{plan}"


def test_a_new_tenants_ids_are_nobodys(registry: Registry) -> None:
    """The next free number, though all others were put there by somebody else."""
    first, second = registry.identity("First"), registry.identity("Second")
    assert FIRST_ID + TENANTS <= first.uid == first.gid < second.uid == second.gid
    assert registry.identities_of([FIRST_ID, FIRST_ID + TENANTS - 1]) == [
        Identity(username(number), FIRST_ID + number, FIRST_ID + number) for number in (0, TENANTS - 1)
    ]


def test_all_sites_are_listed_once_and_in_order(registry: Registry) -> None:
    """However many pages they fill."""
    names = [site.domain for site in registry.sites()]
    assert names == sorted(names)
    assert len(set(names)) == len(names) >= DOMAINS - 1
