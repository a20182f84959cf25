"""The advice in a failure's record, under real uWSGI: the mistakes of tests/apps that have one."""

import os
import re
import shutil
import sqlite3

import pytest

from tests.bare_uwsgi import APPS, ROOT, BareUwsgi

REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]
THREADS = pytest.mark.parametrize("threads", [1, 8])
NOBODY = 65534

# A mistake in what is loaded, and the advice; WWW stands for the folder of wsgi.py.
LOADING = {
    "runs_wsgiref_server": r"WWW/wsgi\.py line 12 starts a server of its own, wsgiref's make_server\(\), while the "
    r"site is loaded; .*: put that call under `if __name__ == '__main__':`",
    "runs_http_server": r"WWW/site_code\.py line 5 starts a server of its own, .*",
    "misses_package": r"'telebot', which WWW/wsgi\.py line 1 imports, isn't installed: make a virtual environment .*"
    r"pip install pyTelegramBotAPI\) .*\(/usr/bin/python3\.\d+, no virtual environment; searched: WWW .*\)",
    "misses_own_module": r"'settings_of_mine', which WWW/helper\.py line 1 imports, is in no folder of sys\.path: .*",
    "misspells_case": r"'Helper', which WWW/wsgi\.py line 1 imports, is spelled otherwise on the disk, "
    r"WWW/helper\.py: upper and lower case differ .*",
    "imports_python2_module": r"'urllib2', .* is Python 2's name of a module, Python 3 has urllib\.request .*",
    "names_it_app": r"`app` in WWW/wsgi\.py can be called as a WSGI application: add the line `application = app`",
    "makes_it_in_a_factory": r"if create_app\(\) of WWW/wsgi\.py makes .*add the line `application = create_app\(\)`",
    "names_asgi_app": r"`app` in WWW/wsgi\.py is an asynchronous \(ASGI\) application, .*",
    "shadows_random": r"WWW/random\.py stands in the way of the library's module 'random' \(/usr/.*/random\.py\), "
    r"which has 'choice': give your file another name",
    "shadows_email": r"WWW/email\.py stands in the way of the library's module 'email' \(.*\), which has 'utils': .*",
    "has_bom_inside": r"WWW/wsgi\.py line 2 has a byte order mark \(BOM\), .*",
    "is_utf16": r"WWW/wsgi\.py was saved as UTF-16: save it as UTF-8",
    "imports_utf16": r"WWW/texts\.py was saved as UTF-16: save it as UTF-8",
    "mixes_tabs": r"WWW/wsgi\.py is indented with tabs \(line 3\) and with spaces \(line 2\): .*",
    "is_latin1": r"WWW/wsgi\.py line 3 has the byte 0xe9, which is no UTF-8: .*",
    "holds_nul": r"WWW/wsgi\.py line 7 has a NUL byte, .*",
    "prints_as_python2": r"WWW/wsgi\.py line 7 is Python 2, this site runs Python 3\.\d+: print\(\.\.\.\) .*",
    "has_merge_markers": r"WWW/wsgi\.py line 3 is a marker of a merge conflict: .*",
    "has_typographic_quotes": r"WWW/wsgi\.py line 3 has a typographic quotation mark: .*",
    "needs_variable": r"the environment variable API_KEY_OF_THE_SITE, which WWW/wsgi\.py line 3 needs, isn't set: .*",
}


def ask(server):
    return ask_for(server, "/page")


def ask_for(server, path, **more):
    return server.get(path, **{"request_id": more.pop("REQUEST_ID", REQUEST_ID), **more})


def assert_advised(server, lines, expected):
    """The last line of the one record, and no other, is the advice."""
    assert [line.startswith("Advice: ") for line in lines] == [False] * (len(lines) - 1) + [True], lines
    assert re.fullmatch(expected.replace("WWW", re.escape(str(server.www))), lines[-1][len("Advice: ") :]), lines[-1]


@THREADS
@pytest.mark.parametrize("case", LOADING)
def test_the_record_of_a_failed_load_ends_with_what_to_do(case, threads):
    with BareUwsgi(APPS / case, threads, more=["env = HOME=/nonexistent"]) as server:
        answer = ask(server)
        assert answer.status == 500
        assert b"Advice" not in answer.body
        loading = server.records("-")
        start = next(n for n, line in enumerate(loading) if line.startswith("the site could not be loaded"))
        assert_advised(server, loading[start:], LOADING[case])
        assert len(server.records(ID)) == 1


@THREADS
def test_the_record_of_a_failed_request_ends_with_what_to_do(threads):
    with BareUwsgi(APPS / "opens_relative_path", threads) as server:
        assert ask(server).status == 500
        assert_advised(
            server,
            server.records(ID),
            r"the relative path 'hello\.txt' leads to WWW/hello\.txt, since the current folder is WWW; "
            r"there is WWW/project/hello\.txt: give that absolute path",
        )


def of_nobody(case, threads=1, *more):
    """A server whose workers run as a user without rights, as tenants do; his application's folder is not his."""
    server = BareUwsgi(APPS / case, threads, more=[f"uid = {NOBODY}", f"gid = {NOBODY}", *more])
    shutil.copytree(ROOT / "user_wsgi_wrapper", server.folder / "lib" / "user_wsgi_wrapper")
    server._entry = server.folder / "lib" / "user_wsgi_wrapper" / "user_wsgi_wrapper.py"
    server.folder.chmod(0o755)
    for path in (server.folder, server.reload_file):
        os.chown(path, NOBODY, NOBODY)
    return server


def make_database(path):
    connection = sqlite3.connect(path)
    connection.execute("create table other (number)")
    connection.close()


@THREADS
def test_a_database_that_may_not_be_written_is_told_of(threads):
    server = of_nobody("uses_sqlite", threads)
    make_database(server.www / "site.db")
    with server:
        assert ask(server).status == 500
        lines = server.records(ID)
        assert lines[-2].endswith("sqlite3.OperationalError: attempt to write a readonly database")
        assert_advised(server, lines, r"WWW/site\.db may be read but not written \(mode 644, uid 0; .* 65534\).*")


def test_a_database_whose_folder_may_not_be_written_is_told_of():
    server = of_nobody("uses_sqlite")
    make_database(server.www / "site.db")
    os.chown(server.www / "site.db", NOBODY, NOBODY)
    with server:
        assert ask(server).status == 500
        assert_advised(server, server.records(ID), r"SQLite makes a journal beside the database WWW/site\.db, .*")


def test_a_database_that_can_not_be_made_is_told_of():
    with of_nobody("uses_sqlite") as server:
        assert ask(server).status == 500
        assert_advised(server, server.records(ID), r"WWW/site\.db can't be made, the folder may not be written in .*")
    server = of_nobody("uses_sqlite")
    os.chown(server.www, NOBODY, NOBODY)
    with server:
        assert (ask(server).status, server.log()) == (200, "")


@THREADS
def test_a_file_outside_of_what_the_tenant_may_write_is_told_of(threads):
    with of_nobody("writes_outside", threads) as server:
        os.chown(server.www, NOBODY, NOBODY)
        assert ask(server).status == 500
        assert_advised(
            server,
            server.records(ID),
            r"/etc/visits\.txt can't be made, the folder may not be written in \(mode 755, uid 0; this site runs as "
            r"uid 65534\): files can be made in WWW, /tmp",
        )
