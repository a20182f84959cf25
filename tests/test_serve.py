"""`serve`: the embedded default, as its user meets it: a real process, asked over HTTP."""

import contextlib
import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from tests.live import free_port, wait_for

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(sys.executable).with_name("user-wsgi-wrapper")
NOBODY = 65534
GOOD = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%s']\n"
APP = """\
import os, subprocess, sys, time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise LookupError("no such thing")
    if path == "/exit":
        os._exit(7)
    if path == "/crash":
        import ctypes
        ctypes.string_at(0)
    if path == "/wait":
        open("waiting", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    if path == "/half":
        start_response("200 OK", [])
        return iter_half()
    if path == "/child":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    print("to stderr at", path, file=sys.stderr)
    print("to wsgi.errors at", path, file=environ["wsgi.errors"])
    print("to stdout at", path)
    body = environ["wsgi.input"].read() if path == "/body" else str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
def iter_half():
    yield b"half"
    raise LookupError("after the first byte")
"""


class Serving:
    """A running `serve` over the folder `www`; its output is in files."""

    def __init__(self, www, *options, command=(str(SCRIPT),), file="wsgi.py", environ=None, **popen):
        self.www = www
        self.port = free_port()
        self.out, self.err = www.parent / "stdout", www.parent / "stderr"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "serve", file, "--port", str(self.port), *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=www, start_new_session=True,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(www.parent), **(environ or {})}, **popen,
            )  # fmt: skip

    def __enter__(self):
        wait_for(self._is_up, "it says that it serves")
        return self

    def _is_up(self):
        assert self.process.poll() is None, self.err.read_text()
        return "Ctrl-C ends it" in self.out.read_text()

    def __exit__(self, *_exc_info):
        self.stop()

    def stop(self, number=signal.SIGTERM, group=False):
        """End it as Ctrl-C (a whole group) or a service manager does; its exit status, nothing of it left."""
        if self.process.poll() is not None:
            return self.process.returncode
        family = psutil.Process(self.process.pid).children(recursive=True)
        (os.killpg if group else os.kill)(self.process.pid, number)
        try:
            status = self.process.wait(15)
            assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
        finally:
            self.process.kill()
            self.process.wait()
            for one in family:
                with contextlib.suppress(psutil.Error):
                    one.kill()
        return status

    def ask(self, path="/", method="GET", body=None, **headers):
        """The whole answer: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def body(self, path="/"):
        status, _headers, body = self.ask(path)
        assert status == 200, self.err.read_text()
        return body

    def save(self, text):
        (self.www / "wsgi.py").write_text(text)

    def records(self, request_id):
        """What standard error has of one request, without the stamps."""
        return re.findall(rf"^\S+ \S+ \[{request_id}\] (.*)$", self.err.read_text(), re.MULTILINE)

    def access_line(self, path):
        return wait_for(
            lambda: next((line for line in self.out.read_text().splitlines() if f" {path} HTTP" in line), None),
            f"the access line of {path}",
        )

    def workers(self):
        return {child.pid for child in psutil.Process(self.process.pid).children()}


@pytest.fixture
def www(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "wsgi.py").write_text(APP)
    return folder


@pytest.fixture
def serving(www):
    with Serving(www) as running:
        yield running


def test_a_page_and_where_what_it_prints_goes(serving):
    status, headers, body = serving.ask("/page")
    assert (status, headers["content-type"]) == (200, "text/plain")
    assert int(body) in serving.workers()
    line = serving.access_line("/page")
    made = line.split()[-1]
    assert re.fullmatch("[0-9a-f]{12}", made)
    assert re.match(r'127\.0\.0\.1 - - \[[^]]+\] "GET /page HTTP/1\.1" 200 \d+ "-" "-" response-time=0\.\d{3} ', line)
    assert wait_for(lambda: serving.records(made), "its lines") == ["to stderr at /page", "to wsgi.errors at /page"]
    assert "to stdout at /page\n" in serving.out.read_text()
    assert "\x1b" not in serving.out.read_text() + serving.err.read_text()


def test_a_failure_is_the_error_page_and_one_record_under_one_id(serving):
    status, headers, body = serving.ask("/raise", Accept="application/json")
    made = headers["x-request-id"]
    assert (status, json.loads(body)["request_id"]) == (500, made)
    assert serving.access_line("/raise").endswith(" " + made)
    lines = serving.records(made)
    assert (lines[0], lines[-1]) == ("GET /raise: the application failed in its call", "LookupError: no such thing")
    (serving.www / "500.html").write_text("ours: {{request_id}}")
    status, headers, body = serving.ask("/raise")
    assert (status, body.decode()) == (500, f"ours: {headers['x-request-id']}")


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_failure_after_the_first_byte_never_looks_like_a_whole_answer(serving, version):
    with socket.create_connection(("127.0.0.1", serving.port), timeout=20) as connection:
        connection.sendall(f"GET /half {version}\r\nHost: localhost\r\n\r\n".encode())
        answer = b""
        with pytest.raises(ConnectionResetError):
            while block := connection.recv(4096):
                answer += block
            assert b"0\r\n\r\n" not in answer
            assert version == "HTTP/1.1", "the end looks like the body's"
            raise ConnectionResetError
    serving.access_line("/half")
    assert serving.err.read_text().count("LookupError: after the first byte") == 1


def test_a_body_ends_where_it_ends_and_one_that_does_not_come_is_one_line(serving):
    assert serving.ask("/body", "POST", b"x" * 100_000)[2] == b"x" * 100_000
    assert serving.ask("/body", "POST", iter([b"in ", b"chunks"]))[2] == b"in chunks"
    assert serving.ask("/body")[2] == b""
    with socket.create_connection(("127.0.0.1", serving.port)) as connection:
        connection.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nUser-Agent: leaver\r\n\r\nsome")
    line = wait_for(lambda: re.search('.*"leaver".*', serving.out.read_text()), "the access line")[0]
    printed, told = serving.records(line.split()[-1])[:2], serving.records(line.split()[-1])[2:]
    assert printed == ["to stderr at /body", "to wsgi.errors at /body"]
    assert told == ["POST /body: the client went away while its request was read"]


def test_what_is_no_http_is_refused_with_an_access_line(serving):
    with socket.create_connection(("127.0.0.1", serving.port), timeout=20) as connection:
        connection.sendall(b"no\x1b[2J http\r\n\r\n")
        assert b"400" in connection.recv(4096)
    assert wait_for(lambda: r'"no\x1B[2J http" 400' in serving.out.read_text(), "the access line")
    assert serving.err.read_text() == ""


def test_static_files_are_the_runtimes(www):
    (www / "static").mkdir()
    (www / "static" / "a.txt").write_text("0123456789")
    with Serving(www) as serving:
        status, headers, body = serving.ask("/static/a.txt")
        assert (status, body, headers["content-type"]) == (200, b"0123456789", "text/plain; charset=utf-8")
        assert serving.ask("/static/a.txt", If_None_Match=headers["etag"])[0] == 304
        status, headers, body = serving.ask("/static/a.txt", Range="bytes=2-4")
        assert (status, headers["content-range"], body) == (206, "bytes 2-4/10", b"234")
        (www / "static" / "later.css").write_text("b{}")
        assert serving.body("/static/later.css") == b"b{}"
        assert int(serving.body("/static/../wsgi.py"))


def test_a_named_static_folder_may_have_any_name(www):
    odd = www.parent / "a=b:c d"
    odd.mkdir()
    (odd / "a.txt").write_text("odd")
    with Serving(www, "--static", "../a=b:c d") as serving:
        assert serving.body("/static/a.txt") == b"odd"


def test_a_save_is_served_to_the_very_next_request_also_within_one_second(serving):
    serving.body()
    for text in ("first", "other", "third"):  # of one length
        serving.save(GOOD % text)
        os.utime(serving.www / "wsgi.py", (1_000_000_000, 1_000_000_000))
        assert serving.body() == text.encode()


def test_a_touch_is_a_new_process_and_needs_no_request(serving):
    before = serving.workers()
    serving.body()
    (serving.www / "wsgi.py").touch()
    wait_for(lambda: serving.workers() and not serving.workers() & before, "another worker")
    assert "Reloading: " in serving.out.read_text()


def test_a_broken_file_shows_the_error_page_and_heals_when_mended(serving):
    for broken, reason in [
        ("def (", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("", "defines"),
    ]:
        serving.save(broken)
        status, headers, _body = serving.ask()
        assert status == 500
        assert reason in wait_for(lambda: "".join(serving.records(headers["x-request-id"])), "its record")  # noqa: B023
    assert "Traceback" in serving.err.read_text()
    (serving.www / "wsgi.py").unlink()
    assert serving.ask()[0] == 500
    serving.save(GOOD % "mended")
    assert serving.body() == b"mended"


def test_a_request_that_has_begun_is_finished_by_the_code_that_began_it(serving):
    answers = []
    client = threading.Thread(target=lambda: answers.append(serving.ask("/wait")))
    client.start()
    wait_for((serving.www / "waiting").exists, "the request")
    serving.save(GOOD % "new")
    assert serving.body() == b"new"
    (serving.www / "go").touch()
    client.join(20)
    status, headers, body = answers[0]
    assert (status, len(body)) == (200, int(headers["content-length"]))


@pytest.mark.parametrize(
    ("path", "how"), [("/exit", "exited with status 7"), ("/crash", "was killed by SIGSEGV")], ids=["exit", "crash"]
)
def test_a_worker_that_dies_is_replaced_and_told_with_the_request_it_was_at(serving, path, how):
    before = int(serving.body())
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        serving.ask(path)
    assert int(serving.body()) != before
    record = wait_for(
        lambda: re.search(
            rf"\[([0-9a-f]{{12}})\] GET {path}: the worker process (\d+) (.*)", serving.err.read_text()
        ),
        "the record",
    )
    assert int(record[2]) == before
    assert record[3].startswith(f"{how} in this request, ")
    if path == "/crash":
        assert f'File "{serving.www}/wsgi.py", line 10 in application' in serving.err.read_text()


def test_a_file_whose_loading_ends_the_process_is_told_of_and_heals(serving):
    serving.save("import os\nos._exit(9)\n")
    wait_for(lambda: "exited with status 9 while it loaded" in serving.err.read_text(), "the record")
    time.sleep(1)  # not a wait for anything: in this time it must not have been tried without a pause
    assert 1 <= serving.err.read_text().count("while it loaded") <= 4
    serving.save(GOOD % "mended")
    assert serving.body() == b"mended"


def test_a_file_that_never_ends_loading_is_let_go_when_it_is_saved_again(serving):
    serving.save("open('loading', 'w').close()\nwhile True: pass\n")
    wait_for((serving.www / "loading").exists, "the load")
    serving.save(GOOD % "mended")
    assert serving.body() == b"mended"


def test_all_of_its_processes_serve(www):
    with Serving(www, "--processes", "3") as serving:
        seen = set()
        wait_for(lambda: seen.add(int(serving.body())) or len(seen) == 3, "an answer of each process")
        assert seen == serving.workers()
        serving.save(GOOD % "new")
        assert [serving.body() for _ in range(12)] == [b"new"] * 12


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, True)])
def test_it_ends_cleanly_and_leaves_no_process_and_no_file(www, number, group):
    with Serving(www, "--processes", "2") as serving:
        serving.body("/child")
        family = psutil.Process(serving.process.pid).children(recursive=True)
        assert "sleep" in [one.name() for one in family]
        assert serving.stop(number, group) == 0
        assert not any(one.is_running() for one in family)
    assert sorted(path.name for path in www.parent.iterdir()) == ["stderr", "stdout", "www"]
    assert "Traceback" not in serving.err.read_text()


def test_ctrl_c_while_it_starts_is_no_traceback(www):
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2):
        with Serving(www, "--processes", "2") as serving:
            time.sleep(pause)  # at whatever the workers are just then
            assert serving.stop(signal.SIGINT, group=True) == 0
            assert serving.err.read_text() == ""


def test_a_request_that_is_under_way_is_finished_first(serving):
    answers = []
    client = threading.Thread(target=lambda: answers.append(serving.ask("/wait")))
    client.start()
    wait_for((serving.www / "waiting").exists, "the request")
    serving.process.send_signal(signal.SIGTERM)
    (serving.www / "go").touch()
    client.join(20)
    assert answers[0][0] == 200
    assert serving.process.wait(15) == 0


def test_one_that_never_ends_is_told_of_and_ended_at_the_second_ctrl_c_at_once(serving):
    def hang():
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            serving.ask("/wait")

    client = threading.Thread(target=hang)
    client.start()
    wait_for((serving.www / "waiting").exists, "the request")
    began = time.monotonic()
    serving.process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # two that come at once are one
    serving.process.send_signal(signal.SIGINT)
    assert serving.process.wait(15) == 0
    assert time.monotonic() - began < 4
    client.join(20)


def test_no_worker_outlives_a_supervisor_that_was_killed(serving):
    workers = [psutil.Process(pid) for pid in serving.workers()]
    serving.body()
    serving.process.kill()
    serving.process.wait()
    left = psutil.wait_procs(workers, timeout=15)[1]
    assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []  # nobody may be there to reap them


def test_the_log_is_appended_to_and_followed_when_it_is_rotated(www):
    log = www.parent / "error.log"
    log.write_text("before\n")
    with Serving(www, "--log", "../error.log") as serving:
        made = serving.ask("/raise")[1]["x-request-id"]
        assert log.read_text().startswith("before\n")
        assert f"[{made}] LookupError: no such thing\n" in log.read_text()
        log.rename(www.parent / "error.log.1")
        made = serving.ask("/raise")[1]["x-request-id"]
        assert f"[{made}] LookupError: no such thing\n" in log.read_text()
        wait_for(lambda: serving.records(made), "the lines on the terminal")
    assert "before" not in serving.err.read_text()
    assert serving.err.read_text().count("LookupError: no such thing") == 2


def test_the_log_is_json_where_that_is_asked_for(www):
    with Serving(www, "--log", "../error.log", environ={"SITE_LOG_FORMAT": "json"}) as serving:
        made = serving.ask("/raise")[1]["x-request-id"]
        (record,) = map(json.loads, (www.parent / "error.log").read_text().splitlines())
        assert (record["request_id"], record["path"], record["level"]) == (made, "/raise", "ERROR")


def read_terminal(fd, until):
    """What comes to a terminal until it has this text."""
    text, deadline = "", time.monotonic() + 20
    while until not in text:
        assert select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0], text
        text += os.read(fd, 1 << 16).decode()
    return text


@pytest.mark.parametrize(
    ("environ", "colored"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["terminal", "no-color", "dumb"],
)
def test_it_is_colored_on_a_terminal_alone_unless_told_otherwise(www, environ, colored):
    ours, its = pty.openpty()
    port = free_port()
    process = subprocess.Popen(
        [SCRIPT, "serve", "wsgi.py", "--port", str(port)], stdin=its, stdout=its, stderr=its, cwd=www,
        start_new_session=True, env={"PATH": os.environ["PATH"], "TMPDIR": str(www.parent), **environ},
    )  # fmt: skip
    try:
        os.close(its)
        text = read_terminal(ours, "Ctrl-C ends it")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET /raise HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(4096)
        text += read_terminal(ours, "response-time=")
        assert ("\x1b[31mLookupError: no such thing\x1b[0m" in text) == colored
        assert ("\x1b[31m500\x1b[0m" in text) == colored
        assert ("\x1b" in text) == colored
        assert text.index("LookupError") < text.index("response-time"), "the access line comes after the reason"
    finally:
        process.terminate()
        assert process.wait(15) == 0
        os.close(ours)


def test_modules_of_the_users_never_stand_in_for_ours(www):
    names = ["traceback", "json", "socket", "select", "werkzeug", "psutil", "selectors", "http", "random", "argparse"]
    for name in names:
        (www / f"{name}.py").write_text("raise SystemExit('taken')")
    (www / "helper.py").write_text("TEXT = b'helped'")
    (www / "wsgi.py").write_text("import helper\n" + (GOOD % "").replace("b''", "helper.TEXT"))
    with Serving(www) as serving:
        assert serving.body() == b"helped"


def least_library(library):
    """Make a folder with this package and the two that `serve` needs, and nothing else."""
    library.mkdir()
    shutil.copytree(ROOT / "user_wsgi_wrapper", library / "user_wsgi_wrapper")
    for name in ("werkzeug", "markupsafe", "psutil"):
        shutil.copytree(Path(sysconfig.get_path("purelib"), name), library / name)
        meta = Path(metadata.distribution(name)._path)
        shutil.copytree(meta, library / meta.name)
    return str(library)


@pytest.fixture
def open_folder():
    """A folder that any user may pass: pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_an_ordinary_user_needs_nothing_else(open_folder):
    """Debian's Python, this package, werkzeug and psutil: no root, no home, no other package, no write permission."""
    www, temporary = open_folder / "www", open_folder / "tmp"
    www.mkdir()
    (www / "wsgi.py").write_text(APP)
    temporary.mkdir()
    os.chown(temporary, NOBODY, NOBODY)
    command = ("/usr/bin/python3", "-s", "-m", "user_wsgi_wrapper")
    library = least_library(open_folder / "library")
    environ = {"PYTHONPATH": library, "TMPDIR": str(temporary), "HOME": "/nonexistent"}
    with Serving(www, command=command, environ=environ, user=NOBODY, group=NOBODY, extra_groups=[]) as serving:
        pid = int(serving.body())
        assert psutil.Process(pid).uids().real == NOBODY
        assert serving.ask("/raise")[0] == 500
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "command", [(str(SCRIPT),), (sys.executable, "-m", "user_wsgi_wrapper")], ids=["script", "-m"]
)
def test_what_keeps_it_from_serving_is_one_line(www, command):
    (www / "folder").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            (["wsgi.py", "--port", port], 1, f"port {port}: another program is using it"),
            (["none.py"], 1, "application 'none.py': no such file"),
            (["folder"], 1, "application 'folder': it is no regular file"),
            (["wsgi.py", "--static", "none"], 1, "static folder 'none': no such file"),
            (["wsgi.py", "--static", "wsgi.py"], 1, "static folder 'wsgi.py': it is no directory"),
            (["wsgi.py", "--log", "none/x"], 1, "log 'none/x': no such file"),
            (["wsgi.py", "--log", "folder"], 1, "log 'folder': is a directory"),
            (["wsgi.py", "--log", ""], 1, "log '': no such file"),
            (["wsgi.py", "--port", "0"], 2, "'0': a port from 1 to 65535 is needed"),
            (["wsgi.py", "--processes", "0"], 2, "'0': a number from 1 to 64 is needed"),
            ([], 2, "WSGI_FILE"),
        ]
        for arguments, status, said in cases:
            done = subprocess.run(
                [*command, "serve", *arguments], cwd=www, capture_output=True, text=True, timeout=20
            )
            assert (done.returncode, done.stdout) == (status, ""), (arguments, done)
            assert re.fullmatch(r"user-wsgi-wrapper.*\n", done.stderr), done.stderr
            assert said in done.stderr
    assert sorted(path.name for path in www.iterdir()) == ["folder", "wsgi.py"]
