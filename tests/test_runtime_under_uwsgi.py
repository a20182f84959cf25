"""The runtime under real uWSGI: every case of tests/apps has its one record and its one answer."""

import contextlib
import os
import re
import threading

import pytest

from tests.bare_uwsgi import APPS, STAMP, BareUwsgi, packet, read, wait_for

REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]
THREADS = pytest.mark.parametrize("threads", [1, 8])

# What fails while the file is loaded, and what the log says of it.
LOAD_FAILURES = {
    "syntax_error": (r"it can't be compiled: SyntaxError: expected ':'", r"SyntaxError: expected ':'"),
    "raises_at_import": (r"running it raised LookupError: no database here", r"LookupError: no database here"),
    "exits_at_import": (r"running it raised SystemExit: bye", r"SystemExit: bye"),
    "interrupted_at_import": (r"running it raised KeyboardInterrupt", r"KeyboardInterrupt"),
    "no_application": (r"it defines no 'application'", None),
    "not_callable": (r"its 'application' is of type str, a callable is needed", None),
    "class_application": (r"its 'application' is the class application, whose instances can't be iterated", None),
    "async_application": (r"its 'application' is asynchronous \(ASGI\)", None),
    "async_method": (r"its 'application' is asynchronous \(ASGI\)", None),
}

# What fails in a request before its first byte is out: the start of each line of the one record.
REQUEST_FAILURES = {
    "raises": ("GET /page: the application failed", "ZeroDivisionError: division by zero"),
    "raises_in_first_chunk": ("GET /page: the application failed", "LookupError: before the first byte"),
    "exits": ("GET /page: the application failed", "SystemExit: 3"),
    "interrupts": ("GET /page: the application failed", "KeyboardInterrupt"),
    "recursion": ("GET /page: the application failed", "RecursionError: maximum recursion depth exceeded"),
    "str_raises": ("GET /page: the application failed", "wsgi.Odd: <exception str() failed>"),
    "chained": ("GET /page: the application failed", "ValueError: the second"),
    "returns_none": ("GET /page: the application returned None; PEP 3333",),
    "returns_int": ("GET /page: the application returned an object of type int; PEP 3333",),
    "returns_text": ("GET /page: the application returned an object of type str; PEP 3333",),
    "text_in_list": ("GET /page: the response holds an object of type str; PEP 3333: bytes are needed",),
    "text_in_generator": ("GET /page: the response's iterable gave an object of type str; PEP 3333",),
    "no_start_response": ("GET /page: start_response was not called; PEP 3333",),
    "header_injection": ("GET /page: the header Location's value", "user_wsgi_wrapper.runtime.failure.ResponseError"),
    "header_of_bytes": ("GET /page: the header ('Content-Type', b'text/plain')", "user_wsgi_wrapper.runtime.failure"),
    "bad_status": ("GET /page: the status 200 is not a str", "user_wsgi_wrapper.runtime.failure.ResponseError"),
    "starts_twice": ("GET /page: start_response was called twice", "user_wsgi_wrapper.runtime.failure.ResponseError"),
    "write_text": ("GET /page: write() was given an object of type str", "user_wsgi_wrapper.runtime.failure"),
}


def ask(server, path="/page", **more):
    return server.get(path, request_id=REQUEST_ID, **more)


@THREADS
@pytest.mark.parametrize("case", LOAD_FAILURES)
def test_a_file_that_gives_no_application_is_told_of_once_and_answered_each_time(case, threads):
    reason, traceback_end = LOAD_FAILURES[case]
    with BareUwsgi(APPS / case, threads) as server:
        for _ in range(2):
            answer = ask(server)
            assert (answer.status, answer.headers["x-request-id"], answer.ended) == (500, ID, "eof")
        loading = server.records("-")
        assert re.match(r"the site could not be loaded: .*/www/wsgi\.py: " + reason, loading[0])
        assert sum(line.startswith("the site could not be loaded") for line in loading) == 1
        loading = [line for line in loading if not line.startswith("Advice: ")]
        if traceback_end is None:
            assert len(loading) == 1
        else:
            assert re.match(traceback_end, loading[-1])
            assert "runtime" not in "".join(loading[1:])
        lines = server.records(ID)
        assert len(lines) == 2
        assert all(re.match(r"GET /page: the site could not be loaded: .*" + reason, line) for line in lines)


@THREADS
@pytest.mark.parametrize("case", REQUEST_FAILURES)
def test_a_failure_before_the_first_byte_is_one_record_and_the_error_page(case, threads):
    first, *last = REQUEST_FAILURES[case]
    with BareUwsgi(APPS / case, threads) as server:
        answer = ask(server)
        assert (answer.status, answer.headers["x-request-id"], answer.ended) == (500, ID, "eof")
        assert ID.encode() in answer.body
        assert len(answer.body) == int(answer.headers["content-length"])
        assert "set-cookie" not in answer.headers
        lines = server.records(ID)
        assert lines[0].startswith(first)
        if last:
            assert lines[1] == "Traceback (most recent call last):"
            assert lines[2].startswith(f'  File "{server.www}/wsgi.py"')
            assert lines[-1].startswith(last[0])
            assert "/runtime/" not in "".join(lines)
        else:
            assert len(lines) == 1
        stamps = {line[: STAMP.match(line).end()] for line in server.log().splitlines() if f"[{ID}]" in line}
        assert len(stamps) == 1
        assert server.log().count("\n") == len(lines)


@THREADS
def test_a_failure_after_the_first_byte_never_looks_like_a_whole_answer(threads):
    with BareUwsgi(APPS / "raises_in_later_chunk", threads, tcp=True) as server:
        answer = ask(server)
        assert answer.ended == "reset"
        assert server.records(ID)[-1] == "LookupError: after the first byte"
        assert server.get("/fine").body == b"fine"
    with BareUwsgi(APPS / "raises_in_later_chunk", threads) as server:
        # A unix socket with the whole request read can't be reset: its end is withheld.
        answer = ask(server, timeout=0.3)
        assert (answer.status, answer.body, answer.ended) == (200, b"half", "open")
        assert ask(server, "/page", method="POST", body=b"unread" * 10_000).ended == "reset"
        answer = ask(server, "/length")
        assert (answer.headers["content-length"], answer.body, answer.ended) == ("10", b"half", "eof")
        assert server.get("/fine").body == b"fine"


@THREADS
def test_a_failure_in_close_is_recorded_and_leaves_the_answer_whole(threads):
    with BareUwsgi(APPS / "raises_in_close", threads) as server:
        answer = ask(server)
        assert (answer.status, answer.body) == (200, b"whole")
        lines = wait_for(lambda: server.records(ID), "the record")
        assert lines[0] == "GET /page: the application failed in its response's close()"
        assert lines[-1] == "LookupError: while closing"


@THREADS
def test_sys_exit_ends_a_request_and_not_the_worker(threads):
    with BareUwsgi(APPS / "exits", threads) as server:
        assert [ask(server).status for _ in range(3)] == [500, 500, 500]
        assert ask(server, "/fine").body == b"fine"
        assert server.server_log.read_text().count("spawned uWSGI worker") == 1


@THREADS
@pytest.mark.parametrize(
    ("case", "status", "body"),
    [
        ("write_bytes", 200, b"one two three"),
        ("exc_info", 418, b"teapot"),
        ("class_that_iterates", 200, b"ok"),
        ("pickles", 200, b"wsgi True"),
        ("sends_file", 200, (APPS / "sends_file" / "wsgi.py").read_bytes()),
        ("raises_in_later_chunk", 200, b"fine"),
    ],
)
def test_what_pep_3333_allows_goes_through_unlogged(case, status, body, threads):
    with BareUwsgi(APPS / case, threads) as server:
        answer = ask(server, "/fine")
        assert (answer.status, answer.body) == (status, body)
        assert server.log() == ""


@THREADS
def test_every_kind_of_output_reaches_its_log(threads):
    with BareUwsgi(APPS / "prints", threads) as server:
        assert ask(server).status == 200
        lines = server.records(ID)
        assert lines[:5] == ["to stderr 1 2", "to wsgi.errors", "three", "lines", "at once"]
        assert lines[5].endswith("UserWarning: a warning")
        assert lines[-1] == "unfinished"
        assert "to stdout\n" in server.server_log.read_text()
        assert "ready in" in server.server_log.read_text()
        assert all(STAMP.match(line) for line in server.log().splitlines())


@THREADS
def test_no_text_can_forge_a_record_or_steer_a_terminal(threads):
    with BareUwsgi(APPS / "prints_nastily", threads) as server:
        assert ask(server).status == 200
        assert server.records(ID) == [
            r"\x1b[31mred\x1b[0m\rover\x00\x9b",
            "2012-08-24 10:11:12,345 [aaaaaaaaaaaa] forged",
            "2012-08-24 10:11:12,345 [aaaaaaaaaaaa] twice",
            r"lone \ud800 surrogate",
            r"bytes \xffé",
        ]
        assert server.records("aaaaaaaaaaaa") == []


@THREADS
def test_child_processes_and_c_code_write_to_the_error_log(threads):
    with BareUwsgi(APPS / "child_process", threads) as server:
        assert ask(server).status == 200
        wait_for(lambda: server.log().count("\n") == 2, "the lines")
        assert server.records("-") == ["child or C code: from a child", "child or C code: from C"]


@THREADS
def test_an_exception_in_a_thread_is_one_record_outside_the_request(threads):
    with BareUwsgi(APPS / "thread_dies", threads) as server:
        assert ask(server).status == 200
        assert server.records(ID) == []
        lines = server.records("-")
        assert lines[:2] == ["the thread worker-7 died", "Traceback (most recent call last):"]
        assert lines[-1] == "LookupError: in a thread"


@THREADS
def test_an_exception_in_del_is_one_record(threads):
    with BareUwsgi(APPS / "del_raises", threads) as server:
        assert ask(server).status == 200
        lines = server.records(ID)
        assert lines[0].startswith("Exception ignored in: <function Resource.__del__")
        assert lines[-1] == "LookupError: in __del__"


@THREADS
def test_a_segfault_leaves_the_python_stack_and_a_new_worker_serves(threads):
    with BareUwsgi(APPS / "segfaults", threads) as server:
        # More than one, so that threads of both kinds crash: uWSGI blocks the signals of all but the first.
        for crashes in range(1, 4):
            assert ask(server).status is None
            wait_for(lambda seen=crashes: server.log().count("line 5 in crash") == seen, "the stack")
            wait_for(lambda seen=crashes: server.server_log.read_text().count("ready in") > seen, "a new worker")
        assert "Fatal Python error: Segmentation fault" in server.log()
        assert f'File "{server.www}/wsgi.py", line 5 in crash' in server.log()


def test_the_tenants_modules_never_stand_in_for_ours():
    with BareUwsgi(APPS / "shadows") as server:
        answer = ask(server)
        assert (answer.status, server.log()) == (200, "")


def test_sys_path_is_as_bare_uwsgi_has_it():
    with BareUwsgi(APPS / "sys_path", entry=APPS / "sys_path" / "wsgi.py") as server:
        bare = server.get().body
    with BareUwsgi(APPS / "sys_path") as server:
        assert server.get().body == bare


@THREADS
def test_the_applications_close_is_called_once_also_when_the_client_is_gone(threads):
    with BareUwsgi(APPS / "closes_once", threads) as server:
        assert len(ask(server, "/whole").body) == 501 * 65536
        assert wait_for(lambda: server.records(ID), "close()") == ["closed"]
        with server.connect() as connection:
            connection.sendall(packet("/gone", request_id="0" * 32))
            connection.recv(1000)
        assert wait_for(lambda: server.records("0" * 12), "close()") == ["closed"]
        server.get("/fails", request_id="1" * 32)
        lines = wait_for(lambda: "closed" in server.records("1" * 12) and server.records("1" * 12), "close()")
        assert lines.count("closed") == 1
        assert server.log().count("closed\n") == 3


@THREADS
def test_a_client_that_goes_away_while_it_sends_is_one_line_and_no_traceback(threads):
    with BareUwsgi(APPS / "reads_body", threads) as server:
        with server.connect() as connection:
            connection.sendall(packet("/", "POST", request_id=REQUEST_ID, CONTENT_LENGTH="1000") + b"some")
        lines = wait_for(lambda: server.records(ID), "the line")
        assert lines == ["POST /: the client went away while its request was read"]
        assert server.get("/", "POST", b"whole").body == b"5"


@THREADS
def test_nothing_keeps_an_environ_alive(threads):
    with BareUwsgi(APPS / "keeps_nothing", threads) as server:
        for path in ["/", "/raise"] * 20:
            server.get(path)
        assert int(server.get("/count").body) <= (0 if threads == 1 else threads)


@THREADS
def test_the_names_of_the_servers_variables_are_made_once_and_no_visitors_are_kept(threads):
    with BareUwsgi(APPS / "names_of_variables", threads) as server:
        answers = {server.get("/", **{"HTTP_X_WSGI.NAME": "7", "HTTP_WSGI": "7"}).body for _ in range(20)}
    assert answers == {b"True [] []"}


def test_lines_of_concurrent_requests_never_mix():
    with BareUwsgi(APPS / "concurrent", threads=8) as server:
        ids = {f"client{number}": f"{number:x}" * 32 for number in range(8)}
        clients = [
            threading.Thread(target=server.get, args=(f"/{name}",), kwargs={"request_id": request_id})
            for name, request_id in ids.items()
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        for name, request_id in ids.items():
            assert server.records(request_id[:12]) == [f"{name} {number}" for number in range(20)]


def test_two_saves_within_one_second_are_both_seen():
    with BareUwsgi(APPS / "raises") as server:
        assert ask(server).status == 500
        server.reload()
        page = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%s']\n"
        for text in ("first", "other"):  # of one length: size and mtime don't tell them apart
            (server.www / "wsgi.py").write_text(page % text)
            os.utime(server.www / "wsgi.py", (1_000_000_000, 1_000_000_000))
            server.reload()
            assert server.get().body == text.encode()


def test_the_tenants_own_error_page_and_json_carry_the_request_id():
    with BareUwsgi(APPS / "raises") as server:
        answer = ask(server, HTTP_ACCEPT="application/json, text/html;q=0.5")
        assert answer.headers["content-type"] == "application/json"
        assert f'"request_id": "{ID}"'.encode() in answer.body
        (server.www / "500.html").write_text("<p>Sorry: {{request_id}}</p>")
        wait_for(lambda: ask(server).body == f"<p>Sorry: {ID}</p>".encode(), "the tenant's page")


def test_a_missing_request_id_is_made_and_is_the_same_in_log_and_answer():
    with BareUwsgi(APPS / "raises") as server:
        for forged in (None, "", "no hex at all, no hex", "../../../../etc/passwd"):
            answer = server.get(request_id=forged)
            made = answer.headers["x-request-id"]
            assert re.fullmatch("[0-9a-f]{12}", made)
            assert server.records(made)[-1] == "ZeroDivisionError: division by zero"


def test_an_installation_without_its_library_answers_and_tells_the_server_log(tmp_path):
    entry = tmp_path / "user_wsgi_wrapper.py"
    entry.write_bytes((APPS.parent.parent / "user_wsgi_wrapper" / "user_wsgi_wrapper.py").read_bytes())
    entry.write_text(entry.read_text().replace('"/opt/user_wsgi_wrapper"', '"/nonexistent"'))
    with BareUwsgi(APPS / "raises", entry=entry) as server:
        answer = ask(server)
        assert answer.status == 500
        assert "could not be started" in answer.body.decode()
        assert "ModuleNotFoundError: No module named 'user_wsgi_wrapper'" in server.server_log.read_text()


def test_a_cut_connection_is_let_go_when_the_other_end_gives_up():
    with BareUwsgi(APPS / "raises_in_later_chunk") as server:
        with server.connect() as connection:
            connection.sendall(packet("/"))
            connection.settimeout(0.3)
            assert read(connection).ended == "open"
            worker = re.findall(r"WSGI app 0 .* pid: (\d+)", server.server_log.read_text())[-1]
            held = _sockets(worker)
        wait_for(lambda: _sockets(worker) < held, "the held connection's end")


def _sockets(pid):
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    return found
