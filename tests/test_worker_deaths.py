"""Who killed the worker: under real uWSGI, whatever ends it, the next one writes the record of its request."""

import os
import re
import shutil
import signal
import threading
import time

import pytest

from tests import pythons
from tests.bare_uwsgi import APPS, DEBIAN, STAMP, BareUwsgi, wait_for

REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]
THREADS = pytest.mark.parametrize("threads", [1, 8])
GOOD = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'good']\n"


def ask(server, path, request_id=REQUEST_ID):
    return server.get(path, request_id=request_id, HTTP_X_REQUEST_START=f"t={time.time():.3f}")


def told(server, request_id=ID):
    try:
        return wait_for(lambda: server.records(request_id), "the next worker's record")
    except AssertionError as error:
        raise AssertionError(f"{error}\nerror log:\n{server.log()}") from error


ENDS = {
    "/exit": ("it ended itself, by os._exit() or by exit() in C code", None),
    "/kill": ("killed by signal 9 (SIGKILL)", None),
    "/segfault": ("killed by signal 11 (SIGSEGV)", "Fatal Python error: Segmentation fault"),
    "/abort": ("killed by signal 6 (SIGABRT)", "Fatal Python error: Aborted"),
}


@THREADS
@pytest.mark.parametrize("path", ENDS)
def test_a_worker_that_dies_is_told_of_once_with_its_request(path, threads):
    """Method, path, id, seconds and the cause on the first line, the Python stack if there was time to write it."""
    cause, fault = ENDS[path]
    with BareUwsgi(APPS / "dies", threads) as server:
        assert ask(server, path).status is None
        first, *rest = told(server)
        assert re.fullmatch(
            rf"GET {path}: the worker died while it served this request, after \d\.\d s: {re.escape(cause)}", first
        )
        if fault is None:
            assert rest == []
        else:
            assert rest[:2] == [fault, "Stack (most recent call first):"]
            assert rest[-1].endswith(
                '/www/wsgi.py", line 21 in application' if path == "/segfault" else "in application"
            )
            assert "/runtime/" not in "".join(rest)
        assert server.get("/").status == 200
        assert len([line for line in server.log().splitlines() if "died" in line]) == 1
        assert all(STAMP.match(line) for line in server.log().splitlines())


@THREADS
def test_a_worker_that_dies_over_a_body_is_told_of(threads):
    """The first chunk is out; the client's connection breaks off."""
    with BareUwsgi(APPS / "dies", threads) as server:
        assert ask(server, "/later").body == b"half"
        assert told(server)[0].startswith("GET /later: the worker died while it served this request")


@THREADS
def test_a_worker_killed_from_outside_while_idle_is_told_of_without_a_request(threads):
    """Also after requests of every kind: none of them is taken for one in flight."""
    with BareUwsgi(APPS / "dies", threads) as server:
        pid = int(server.get("/").body)
        server.get("/fine", request_id=REQUEST_ID)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: int(server.get("/").body) != pid, "another worker")
        assert server.records(ID) == []
        assert server.records("-") == ["the worker ended while it served no request: killed by signal 9 (SIGKILL)"]


def test_more_threads_than_the_box_tells_apart_do_it_no_harm():
    """Then the worker's death is told of, its requests aren't."""
    with BareUwsgi(APPS / "dies", threads=300) as server:
        pid = int(server.get("/").body)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: int(server.get("/").body) != pid, "another worker")
        assert server.records("-") == ["the worker ended while it served no request: killed by signal 9 (SIGKILL)"]


def test_a_worker_that_is_replaced_leaves_no_record():
    """A reload is no death."""
    with BareUwsgi(APPS / "dies") as server:
        for _ in range(2):
            server.get("/")
            server.reload()
        assert server.get("/").status == 200
        assert not STAMP.search(server.log())


def test_all_requests_that_died_with_a_worker_have_their_records():
    """Each under its own id; only the one at fault has the fault's stack as its own."""
    with BareUwsgi(APPS / "dies", threads=8) as server:
        ids = {"/wait": "a" * 32, "/together": "b" * 32}
        clients = [threading.Thread(target=ask, args=(server, path, ids[path])) for path in ids]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        for path, request_id in ids.items():
            [line] = told(server, request_id[:12])
            assert line.startswith(f"GET {path}: the worker died while it served this request, after ")


@pytest.mark.parametrize("more", [["processes=3"], ["processes=2", "buffer-size=32768"], ["buffer-size=65535"]])
@THREADS
def test_the_request_is_never_taken_for_another_worker_s_or_core_s(more, threads):
    """However the server has laid out its memory: all have served others before."""
    with BareUwsgi(APPS / "dies", threads, more=more) as server:
        for number in range(3):
            clients = [
                threading.Thread(target=server.get, args=(f"/{one}",), kwargs={"request_id": f"{one:032x}"})
                for one in range(24)
            ]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            request_id = f"{number}" * 32
            ask(server, "/kill", request_id)
            assert told(server, request_id[:12])[0].startswith("GET /kill: the worker died")
        assert len(re.findall("the worker died", server.log())) == 3


@THREADS
@pytest.mark.parametrize("path", ["/sleep", "/hold"])
@pytest.mark.parametrize("version", ["Debian's", "newest"])
def test_harakiri_leaves_the_python_stack_of_the_request(version, path, threads):
    """Also if C code holds the interpreter's lock, in which no Python can run."""
    uwsgi = pythons.newest_uwsgi() if version == "newest" else DEBIAN
    with BareUwsgi(APPS / "dies", threads, more=["harakiri=2"], uwsgi=uwsgi) as server:
        assert ask(server, path).status is None
        lines = told(server)
        assert re.fullmatch(
            rf"GET {path}: the worker died while it served this request, after [2-6]\.\d s: "
            r"it took longer than the 2 s that a request may \(harakiri\)",
            lines[0],
        )
        assert re.fullmatch(r"Stack \(most recent call (first|last)\):", lines[1])
        assert re.search(r'/www/wsgi\.py", line \d+,? in application', "\n".join(lines))
        assert ("stand_still()" in "".join(lines)) is (path == "/sleep")
        assert len(re.findall("the worker died", server.log())) == 1


@THREADS
def test_a_new_worker_s_first_request_leaves_its_stack_too(threads):
    """Though C code holds the interpreter's lock before any other thread has had it."""
    with BareUwsgi(APPS / "dies", threads, more=["harakiri=2"]) as server:
        os.kill(int(server.get("/").body), signal.SIGKILL)
        assert ask(server, "/hold").status is None
        lines = told(server)
        assert "it took longer than the 2 s that a request may (harakiri)" in lines[0]
        assert re.search(r'/www/wsgi\.py", line \d+,? in application', "\n".join(lines))


def test_a_request_that_ends_just_in_time_leaves_no_record():
    """What was written down of it in case it wouldn't is forgotten."""
    with BareUwsgi(APPS / "dies", more=["harakiri=3"]) as server:
        assert server.get("/slow?2.7", request_id=REQUEST_ID).status == 200
        pid = int(server.get("/").body)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: int(server.get("/").body) != pid, "another worker")
        assert "stand" not in server.log()
        assert server.records(ID) == []


LOADS = {
    "os._exit(1)": "it ended itself, by os._exit() or by exit() in C code",
    "os._exit(5)": "it ended itself, by os._exit() or by exit() in C code",  # by which uWSGI means something
    "os.kill(os.getpid(), 9)": "killed by signal 9 (SIGKILL)",
    "ctypes.string_at(0)": "killed by signal 11 (SIGSEGV)",
    "time.sleep(3600)": "it was not done after the 1.5 s that it may take",
    "ctypes.PyDLL(None).sleep(3600)": "it was not done after the 1.5 s that it may take",
}


@THREADS
@pytest.mark.parametrize("code", LOADS)
def test_a_file_that_ends_its_worker_is_given_up_until_it_is_touched(code, threads, tmp_path):
    """Visitors get the error page and static files are served; the mended file is taken up."""
    (tmp_path / "wsgi.py").write_text(f"import ctypes, os, time\n{code}\n{GOOD}")
    (tmp_path / "static").mkdir()
    (tmp_path / "static/a.txt").write_text("static")
    with BareUwsgi(tmp_path, threads, more=["env=SITE_LOAD_LIMIT=1.5", "env=SITE_STATIC=/s={www}/static"]) as server:
        answer = ask(server, "/page")
        assert (answer.status, answer.headers["x-request-id"]) == (500, ID)
        assert server.get("/s/a.txt").body == b"static"
        reason = re.escape(f"running it ended the worker: {LOADS[code]}")
        loads = [line for line in server.records("-") if line.startswith("the site could not be loaded")]
        assert len(loads) == (1 if "sleep" in code else 2)
        assert all(re.search(reason, line) for line in [*loads, *server.records(ID)])
        assert ("line 2" in server.log()) is ("sleep" in code or "string_at" in code)
        (server.www / "wsgi.py").write_text(GOOD)
        server.reload()
        assert server.get("/page").body == b"good"


@THREADS
def test_a_second_save_within_the_second_of_the_first_is_taken_up(threads, tmp_path):
    """Though the server compares whole seconds, and has seen the first."""
    file = tmp_path / "wsgi.py"
    for _ in range(10):
        time.sleep(1.0 - time.time() % 1)  # to the beginning of a second
        file.write_text(GOOD.replace("good", "first"))
        with BareUwsgi(None, threads, more=[f"env=SITE_WSGI_FILE={file}", f"touch-workers-reload={file}"]) as server:
            first, saved = server.get().body, file.stat()
            file.write_text(GOOD.replace("good", "second"))
            if int(file.stat().st_mtime) != int(saved.st_mtime):
                continue  # the machine was too slow: it was the next second's
            assert first == b"first"
            wait_for(lambda server=server: server.get().body == b"second", "the second version")
            return
    raise AssertionError("two saves never fell into one second")


def test_a_box_that_somebody_else_made_is_not_used(tmp_path):
    """A link, a FIFO or a folder in its place: the site serves all the same, and nothing is written there."""
    victim, boxes = tmp_path / "victim", tmp_path / "boxes"
    victim.write_text("untouched")
    for make in (lambda path: path.symlink_to(victim), lambda path: path.hardlink_to(victim), os.mkfifo, os.mkdir):
        boxes.mkdir()
        make(boxes / "tenant.example.worker1")
        with BareUwsgi(APPS / "dies", more=[f"env=SITE_BOX_FOLDER={boxes}"]) as server:
            assert server.get("/page").status == 200
        assert victim.read_text() == "untouched"
        shutil.rmtree(boxes)
