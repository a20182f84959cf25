"""The whole real stack over databases that other people run: an operator's tables, a server that goes away."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.conftest import live_stack
from tests.databases import MariaDB, PostgreSQL, Server
from tests.live import wait_for

GOOD = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
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


def run_in(url: str, *statements: str) -> None:
    """Statements in a database of its own."""
    engine = sa.create_engine(url.replace("mysql://", "mysql+pymysql://"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def test_a_registry_that_is_gone_keeps_only_cold_sites_from_serving() -> None:
    """They get 503 with Retry-After; warm ones never notice; once it is back, the cold ones wake."""
    with PostgreSQL() as server, live_stack(f'[registry]\nurl = "{server.new_url()}"\ntimeout = 1.0\n') as stack:
        stack.site("warm.test", "Warm", GOOD)
        stack.site("cold.test", "Cold", GOOD)
        assert stack.request("warm.test").text == "served"
        server.kill()
        cold = stack.request("cold.test")
        assert (cold.status, cold.headers["retry-after"]) == (503, "5")
        assert stack.request("nobody.test").status == 503
        assert stack.request("warm.test").text == "served"
        server.start_again()
        wait_for(lambda: stack.request("cold.test").text == "served", "the cold site wakes")
