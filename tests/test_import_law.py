"""The import law: no module of the tenant's stands in for one of ours or of the interpreter's, nor ours for his."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests import tenant_venv
from tests.bare_uwsgi import APPS, BareUwsgi

CASE = APPS / "import_law"
REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]
SETTINGS = pytest.mark.parametrize("settings", [[], ["env = SITE_LOG_FORMAT=json", "env = SITE_DEBUG=1"]])


def told(more=(), entry=None):
    """What the application says, under us or with itself as uWSGI's file."""
    with BareUwsgi(CASE, more=more, **({"entry": entry} if entry else {})) as server:
        answer = server.get()
        assert answer.status == 200, server.log() + server.server_log.read_text()
        return json.loads(answer.body.replace(str(server.www).encode(), b"WWW")), server


def bare(more=()):
    return told(more, CASE / "wsgi.py")[0]


@SETTINGS
def test_only_the_standard_library_and_our_own_names_are_loaded(settings):
    ours = told(settings)[0]
    more = {name.partition(".")[0] for name in set(ours["modules"]) - set(bare()["modules"])}
    entry = {name for name in more if name.startswith("uwsgi_file_")}  # as which uWSGI loads a file
    assert more - entry - set(sys.stdlib_module_names) == {"user_wsgi_wrapper", "wsgi"}
    assert {"werkzeug", "psutil", "logging", "typing", "dataclasses"}.isdisjoint(ours["modules"])


def test_sys_path_and_what_else_the_tenant_sees_is_as_bare_uwsgi_has_it():
    ours, theirs = told()[0], bare()
    assert "user_wsgi_wrapper" not in "".join(ours["path"])
    for name in ("path", "argv", "prefix", "hooks"):
        assert ours[name] == theirs[name], name


@SETTINGS
@pytest.mark.parametrize("threads", [1, 8])
def test_no_module_of_the_tenants_stands_in_for_one_of_ours(settings, threads, tmp_path):
    # uWSGI itself has imported some before us, bare too, from wherever they are found
    before = set(bare()["modules"])
    names = {name.partition(".")[0] for name in told(settings)[0]["modules"]} - before - {"wsgi"}
    names |= {"ast", "linecache", "logging", "os", "re", "site", "tokenize", "traceback", "typing", "werkzeug"}
    assert {"__future__", "user_wsgi_wrapper"} < names
    shutil.copy(APPS / "raises" / "wsgi.py", tmp_path)
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the tenant\\'s own module was taken')")
    with BareUwsgi(tmp_path, threads, more=settings) as server:
        answer = server.get(request_id=REQUEST_ID)
        assert (answer.status, answer.headers["x-request-id"]) == (500, ID)
        assert "ZeroDivisionError: division by zero" in server.log()
        assert "return 1 / 0" in server.log()
        assert "was taken" not in server.log() + server.server_log.read_text()


@pytest.mark.parametrize("release", ["old", "current"])
def test_flask_and_werkzeug_are_those_of_the_tenants_virtual_environment(release):
    venv = tenant_venv.made(CASE / f"{release}.txt")
    version = {line.partition("==")[0]: line.partition("==")[2] for line in _requirements(release)}
    more = [f"virtualenv = {venv}"]
    ours, theirs = told(more)[0], bare(more)
    for name in ("path", "prefix", "files"):
        assert ours[name] == theirs[name], name
    assert all(path.startswith(str(venv)) for path in ours["files"].values())
    assert any(Path(venv).glob(f"lib/python3*/site-packages/*erkzeug-{version['Werkzeug']}.dist-info"))
    with BareUwsgi(CASE, 8, more=more) as server:
        answer = server.get("/hello/7", "POST", b"name=x", CONTENT_TYPE="application/x-www-form-urlencoded")
        assert (answer.status, answer.body) == (200, b"7 x /hello/1")
        assert answer.headers["set-cookie"] == "a=b; Path=/"
        assert server.get("/streams").body == b"012"
        assert server.get("/none").status == 404
        answer = server.get("/fails", request_id=REQUEST_ID)
        assert answer.status == 500  # Flask's own page: it catches, and logs to wsgi.errors
        lines = server.records(ID)
        assert lines[0].endswith("Exception on /fails [GET]")
        assert lines[-1] == "LookupError: in a view"


def _requirements(release):
    return (CASE / f"{release}.txt").read_text().splitlines()
