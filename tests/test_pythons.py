"""The runtime keeps its promises from Python 3.9 to the newest, under each one's own uWSGI; all are real ones."""

import re
import signal
import subprocess

import pytest

from tests import conformance, pythons, test_serve, vassal_like
from tests.bare_uwsgi import APPS, ROOT, BareUwsgi, packet, wait_for

REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]
CHECKS = [name[6:] for name in vars(conformance) if name.startswith("check_")]
OURS = "3.11"


@pytest.mark.parametrize("suite", [None, *pythons.SUITES], ids=lambda suite: suite or "this machine's")
def test_a_python_runs_the_runtime_as_promised(suite):
    begin = () if suite is None else pythons.enter(suite)
    done = subprocess.run(
        [*begin, "/usr/bin/python3", str(ROOT / "tests" / "conformance.py")],
        capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[1:] == [f"ok {name}" for name in CHECKS], f"{done.stdout}{done.stderr}"
    assert lines[0].startswith(OURS if suite is None else pythons.SUITES[suite][0])
    assert done.returncode == 0


@pytest.mark.parametrize("suite", pythons.SUITES)
def test_serve_works_there_too(suite, tmp_path):
    www = tmp_path / "www"
    www.mkdir()
    (www / "wsgi.py").write_text(test_serve.APP)
    library = test_serve.least_library(tmp_path / "library")
    command = (*pythons.enter(suite), "/usr/bin/python3", "-m", "user_wsgi_wrapper")
    environ = {"PYTHONPATH": library, "PYTHONWARNINGS": "error"}
    with test_serve.Serving(www, command=command, file=str(www / "wsgi.py"), environ=environ) as serving:
        assert int(serving.body())
        made = serving.ask("/raise")[1]["x-request-id"]
        serving.access_line("/raise")
        assert serving.records(made)[-1] == "LookupError: no such thing"
        serving.save(test_serve.GOOD % "saved")
        assert serving.body() == b"saved"
        assert "Warning" not in serving.err.read_text()
        assert serving.stop(signal.SIGINT, group=True) == 0


def test_a_broken_promise_is_told(monkeypatch, capsys):
    """Also by its exit status: what passes above does so because it is kept."""
    monkeypatch.setattr(conformance, "GOOD", "def application(environ, start_response):\n    pass\n")
    assert conformance.main(["static"]) == 1
    assert "FAILED static" in capsys.readouterr().out


@pytest.fixture(scope="module", params=[*pythons.SUITES, "pypi"])
def uwsgi(request):
    return pythons.newest_uwsgi() if request.param == "pypi" else pythons.suite_uwsgi(request.param)


def ask(server, path="/page", **more):
    return server.get(path, request_id=REQUEST_ID, **more)


def test_it_is_the_uwsgi_that_it_says(uwsgi, request):
    wanted = {**{suite: version for suite, (_, version) in pythons.SUITES.items()}, "pypi": pythons.NEWEST_UWSGI}
    done = subprocess.run([*uwsgi.command, "--version"], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith(wanted[request.node.callspec.params["uwsgi"]])


@pytest.mark.parametrize("threads", [1, 4])
def test_a_failure_is_one_record_and_the_error_page(uwsgi, threads):
    with BareUwsgi(APPS / "raises", threads, uwsgi=uwsgi) as server:
        answer = ask(server)
        assert (answer.status, answer.headers["x-request-id"], answer.ended) == (500, ID, "eof")
        lines = server.records(ID)
        assert lines[0].startswith("GET /page: the application failed")
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-1] == "ZeroDivisionError: division by zero"
        assert server.log().count("\n") == len(lines)


def test_a_broken_file_is_answered_and_a_mended_one_served(uwsgi):
    with BareUwsgi(APPS / "syntax_error", uwsgi=uwsgi) as server:
        assert ask(server).status == 500
        assert "SyntaxError" in server.log()
        good = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'good']\n"
        (server.www / "wsgi.py").write_text(good)
        server.reload()
        assert ask(server).body == b"good"


def test_a_failure_after_the_first_byte_never_looks_like_a_whole_answer(uwsgi):
    with BareUwsgi(APPS / "raises_in_later_chunk", tcp=True, uwsgi=uwsgi) as server:
        assert ask(server).ended == "reset"
        answer = ask(server, "/length")
        assert len(answer.body) < int(answer.headers["content-length"])
        assert server.records(ID).count("LookupError: after the first byte") == 2


def test_sys_exit_ends_a_request_and_not_the_worker(uwsgi):
    with BareUwsgi(APPS / "exits", threads=4, uwsgi=uwsgi) as server:
        assert [ask(server).status for _ in range(3)] == [500, 500, 500]
        assert ask(server, "/fine").body == b"fine"
        assert server.server_log.read_text().count("spawned uWSGI worker") == 1


def test_every_kind_of_output_reaches_its_log(uwsgi):
    with BareUwsgi(APPS / "prints", uwsgi=uwsgi) as server:
        assert ask(server).status == 200
        lines = server.records(ID)
        assert lines[:5] == ["to stderr 1 2", "to wsgi.errors", "three", "lines", "at once"]
        assert lines[-1] == "unfinished"
        assert "to stdout\n" in server.server_log.read_text()
    with BareUwsgi(APPS / "child_process", uwsgi=uwsgi) as server:
        assert ask(server).status == 200
        wait_for(lambda: "from C" in server.log(), "what C code wrote")
        assert server.records("-") == ["child or C code: from a child", "child or C code: from C"]


def test_a_file_goes_through_whole(uwsgi):
    with BareUwsgi(APPS / "sends_file", threads=4, uwsgi=uwsgi) as server:
        assert ask(server).body == (APPS / "sends_file" / "wsgi.py").read_bytes()
        assert server.log() == ""


@pytest.mark.parametrize("threads", [1, 4])
def test_a_segfault_leaves_the_python_stack_and_a_new_worker_serves(uwsgi, threads):
    with BareUwsgi(APPS / "segfaults", threads, uwsgi=uwsgi) as server:
        assert ask(server).status is None
        wait_for(lambda: "Fatal Python error: Segmentation fault\n" in server.log(), "the record")
        # uWSGI's way with thread states can make CPython 3.14's faulthandler give up on Python's stack, not on C's
        if "<freed thread state>" in server.log():
            assert "Current thread's C stack trace" in server.log()
        else:
            assert re.search(r'wsgi\.py", line 5 in crash', server.log())
        wait_for(lambda: server.server_log.read_text().count("ready in") > 1, "a new worker")


def test_a_client_that_goes_away_is_one_line_and_close_is_called_once(uwsgi):
    with BareUwsgi(APPS / "reads_body", uwsgi=uwsgi) as server:
        with server.connect() as connection:
            connection.sendall(packet("/", "POST", request_id=REQUEST_ID, CONTENT_LENGTH="1000") + b"some")
        lines = wait_for(lambda: server.records(ID), "the line")
        assert lines == ["POST /: the client went away while its request was read"]
    with BareUwsgi(APPS / "closes_once", uwsgi=uwsgi) as server:
        with server.connect() as connection:
            connection.sendall(packet("/gone", request_id=REQUEST_ID))
            connection.recv(1000)
        assert wait_for(lambda: server.records(ID), "close()") == ["closed"]


def test_the_tenants_modules_never_stand_in_for_ours(uwsgi):
    with BareUwsgi(APPS / "shadows", uwsgi=uwsgi) as server:
        answer = ask(server)
        assert (answer.status, server.log()) == (200, "")


def test_nothing_keeps_an_environ_alive(uwsgi):
    with BareUwsgi(APPS / "keeps_nothing", uwsgi=uwsgi) as server:
        for path in ["/", "/raise"] * 20:
            server.get(path)
        assert int(server.get("/count").body) == 0


def test_new_code_is_taken_up_and_broken_code_refused(uwsgi):
    one, two = (vassal_like.GOOD.format(version=version) for version in ("one", "two"))
    with vassal_like.Vassal(text=one, threads=2, uwsgi=uwsgi) as vassal:
        assert vassal.version() == "one"
        wait_for(vassal.kept, "the version is kept")
        vassal.save(vassal_like.BAD)
        vassal.wait_for_event("refused")
        assert vassal.version() == "one"
        vassal.start_anew()
        assert vassal.version() == "one"
        assert vassal.codes()[-1] == "kept"
        vassal.save(two)
        vassal.wait_for_event("reloaded")
        wait_for(lambda: {vassal.version() for _ in range(9)} == {"two"}, "the mended version")
        assert vassal.log().count("Traceback") == 1
