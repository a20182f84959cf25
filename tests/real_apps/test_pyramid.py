"""A Pyramid application: its static view, its CSRF protection, its failures."""

from __future__ import annotations

from tests.real_apps.checks import access_id
from tests.real_apps.hosting import Tenant


def test_static_view(pyramid: Tenant) -> None:
    """Pyramid's own static view sends a file of the tenant's home, and 304 to who has it."""
    content = (pyramid.home / "assets/site.css").read_bytes()
    browser = pyramid.browser()
    page = browser.request("/assets/site.css")
    assert (page.status, page.body) == (200, content)
    assert page.headers["Content-Type"].startswith("text/css")
    since = {"If-Modified-Since": page.headers["Last-Modified"]}
    assert browser.request("/assets/site.css", headers=since).status == 304
    assert browser.request("/assets/none.css").status == 404


def test_refuses_a_form_without_its_token(pyramid: Tenant) -> None:
    """CSRF protection by the session holds: a bad token is refused before the view runs."""
    browser = pyramid.browser()
    browser.request("/upload")
    headers = {"X-CSRF-Token": "guessed", "Content-Type": "application/x-www-form-urlencoded"}
    assert browser.request("/upload", "POST", b"note=x", headers).status == 400


def test_failure_goes_to_the_wrappers_page(pyramid: Tenant) -> None:
    """An exception that leaves the framework is answered with the page that carries the request's id."""
    page = pyramid.browser().request("/raise?page")
    assert page.status == 500
    request_id = access_id(pyramid, "GET /raise?page")
    assert page.headers["X-Request-ID"][:12] == request_id
    assert request_id in page.text
