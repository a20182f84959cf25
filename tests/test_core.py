"""uWSGI's short way through the guard: it lets nothing pass that the long way stops. In process, uWSGI played."""

import contextlib
import gc
import io
import sys
import types
import weakref

import pytest

from tests.test_capture import REQUEST_ID, TEXT, Site, plain, request
from user_wsgi_wrapper.runtime import connection
from user_wsgi_wrapper.runtime.capture import Body
from user_wsgi_wrapper.runtime.core import serving


class Uwsgi:
    """What uWSGI does with an application: one start_response and one wsgi.errors for all requests."""

    def __init__(self, site, app, cores=1):
        self.site = site
        self.prepared = []
        connection.UWSGI.cores = cores
        self.flags = bytearray(cores)
        self.respond = serving(site.guard(app), self.prepared.append, self.flags)
        self.errors = io.TextIOWrapper(io.BytesIO())

    def ask(self, core=0, **more):
        environ = request(**more)
        environ["wsgi.errors"] = self.errors
        if connection.UWSGI.cores > 1:
            environ["uwsgi.core"] = core
        self.site.written.clear()
        result = self.respond(environ, self.site.start_response)
        try:
            chunks = [result] if type(result) is bytes else list(result)
        finally:
            if hasattr(result, "close"):
                result.close()
        return b"".join([*self.site.written, *chunks])


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "UWSGI", types.SimpleNamespace(cores=1, opt={}))
    made = Site(tmp_path)
    # a bound method is a new object each time it is asked for; uWSGI's is one for all
    made.start_response = made.start_response
    yield made
    made.log.close()


def statuses(site):
    return [status for status, _headers, _exc_info in site.starts]


@pytest.mark.parametrize("result", [[b"ab"], [b"a", b"b"], [b"", b"ab"], (b"a", b"b"), b"ab", [b"ab", b""]])
def test_whatever_holds_bytes_is_sent_whole_each_time(site, result):
    server = Uwsgi(site, plain(result))
    assert [server.ask() for _ in range(3)] == [b"ab"] * 3
    assert site.lines() == []


def test_a_single_chunk_is_handed_on_uncopied(site):
    chunk = b"x" * 10_000
    server = Uwsgi(site, plain([chunk]))
    environ = {**request(), "wsgi.errors": server.errors}
    assert server.respond(environ, site.start_response) is chunk


@pytest.mark.parametrize("result", [["text"], [b"a", "text"], [None], None, 7, {"a": 1}])
def test_what_holds_no_bytes_is_a_500_each_time(site, result):
    server = Uwsgi(site, plain(result))
    for _ in range(3):
        assert REQUEST_ID[:12].encode() in server.ask()
    assert statuses(site)[1::2] == ["500 Internal Server Error"] * 3
    assert len(site.lines()) == 3
    assert all("PEP 3333" in line for line in site.lines())


@pytest.mark.parametrize("bad", [("X-Bad", "a\r\nb"), ("X-Bad", "a\0"), ("X Bad", "a"), ("X-Bad", 1), ["X-Bad", "a"]])
def test_a_header_seen_never_before_is_checked_after_sound_ones(site, bad):
    headers = list(TEXT)

    def app(environ, start_response):
        start_response("200 OK", headers)
        return [b"ok"]

    server = Uwsgi(site, app)
    assert [server.ask(), server.ask()] == [b"ok", b"ok"]
    headers.append(bad)  # the very list that passed
    for _ in range(2):
        assert server.ask() != b"ok"
    assert statuses(site) == ["200 OK"] * 2 + ["500 Internal Server Error"] * 2


@pytest.mark.parametrize("status", ["200 OK\r\nX: y", 200, ["200 OK"], "OK", None])
def test_a_status_seen_never_before_is_checked(site, status):
    ask = {"status": "200 OK"}
    server = Uwsgi(site, lambda environ, start_response: [start_response(ask["status"], TEXT) and b"ok"])
    server.ask()
    ask["status"] = status
    server.ask()
    assert statuses(site) == ["200 OK", "500 Internal Server Error"]


def test_start_response_is_missed_also_where_it_was_called_before(site):
    asked = []

    def app(environ, start_response):
        asked.append(1)
        if len(asked) == 1:
            start_response("200 OK", TEXT)
        return [b"ok"]

    server = Uwsgi(site, app)
    assert server.ask() == b"ok"
    assert server.ask() != b"ok"
    assert "start_response was not called" in site.lines()[0]


def test_a_second_call_needs_exc_info_and_unsent_bytes(site):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        if environ["PATH_INFO"] == "/twice":
            start_response("200 OK", TEXT)
        try:
            raise LookupError("inside")
        except LookupError:
            start_response("404 Not Found", TEXT, sys.exc_info())
        return [b"gone"]

    server = Uwsgi(site, app)
    assert [server.ask(), server.ask()] == [b"gone", b"gone"]
    assert statuses(site) == ["200 OK", "404 Not Found"] * 2
    assert server.ask(PATH_INFO="/twice") != b"gone"
    assert "called twice" in site.lines()[0]


def test_exc_info_is_raised_once_bytes_are_out(site, monkeypatch):
    monkeypatch.setattr(connection, "cut", lambda has_length: None)

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"half"
        try:
            raise LookupError("late")
        except LookupError:
            start_response("404 Not Found", TEXT, sys.exc_info())
        yield b"never"

    server = Uwsgi(site, app)
    assert [server.ask() for _ in range(3)] == [b"half"] * 3
    assert statuses(site) == ["200 OK"] * 3
    assert site.lines()[-1].endswith("LookupError: late")


def test_what_the_server_raises_at_start_response_is_told_as_it_is(site):
    server = Uwsgi(site, plain([b"ok"]))
    assert server.ask() == b"ok"
    starts = site.starts.append

    def start(item):
        if item[0] == "200 OK":
            raise TypeError("the server's")
        starts(item)

    site.starts = types.SimpleNamespace(append=start)
    assert server.ask() != b"ok"
    assert site.lines()[-1].endswith("TypeError: the server's")


def test_write_takes_bytes_alone_and_comes_first(site):
    def app(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"one ")
        with pytest.raises(ValueError, match="bytes are needed"):
            write("two")
        return [b"three"]

    server = Uwsgi(site, app)
    assert [server.ask(), server.ask()] == [b"one three"] * 2


@pytest.mark.parametrize("chunks", [["text"], [b"", "text"]])
def test_a_generator_is_checked_also_when_its_type_is_known(site, chunks):
    given = {"chunks": [b"a", b"", b"b"]}

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield from given["chunks"]

    server = Uwsgi(site, app)
    assert [server.ask() for _ in range(3)] == [b"ab"] * 3
    given["chunks"] = chunks
    assert REQUEST_ID[:12].encode() in server.ask()
    assert "the response's iterable gave an object of type str" in site.lines()[0]


class Closing:
    def __init__(self, chunks, error=None):
        self.chunks, self.error, self.closed = chunks, error, 0

    def __iter__(self):
        yield from self.chunks
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("steps", [0, 1, 2, 99])
@pytest.mark.parametrize("error", [None, LookupError("x"), SystemExit(1), GeneratorExit("their own")])
def test_close_is_called_once_whatever_happens(site, steps, error, cores, monkeypatch):
    monkeypatch.setattr(connection, "cut", lambda has_length: None)
    bodies = []

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        bodies.append(Closing([b"a", b"b"], error))
        return bodies[-1]

    server = Uwsgi(site, app, cores)
    for number in range(3):  # the type is known from the second on
        environ = {**request(), "wsgi.errors": server.errors, "uwsgi.core": 0}
        result = server.respond(environ, site.start_response)
        assert (type(result) is Body) == (number == 0)
        iterator = iter(result)
        for _ in range(steps):
            next(iterator, None)
        result.close()
        # with one core uWSGI always iterates: what was never begun has no close()
        assert bodies[-1].closed == (0 if number and not steps and cores == 1 else 1)
    failures = sum(line.endswith("in its response's iteration") for line in site.lines())
    assert failures == (3 if error is not None and steps > 2 else 0)


def test_a_failure_in_the_body_is_the_error_page_or_a_cut(site, monkeypatch):
    cuts = []
    monkeypatch.setattr(connection, "cut", cuts.append)
    given = {"chunks": [b"whole"], "error": None}

    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", "5")])
        yield from given["chunks"]
        if given["error"] is not None:
            raise given["error"]

    server = Uwsgi(site, app)
    assert [server.ask(), server.ask()] == [b"whole"] * 2
    given.update(chunks=[b""], error=LookupError("early"))
    assert REQUEST_ID[:12].encode() in server.ask()
    given.update(chunks=[b"half"], error=LookupError("late"))
    assert (server.ask(), cuts) == (b"half", [True])
    given.update(chunks=[b"whole"], error=None)
    assert server.ask() == b"whole"
    assert sum(line.startswith(f"[{REQUEST_ID[:12]}] LookupError") for line in site.lines()) == 2


def test_an_unfinished_line_is_written_at_the_end_of_its_request(site):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        environ["wsgi.errors"].write(environ["PATH_INFO"])
        return [b""]

    server = Uwsgi(site, app)
    for path in ("/a", "/b"):
        server.ask(PATH_INFO=path)
        assert site.lines()[-1] == f"[{REQUEST_ID[:12]}] {path}"


def test_the_servers_wsgi_errors_leads_to_the_log_in_every_way_of_writing(site):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        errors = environ["wsgi.errors"]
        print("printed", file=errors)
        errors.writelines(["two ", "parts\n"])
        errors.buffer.write(b"bytes\n")
        with pytest.raises(TypeError):
            errors.write(b"bytes")
        errors.close()
        errors.flush()
        return [b""]

    server = Uwsgi(site, app, cores=2)
    for core in (0, 1, 0):
        server.ask(core)
    tag = f"[{REQUEST_ID[:12]}]"
    assert site.lines() == [f"{tag} printed", f"{tag} two parts", f"{tag} bytes"] * 3
    assert len(server.prepared) == 2  # once in each core


def test_cores_know_nothing_of_each_other(site):
    """A request begins and ends on one core while another one's application is at work."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/outer":
            start_response("200 OK", TEXT)
            assert server.ask(1, PATH_INFO="/inner") != b"inner"
            return [b"outer"]
        return [b"inner"]  # without start_response

    server = Uwsgi(site, app, cores=2)
    for _ in range(3):
        assert server.ask(0, PATH_INFO="/outer") == b"outer"
    assert len(site.lines()) == 3


def test_with_wsgi_strict_a_list_stays_one(site):
    connection.UWSGI.opt = {"wsgi-strict": b"true"}
    result = [b"a"]
    assert Uwsgi(site, plain(result)).respond(request(), site.start_response) is result


@pytest.mark.parametrize("fails", ["", "call", "body", "close"])
def test_no_environ_outlives_its_request(site, fails, monkeypatch):
    monkeypatch.setattr(connection, "cut", lambda has_length: None)

    class Environ(dict):
        pass

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        if fails == "call":
            raise LookupError

        class Response:  # made in the request, and it knows the environ
            known = environ

            def __iter__(self):
                yield b"a"
                if fails == "body":
                    raise LookupError

            def close(self):
                if fails == "close":
                    raise LookupError

        return Response()

    server = Uwsgi(site, app)
    site.start_response = lambda status, headers, exc_info=None: bytes
    for _ in range(3):
        environ = Environ(request())
        environ["wsgi.errors"] = server.errors
        alive = weakref.ref(environ)
        result = server.respond(environ, site.start_response)
        list(result)
        if hasattr(result, "close"):
            result.close()
        del result, environ
        gc.collect()  # a class is in a circle with itself
        assert alive() is None


@pytest.mark.parametrize("kind", ["list", "generator", "file", "wrong", "raises", "raises later"])
def test_a_core_is_marked_while_the_application_is_at_a_request(site, kind):
    """From the call to the last of the body, and neither before nor after, whatever becomes of it."""
    seen = []

    def body():
        seen.append(server.flags[0])
        yield b"a"
        seen.append(server.flags[0])
        if kind == "raises later":
            raise LookupError

    def app(environ, start_response):
        seen.append(server.flags[0])
        start_response("200 OK", TEXT)
        if kind == "raises":
            raise LookupError
        return {"list": [b"a"], "file": io.BytesIO(b"a"), "wrong": 7}.get(kind) or body()

    server = Uwsgi(site, app)
    for _ in range(3):
        with contextlib.suppress(Exception):
            server.ask()
        assert set(seen) == {1}
        assert server.flags[0] == 0
