"""Descriptor 2 under real uWSGI: what C code and children write stands stamped in the error log, whatever dies."""

import ast
import os
import re

import pytest

from tests.bare_uwsgi import APPS, STAMP, BareUwsgi, wait_for

THREADS = pytest.mark.parametrize("threads", [1, 8])
REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]


@pytest.fixture(params=[1, 8])
def server(request):
    with BareUwsgi(APPS / "descriptor_2", request.param) as server:
        yield server
        assert all(STAMP.match(line) for line in server.log().splitlines())


def written(server):
    """What stands under the label, in order."""
    label = "child or C code: "
    return [line.removeprefix(label) for line in server.records("-") if line.startswith(label)]


def until_written(server, text):
    wait_for(lambda: text in written(server), f"{text!r} in the log")
    return written(server)


def test_c_code_that_holds_the_interpreters_lock_never_waits_and_loses_nothing(server):
    assert server.get("/holds_the_lock").status == 200
    assert until_written(server, "line 99999 of C code") == [f"line {number} of C code" for number in range(100_000)]


def test_the_last_words_of_a_worker_that_aborts_arrive(server):
    assert server.get("/last_words").status is None
    wait_for(lambda: "in act" in server.log(), "the stack, which the next worker tells")
    until_written(server, "free(): invalid pointer")
    assert written(server) == ["free(): invalid pointer"]
    assert server.get("/").status == 200


def test_a_child_that_outlives_its_worker_is_neither_killed_nor_blocked_nor_lost(server):
    assert server.get("/outlives").status is None
    until_written(server, "before")
    (server.www / "go").touch()
    end = server.www / "end"
    wait_for(lambda: end.exists() and end.read_text() == "unharmed\n", "the child's end")
    lines = until_written(server, "after, and long enough to fill a pipe 3000")
    assert lines == ["before", *(f"after, and long enough to fill a pipe {i}" for i in range(1, 3001))]
    # what the dead worker left is gone once its child is
    wait_for(lambda: len(spools(server)) == 1, "the dead worker's spool is removed")


def test_dev_stderr_which_cuts_a_file_off_costs_the_log_nothing(server):
    server.get("/unfinished")
    until_written(server, "no newline")
    assert server.get("/dev_stderr").status == 200
    lines = until_written(server, "third")
    assert lines[0] == "no newline"
    assert lines[-2:] == ["second", "third"]


def test_a_child_can_neither_forge_a_record_nor_steer_a_terminal(server):
    assert server.get("/nasty").status == 200
    lines = until_written(server, r"\x00\xff")
    assert lines == [r"\x1b[31mred", "2012-08-24 10:11:12,345 [aaaaaaaaaaaa] forged", r"\x00\xff"]
    assert server.records("aaaaaaaaaaaa") == []


def test_a_forked_process_writes_to_the_same_log(server):
    assert server.get("/forks", request_id=REQUEST_ID).status == 200
    assert until_written(server, "by a forked process's descriptor") == ["by a forked process's descriptor"]
    assert server.records(ID) == ["by a forked process's stream"]


def test_what_a_child_wrote_before_stands_before(server):
    assert server.get("/in_order", request_id=REQUEST_ID).status == 500
    label = "child or C code: "
    lines = [STAMP.sub("", line) for line in server.log().splitlines()]
    assert [line for line in lines if not line.startswith(" ")] == [
        "one", f"{label}two", "three", f"{label}four", "GET /in_order: the application failed in its call",
        "Traceback (most recent call last):", "LookupError: five",
    ]  # fmt: skip


def test_the_watch_is_no_thread_of_the_tenants(server):
    assert server.get("/threads").status == 200
    found = re.findall(r"^\d+ \[(.*)\]$", server.server_log.read_text(), re.M)
    assert found
    assert re.fullmatch(r"(<\w+Thread\((MainThread|uWSGIWorker1Core\d+|Dummy-\d+), [\w ]+ \d+\)>(, )?)+", found[0])


def test_a_worker_that_ends_leaves_no_spool_and_reports_to_the_servers_log(server):
    assert server.get("/in_order").status == 500
    server.reload()
    assert server.get("/").status == 200
    wait_for(lambda: len(spools(server)) == 1, "the spool of the worker that ended is gone")
    assert "Seeya" not in server.log()


@THREADS
def test_an_address_space_limit_has_to_pay_for_one_thread(threads):
    """Which the vassal adds to what the operator allows: 64 MiB of address space, no memory."""

    def size(server):
        server.get("/")
        pid = re.findall(r"WSGI app 0 .* pid: (\d+)", server.server_log.read_text())[-1]
        with open(f"/proc/{pid}/status") as status:
            found = dict(line.split(":", 1) for line in status)
        return int(found["Threads"])

    with BareUwsgi(APPS / "descriptor_2", threads, more=["limit-as = 2048"]) as server:
        wait_for(lambda: size(server) == threads + 1, "the worker's threads and the wrapper's")
        assert server.get("/unfinished").status == 200
        until_written(server, "no newline")


def test_what_the_server_itself_writes_to_descriptor_2_goes_to_its_own_log():
    with BareUwsgi(APPS / "descriptor_2") as server:
        server.get("/")
        server.reload()
        wait_for(lambda: "Gracefully killing worker 1" in server.server_log.read_text(), "the server's line")
        server.get("/unfinished")
        until_written(server, "no newline")
        assert "Gracefully" not in server.log()


def spools(server):
    return [name for folder in server.folder.glob(".stderr-*") for name in os.listdir(folder)]


@THREADS
@pytest.mark.parametrize("what", ["/all", "/but_2"])
def test_descriptors_that_the_tenant_closed_and_reused_are_never_touched(threads, what):
    with BareUwsgi(APPS / "closes_descriptors", threads) as server:
        server.get("/child")
        assert server.get(what).status == 200
        for path in ("/raises", "/child", "/") * 5:  # on every thread
            server.get(path)
        os.rename(server.error_log, f"{server.error_log}.1")
        server.get("/raises", request_id=REQUEST_ID)
        assert server.records(ID)[-1] == "LookupError: still recorded"
        if what == "/but_2":
            server.get("/child")
            until_written(server, "by a child")
        # uWSGI's other threads, whose epoll descriptors are gone too, may say so to whatever is descriptor 2 by now
        found = ast.literal_eval(server.get("/check").body.decode())
        assert {re.sub(rb"epoll_wait\(\): [^\n]*\n", b"", one) for one in found} == {b"before after"}
        server.reload()
        # uWSGI itself says good-bye to whatever is descriptor 2: the first file, if that was closed too
        for number in range(what == "/all", 60):
            assert (server.www / f"mine-{number}").read_bytes() == b"before after"
