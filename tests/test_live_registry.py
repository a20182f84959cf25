"""The whole real stack over databases that other people run: an operator's tables, a server that goes away."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from tests.conftest import live_stack
from tests.databases import MariaDB, PostgreSQL, Server
from tests.live import LiveStack, wait_for
from tests.many_domains import domain, fill
from tests.registries import LAYOUT
from user_wsgi_wrapper.emperor_hook import config as configuration

GOOD = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
DOMAINS = 20_000
# An operator's tables, as Django makes them, and the query that Apache's mod_vhost_dbd asked of them.
TABLES = (
    "create table auth_user (id integer primary key, username varchar(150))",
    "create table webapps_userdomain (user_id integer, domain_name varchar(255))",
    "insert into auth_user values (1, 'Harry'), (2, 'giles')",
    "insert into webapps_userdomain values (1, 'harry.test'), (1, 'www.harry.test'), (2, 'giles.test')",
)
QUERY = (
    "SELECT concat('/mnt/user_storage/webapps/', lower(username), '/escalate_privileges.py'), "
    "username as cased_username from auth_user, webapps_userdomain "
    "where auth_user.id = webapps_userdomain.user_id and webapps_userdomain.domain_name = %s"
)


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_the_domains_of_existing_tables_are_served(kind: type[Server]) -> None:
    """No site is added: the operator's own query says whose a domain is, with the user name's case kept."""
    with kind() as server:
        url = server.new_url()
        run_in(url, *TABLES)
        with live_stack(f'[registry]\nlookup_url = "{url}"\nlookup_query = """{QUERY}"""\n') as stack:
            assert stack.request("harry.test").status == 500, "there is no wsgi.py yet, but there is a site"
            stack.write("Harry", "wsgi.py", GOOD)
            stack.command("cool", "harry.test")
            assert stack.request("www.harry.test").text == "served"
            wait_for(lambda: stack.request("harry.test").text == "served", "the other domain serves too")
            assert stack.request("nobody.test").status == 404
            assert stack.status("harry.test")["username"] == "Harry"
            stack.command("site", "add", "added.test", "--user", "Harry")
            assert stack.request("added.test").text == "served"
            said = stack.command("site", "remove", "added.test", "--purge")
            assert "added.test: removed\nits tenant's files are kept" in said
            assert stack.request("harry.test").text == "served", "the query's domains are his still"
            stack.command("cool", "harry.test")
            assert stack.request("harry.test").text == "served", "with their files"


def run_in(url: str, *statements: str) -> None:
    """Statements in a database of its own."""
    engine = sa.create_engine(url.replace("mysql://", "mysql+pymysql://"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


class Regular:
    """A visitor who asks a site again and again; `failures` are all answers but the right one."""

    def __init__(self, stack: LiveStack, domain: str) -> None:
        self.answers, self.failures = 0, list[str]()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(stack, domain))

    def _visit(self, stack: LiveStack, domain: str) -> None:
        while not self._enough.is_set():
            try:
                reply = stack.request(domain, timeout=5)
                if (reply.status, reply.text) != (200, "served"):
                    self.failures.append(f"{reply.status}: {reply.text}")
            except OSError as error:
                self.failures.append(str(error))
            self.answers += 1

    def __enter__(self) -> Regular:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_registry_that_is_gone_keeps_only_cold_sites_from_serving(kind: type[Server]) -> None:
    """They get 503 with Retry-After; warm ones never notice; once it is back, the cold ones wake, nobody helping."""
    with kind() as server:
        section = f'[registry]\nurl = "{server.new_url()}"\ntimeout = 1.0\n'
        fill(configuration.parse(section.encode(), sa.URL.create("sqlite")), LAYOUT, DOMAINS, DOMAINS // 10)
        with live_stack(section) as stack:
            stack.site("warm.test", "Warm", GOOD)
            stack.site("cold.test", "Cold", GOOD)
            stack.site("later.test", "Later", GOOD)
            assert stack.request("warm.test").text == "served"
            with Regular(stack, "warm.test") as regular:
                server.kill()
                cold = stack.request("cold.test")
                assert (cold.status, cold.headers["retry-after"]) == (503, "5")
                assert stack.request("nobody.test").status == 503
                assert stack.request(domain(DOMAINS - 1)).status == 503
                server.start_again()
                wait_for(lambda: stack.request("cold.test").text == "served", "the cold site wakes")
                assert stack.request("later.test").text == "served", "after the first answer everything is as before"
                assert stack.request("nobody.test").status == 404
                assert stack.request(domain(DOMAINS - 1)).status == 500, "there is no wsgi.py, but there is a site"
            assert regular.failures == []
            assert regular.answers > 100


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_registry_that_restarts_between_two_questions_is_no_failure(kind: type[Server]) -> None:
    """The connections that initialize kept are dead by then; the visitor of a cold site doesn't notice."""
    with kind() as server, live_stack(f'[registry]\nurl = "{server.new_url()}"\n') as stack:
        for number in range(3):
            stack.site(f"site{number}.test", f"User{number}", GOOD)
        for number in range(3):
            assert stack.request(f"site{number}.test").text == "served"
            server.kill()
            server.start()
