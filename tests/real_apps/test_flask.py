"""A Flask application: what it does with failures of every kind."""

from __future__ import annotations

import http.client
import importlib.metadata

import pytest

from tests.real_apps.checks import access_id, record
from tests.real_apps.hosting import Tenant


def test_error_handler_answers(flask: Tenant) -> None:
    """An exception that the application handles is its own affair: its answer, and no record."""
    before = flask.stack.log(flask.domain)
    page = flask.browser().request("/lookup")
    assert (page.status, page.json) == (410, {"missing": "'tea'"})
    assert flask.stack.log(flask.domain) == before


def test_view_that_exits_is_answered_and_recorded(flask: Tenant) -> None:
    """`sys.exit` in a view is that request's failure; the worker goes on with its state."""
    before = flask.stack.status(flask.domain)["pids"]
    page = flask.browser().request("/quit")
    assert page.status == 500
    request_id = page.headers["X-Request-ID"][:12]
    assert request_id == access_id(flask, "GET /quit")
    assert request_id in page.text
    assert "SystemExit: the kettle is gone" in record(flask, request_id, "SystemExit: the kettle is gone")
    assert flask.browser().request("/echo/after").status == 200
    assert flask.stack.status(flask.domain)["pids"] == before


def test_response_that_fails_half_way_is_cut_and_recorded(flask: Tenant) -> None:
    """A response that fails after its first chunk doesn't look whole to the visitor, and its failure is recorded."""
    with flask.browser().open("/late") as response, pytest.raises(http.client.IncompleteRead):
        response.read()
    text = record(flask, access_id(flask, "GET /late"), "the stream has dried up")
    assert "RuntimeError: the stream has dried up" in text
    assert flask.browser().request("/echo/after").status == 200


def test_runs_on_another_werkzeug_than_the_operators(flask: Tenant) -> None:
    """The operator's own libraries don't decide a tenant's."""
    packages = flask.browser().request("/about").json["packages"]
    assert packages["Werkzeug"] == "2.3.8"
    assert importlib.metadata.version("werkzeug") != "2.3.8"
