"""The guard around the application, in process: PEP 3333 as wsgiref.validate sees it, errors, close(), lifetimes."""

import errno
import gc
import io
import json
import sys
import tempfile
import threading
import weakref
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_wsgi_wrapper.runtime import connection
from user_wsgi_wrapper.runtime.capture import Body, Capture, CutShortError, current_environ
from user_wsgi_wrapper.runtime.error_log import ErrorLog
from user_wsgi_wrapper.runtime.error_page import ErrorPage, prefers_json
from user_wsgi_wrapper.runtime.failure import ResponseError, format_exception
from user_wsgi_wrapper.runtime.pep3333 import check_headers, check_status
from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending

TEXT = [("Content-Type", "text/plain")]
REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"


class Site:
    """An application under guard, and a server that keeps what it is told."""

    def __init__(self, folder):
        self.folder = folder
        self.log = ErrorLog(str(folder / "error.log"), "one.example")
        self.pending = Pending(self.log, current_environ)
        self.errors = ErrorStream(self.pending, "<wsgi.errors>", shared=True)
        self.starts = []
        self.written = []

    def guard(self, app, **page):
        return Capture(app, self.log, self.errors, self.pending, ErrorPage(str(self.folder / "500.html"), **page))

    def start_response(self, status, headers, exc_info=None):
        self.starts.append((status, headers, exc_info and exc_info[1]))
        return self.written.append

    def ask(self, app, environ=None, page=(), **more):
        """The body, made by a server that keeps PEP 3333."""
        if environ is None:
            environ = request(**more)
        result = self.guard(app, **dict(page)).respond(environ, self.start_response)
        try:
            return b"".join([*self.written, *result])
        finally:
            if hasattr(result, "close"):
                result.close()

    def lines(self):
        with open(self.log.path) as file:
            return [line[24:] for line in file.read().splitlines()]

    @property
    def status(self):
        return self.starts[-1][0]

    @property
    def headers(self):
        return dict(self.starts[-1][1])


def request(**more):
    environ = {"REQUEST_ID": REQUEST_ID, "QUERY_STRING": "", **more}
    setup_testing_defaults(environ)
    return environ


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.log.close()


def plain(body):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return body

    return app


@pytest.mark.parametrize("body", [[b"a", b"b"], (b"ab",), iter([b"a", b"", b"b"]), (part for part in (b"a", b"b"))])
def test_a_sound_application_passes_the_validator_on_both_sides(site, body):
    guarded = validator(site.guard(validator(plain(body))).respond)
    environ = request()
    result = guarded(environ, lambda status, headers, exc_info=None: site.written.append)
    try:
        assert b"".join(result) == b"ab"
    finally:
        result.close()
    assert site.lines() == []


def test_a_failing_application_passes_the_validator_on_the_servers_side(site):
    def app(environ, start_response):
        raise LookupError("broken")

    result = validator(site.guard(app).respond)(request(), site.start_response)
    try:
        assert REQUEST_ID[:12].encode() in b"".join(result)
    finally:
        result.close()
    assert site.status == "500 Internal Server Error"


def test_lists_tuples_and_files_go_through_by_identity(site):
    with tempfile.TemporaryFile() as file:
        wrapped = FileWrapper(file)
        for result in ([b"a"], (b"a",), file, io.BytesIO(b"a"), wrapped):
            environ = request(**{"wsgi.file_wrapper": FileWrapper})
            assert site.guard(plain(result)).respond(environ, site.start_response) is result
    assert type(site.guard(plain(iter([b"a"]))).respond(request(), site.start_response)) is Body


def test_bytes_alone_become_one_chunk(site):
    assert site.guard(plain(b"whole")).respond(request(), site.start_response) == [b"whole"]


@pytest.mark.parametrize(
    "result", [None, 7, "text", io.StringIO("text"), ["text"], [None], [bytearray(b"a")], {"a": 1}]
)
def test_a_result_that_is_no_iterable_of_bytes_is_a_500_that_names_the_rule(site, result):
    body = site.ask(plain(result))
    assert (site.status, site.headers["X-Request-ID"]) == ("500 Internal Server Error", REQUEST_ID[:12])
    assert b"PEP" not in body
    assert len(site.lines()) == 1
    assert "PEP 3333" in site.lines()[0]


@pytest.mark.filterwarnings("error")
def test_a_coroutine_is_closed_and_told_of(site):
    async def app(environ, start_response):
        return [b""]

    site.ask(app)
    assert "returned an object of type coroutine" in site.lines()[0]


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (200, TEXT, "the status 200 is not a str"),
        ("OK", TEXT, "is not of the form '200 OK'"),
        ("2000 OK", TEXT, "is not of the form '200 OK'"),
        ("²00 OK", TEXT, "is not of the form '200 OK'"),
        ("200 OK\r\nX: y", TEXT, "holds a control character"),
        ("200 \u20ac", TEXT, "can't be encoded in latin-1"),
        (["200 OK"], TEXT, "is not a str"),
        ("200 OK", None, "the headers are of type NoneType"),
        ("200 OK", tuple(TEXT), "the headers are of type tuple"),
        ("200 OK", {"a": "b"}, "the headers are of type dict"),
        ("200 OK", ["ab"], "is not a tuple (name, value)"),
        ("200 OK", [("a", "b", "c")], "is not a tuple (name, value)"),
        ("200 OK", [("Content-Length", 3)], "is not of two str"),
        ("200 OK", [(b"Content-Length", "3")], "is not of two str"),
        ("200 OK", [("", "3")], "is no token"),
        ("200 OK", [("X: Y", "3")], "is no token"),
        ("200 OK", [("X-Y", "a\nb")], "holds a control character"),
        ("200 OK", [("X-Y", "a\0b")], "holds a control character"),
        ("200 OK", [("X-Y", "\u20ac")], "can't be encoded in latin-1"),
    ],
)
def test_a_bad_status_or_header_is_a_500_that_shows_the_callers_line(site, status, headers, words):
    def app(environ, start_response):
        start_response(status, headers)
        return [b""]

    # A second time, when the names and statuses of good ones are known.
    site.ask(plain([b""]))
    site.ask(app)
    assert site.status == "500 Internal Server Error"
    assert words in site.lines()[0]
    assert any("start_response(status, headers)" in line for line in site.lines())
    assert not any("/runtime/" in line for line in site.lines())


@given(st.text(), st.text())
def test_no_header_that_passes_can_end_its_line(name, value):
    try:
        check_headers([(name, value)])
    except ResponseError:
        return
    line = f"{name}: {value}".encode("latin-1")
    assert not {*b"\r\n\0"} & {*line}
    assert line.partition(b":")[0] == name.encode()


@given(st.text())
def test_no_status_that_passes_can_end_its_line(status):
    try:
        passed = check_status(status)
    except ResponseError:
        return
    assert passed[:3].isdigit()
    assert passed[3] == " "
    assert not {*b"\r\n\0"} & {*passed.encode("latin-1")}


def test_tabs_latin_1_and_a_status_without_a_reason_pass(site):
    def app(environ, start_response):
        start_response("204", [("X-Name", "Ren\xe9\tagain")])
        return []

    assert site.ask(app) == b""
    assert site.starts == [("204 ", [("X-Name", "Ren\xe9\tagain")], None)]


def test_write_sends_bytes_and_refuses_text(site):
    def app(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"")
        write(b"one")
        with pytest.raises(ResponseError):
            write("two")
        return [b"three"]

    assert site.ask(app) == b"onethree"


def test_exc_info_replaces_the_head_until_a_byte_is_out(site):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        for status in ("404 Not Found", "410 Gone"):
            try:
                raise KeyError(status)
            except KeyError:
                write = start_response(status, TEXT, sys.exc_info())
            write(b"body")
        return []

    with pytest.raises(CutShortError):
        site.ask(app)
    assert [start[0] for start in site.starts] == ["200 OK", "404 Not Found"]
    assert site.lines()[-1] == "[3f9c2a71d0b4] KeyError: '410 Gone'"


def test_the_error_page_replaces_a_head_that_is_not_out(site):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b""
        raise LookupError("late")

    site.ask(app)
    assert [start[0] for start in site.starts] == ["200 OK", "500 Internal Server Error"]
    assert isinstance(site.starts[1][2], LookupError)


def test_under_uwsgi_start_response_never_gets_exc_info(site, monkeypatch):
    monkeypatch.setattr(connection, "UWSGI", object())

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        raise LookupError("late")

    site.ask(app)
    assert [start[2] for start in site.starts] == [None, None]


def test_a_failure_after_the_first_byte_has_the_server_drop_the_connection(site):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"half"
        raise LookupError("late")

    result = site.guard(app).respond(request(), site.start_response)
    chunks = iter(result)
    assert next(chunks) == b"half"
    with pytest.raises(CutShortError):
        next(chunks)
    result.close()
    assert len(site.starts) == 1
    assert sum("LookupError: late" in line for line in site.lines()) == 1


def test_ctrl_c_reaches_a_server_in_a_terminal(site):
    def app(environ, start_response):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.ask(app)


class Closing:
    def __init__(self, chunks, error=None):
        self.chunks, self.error, self.closed = chunks, error, 0

    def __iter__(self):
        yield from self.chunks
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("steps", [0, 1, 2, 99])
@pytest.mark.parametrize("error", [None, LookupError("x"), SystemExit(1), GeneratorExit("their own"), MemoryError()])
@pytest.mark.parametrize("chunks", [[b"a", b"b"], [b""], ["text"], []])
def test_close_is_called_exactly_once_whatever_happens(site, steps, error, chunks):
    body = Closing(chunks, error)
    result = site.guard(plain(body)).respond(request(), site.start_response)
    iterator = iter(result)
    try:
        for _ in range(steps):
            if next(iterator, None) is None:
                break
    except CutShortError:
        assert error is not None
    del iterator
    assert body.closed == 0
    result.close()
    result.close()
    assert body.closed == 1
    assert sum(line.endswith("in its response's iteration") for line in site.lines()) <= 1


class ClosingList(list):
    closed = 0

    def close(self):
        self.closed += 1


class ClosingFile:
    closed = 0

    def read(self, _size=-1):
        return b""

    def close(self):
        self.closed += 1


class RaisesAtOnce(Closing):
    def __iter__(self):
        raise LookupError("no iterator")


class NoIterable(Closing):
    __iter__ = None


@pytest.mark.parametrize("starts", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        ClosingList([b"a"]), ClosingList(["text"]), ClosingFile(), RaisesAtOnce([]), NoIterable([]), Closing([b"a"]),
        Closing([]),
    ],
    ids=lambda body: type(body).__name__,
)  # fmt: skip
def test_close_is_called_exactly_once_on_every_kind_of_result(site, starts, body):
    body.closed = 0

    def app(environ, start_response):
        if starts:
            start_response("200 OK", TEXT)
        return body

    wrap = (lambda file, size=0: file) if isinstance(body, ClosingFile) else FileWrapper
    environ = request(**{"wsgi.file_wrapper": wrap})
    result = site.guard(app).respond(environ, site.start_response)
    if result is not body or isinstance(body, list):  # a file is read by the server
        list(result)
    if hasattr(result, "close"):
        result.close()
    assert body.closed == 1


def test_a_failure_after_a_write_is_the_servers_to_see_in_the_iteration(site):
    """Not in the call: mod_wsgi takes what is raised there for an answer that hasn't begun."""

    def app(environ, start_response):
        start_response("200 OK", TEXT)(b"half")
        raise LookupError("late")

    result = site.guard(app).respond(request(), site.start_response)
    with pytest.raises(CutShortError) as caught:
        list(result)
    assert caught.value.__context__ is None
    assert caught.value.errno == errno.ECONNRESET


def test_nobody_is_told_of_a_cut_who_is_gone(site):
    def gone(_data):
        raise BrokenPipeError(32, "Broken pipe")

    def app(environ, start_response):
        start_response("200 OK", TEXT)(b"half")

    result = site.guard(app).respond(request(), lambda status, headers, exc_info=None: gone)
    assert list(result) == []
    assert site.lines() == ["[3f9c2a71d0b4] GET /: the client went away while it was answered"]


def test_ctrl_c_in_another_thread_is_the_applications_own(site):
    def app(environ, start_response):
        raise KeyboardInterrupt

    thread = threading.Thread(target=site.ask, args=(app,))
    thread.start()
    thread.join()
    assert site.status == "500 Internal Server Error"


def test_a_client_that_is_gone_is_no_error(site):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"a"
        yield b"b"

    result = site.guard(app).respond(request(), site.start_response)
    chunks = iter(result)
    next(chunks)
    chunks.close()
    result.close()
    assert site.lines() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fails", ["", "call", "first", "later", "close"])
def test_nothing_keeps_the_environ_alive(site, fails):
    class Environ(dict):
        pass

    class Response:
        def __init__(self, environ):
            self.environ = environ

        def __iter__(self):
            if fails == "first":
                raise LookupError
            yield b"a"
            if fails == "later":
                raise LookupError

        def close(self):
            if fails == "close":
                raise LookupError

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        if fails == "call":
            raise LookupError
        return Response(environ)

    # The server of this test keeps nothing: neither the exc_info that it is given nor the exception it ends in.
    guarded = site.guard(app)
    environ = Environ(request())
    alive = weakref.ref(environ)
    gc.disable()
    try:
        result = guarded.respond(environ, lambda status, headers, exc_info=None: None)
        try:
            list(result)
        except CutShortError as error:
            gone = error.with_traceback(None)
            gone.__context__ = None
            del gone
        if hasattr(result, "close"):
            result.close()
        del result, environ
        assert alive() is None
    finally:
        gc.enable()


def test_lines_carry_the_request_whose_code_writes_them(site):
    def app(environ, start_response):
        print("in the call", file=site.errors)
        start_response("200 OK", TEXT)

        def body():
            print("in the body", file=environ["wsgi.errors"])
            yield b"a"

        return body()

    print("before", file=site.errors)
    site.ask(app)
    print("after", file=site.errors)
    tag = f"[{REQUEST_ID[:12]}]"
    assert site.lines() == ["[-] before", f"{tag} in the call", f"{tag} in the body", "[-] after"]


def test_an_unfinished_line_is_written_at_the_end_of_its_request_and_before_its_failure(site):
    def app(environ, start_response):
        environ["wsgi.errors"].write("unfinished")
        if environ["PATH_INFO"] == "/fails":
            raise LookupError
        start_response("200 OK", TEXT)
        return [b""]

    site.ask(app)
    assert site.lines() == ["[3f9c2a71d0b4] unfinished"]
    site.ask(app, PATH_INFO="/fails")
    assert site.lines()[1:3] == [
        "[3f9c2a71d0b4] unfinished",
        "[3f9c2a71d0b4] GET /fails: the application failed in its call",
    ]


def test_the_page_is_html_json_or_the_tenants_own(site):
    def app(environ, start_response):
        raise LookupError("<secret>")

    assert b"<!DOCTYPE html>" in site.ask(app)
    assert json.loads(site.ask(app, HTTP_ACCEPT="application/json")) == {
        "status": 500, "title": "Internal Server Error", "request_id": REQUEST_ID[:12]
    }  # fmt: skip
    assert b"secret" not in site.ask(app)
    assert b"&lt;secret&gt;" in site.ask(app, page={"debug": True})
    assert "<secret>" in json.loads(site.ask(app, page={"debug": True}, HTTP_ACCEPT="application/json"))["detail"]
    (site.folder / "500.html").write_bytes(b"own {{request_id}}")
    assert site.ask(app) == f"own {REQUEST_ID[:12]}".encode()
    assert site.ask(app, REQUEST_METHOD="HEAD") == b""
    assert site.headers["Content-Length"] == str(len(f"own {REQUEST_ID[:12]}"))
    (site.folder / "500.html").write_bytes(b"x" * (1 << 20))
    assert b"<!DOCTYPE html>" in site.ask(app)


@pytest.mark.parametrize(
    ("accept", "json_wins"),
    [
        ("", False), ("*/*", False), ("text/html,application/json;q=0.9", False), ("application/json", True),
        ("application/problem+json, */*", True), ("application/json;q=0", False), ("application/json;q=x", False),
        ("text/html;q=0.2, application/json;q=0.3", True), ("text/json-not", False),
    ],
)  # fmt: skip
def test_json_is_sent_to_those_who_prefer_it(accept, json_wins):
    assert prefers_json(accept) is json_wins


def test_an_id_is_made_only_for_the_request_that_needs_one(site):
    environ = request()
    del environ["REQUEST_ID"]
    site.ask(plain([b""]), environ)
    assert "REQUEST_ID" not in environ
    site.ask(plain(None), environ)
    assert site.headers["X-Request-ID"] == environ["REQUEST_ID"][:12]
    assert site.lines()[0].startswith(f"[{environ['REQUEST_ID'][:12]}] ")


def test_a_path_can_not_forge_a_line_and_a_query_is_not_logged(site):
    site.ask(plain(None), PATH_INFO="/a\n2012-08-24 forged/\xc3\xa9", QUERY_STRING="token=secret")
    assert len(site.lines()) == 1
    assert "GET /a\\n2012-08-24 forged/é: the application returned None" in site.lines()[0]
    assert "secret" not in site.lines()[0]


def test_a_traceback_is_cpythons_own_text_with_causes_notes_and_groups():
    def fail():
        try:
            {}["key"]
        except KeyError as error:
            raise ValueError("the second") from error

    try:
        fail()
    except ValueError as error:
        if hasattr(error, "add_note"):
            error.add_note("a note")
        import traceback

        assert format_exception(error) == "".join(traceback.format_exception(error)).rstrip("\n")
    if sys.version_info >= (3, 11):
        group = ExceptionGroup("several", [KeyError("a"), ValueError("b")])  # noqa: F821
        assert format_exception(group) == "".join(traceback.format_exception(group)).rstrip("\n")


def test_an_exception_that_can_not_be_shown_is_still_described():
    class Odd(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    class Odder(Exception):
        @property
        def __cause__(self):
            raise SystemExit

    for error in (Odd(), Odder("x")):
        assert "Odd" in format_exception(error)
