"""What says that the client is gone, and what only looks like it."""

import io
from types import SimpleNamespace

import pytest

from user_wsgi_wrapper.runtime import connection, disconnect
from user_wsgi_wrapper.runtime.disconnect import READING, WRITING
from user_wsgi_wrapper.runtime.exchange import Exchange


def raised(function):
    with pytest.raises(Exception) as caught:
        function()
    return caught.value


class Body(io.RawIOBase):
    """A server's wsgi.input whose client is gone."""

    def readable(self):
        return True

    def readinto(self, buffer):
        raise ConnectionResetError("gone")

    def read(self, size=-1):
        raise ConnectionResetError("gone")


class Wrapped(OSError):
    """A framework's own word for it."""


def refused():
    raise ConnectionRefusedError(111, "the application's database is down")


def wrap(body):
    try:
        body.read()
    except OSError as error:
        raise Wrapped("unreadable") from error


def gone(_data):
    raise BrokenPipeError(32, "Broken pipe")


def write():
    exchange = Exchange(lambda status, headers: gone)
    exchange.start("200 OK", [])(b"data")


@pytest.mark.parametrize("body", [Body(), io.BufferedReader(Body())], ids=["raw", "buffered"])
def test_an_error_out_of_the_servers_body_is_a_client_that_left_while_it_was_read(body):
    environ = {"wsgi.input": body}
    assert disconnect.when(raised(body.read), environ) == READING
    assert disconnect.when(raised(lambda: wrap(body)), environ) == READING


def test_an_error_out_of_the_servers_write_is_a_client_that_left_while_it_was_answered():
    assert disconnect.when(raised(write), {}) == WRITING


@pytest.mark.parametrize(
    "error",
    [
        raised(refused),
        raised(lambda: gone(b"")),
        raised(lambda: Body().read()),  # of another connection
        ConnectionResetError(),
        LookupError("gone"),
        TimeoutError("error during read(5) on wsgi.input"),  # uWSGI's words, without uWSGI
    ],
    ids=repr,
)
def test_an_error_of_the_applications_own_connections_is_a_failure(error):
    assert disconnect.when(error, {"wsgi.input": Body()}) == ""
    assert disconnect.when(error, {}) == ""


def test_servers_that_raise_out_of_c_are_known_by_their_words(monkeypatch):
    assert disconnect.when(OSError("Apache/mod_wsgi request data read error: Partial results"), {}) == READING
    assert disconnect.when(OSError("Apache/mod_wsgi client connection closed."), {}) == WRITING
    monkeypatch.setattr(connection, "UWSGI", SimpleNamespace())
    assert disconnect.when(OSError("error during read(1000) on wsgi.input"), {}) == READING
    assert disconnect.when(raised(refused), {}) == ""
    assert disconnect.when(OSError(), {}) == ""
