"""A Django project with its admin, set up and served as its tenant would have it."""

from __future__ import annotations

import os
from dataclasses import replace

from tests.real_apps.checks import MIB, access_id, digest, record
from tests.real_apps.conftest import DJANGO_PASSWORD
from tests.real_apps.hosting import Tenant


def test_admin_from_login_to_logout(django: Tenant) -> None:
    """The admin's whole way: login with CSRF token and session, a document of 20 MB, its list, logout."""
    content = os.urandom(20 * MIB)
    browser = django.browser()
    away = browser.request("/admin/documents/document/")
    assert away.path == "/admin/login/"
    wrong = browser.submit("/admin/login/", {"username": "ada", "password": "guessed"})
    assert "Please enter the correct username and password" in wrong.text
    home = browser.submit("/admin/", {"username": "ada", "password": DJANGO_PASSWORD})
    assert (home.status, home.path) == (200, "/admin/")
    assert {cookie.name for cookie in browser.cookies} == {"csrftoken", "sessionid"}
    form = "/admin/documents/document/add/"
    added = browser.submit(form, {"note": "Notes on the Engine: ⚙"}, {"file": ("engine.bin", content)})
    assert (added.status, added.path) == (200, "/admin/documents/document/")
    assert "was added successfully" in added.text
    assert "Notes on the Engine: ⚙: engine.bin" in added.text
    assert digest((django.files / "engine.bin").read_bytes()) == digest(content)
    assert digest(browser.request("/files/engine.bin").body) == digest(content)
    left = browser.submit("/admin/", {})
    assert "Thanks for spending some quality time" in left.text
    assert browser.request("/admin/").path == "/admin/login/"


def test_refuses_a_forged_form(django: Tenant) -> None:
    """A form sent without the CSRF token, or from another origin, is refused and its reason logged."""
    browser = django.browser()
    assert browser.request("/upload?plain", "POST", b"note=x").status == 403
    text = record(django, access_id(django, "POST /upload?plain"), "(CSRF cookie not set.)")
    assert "Forbidden (CSRF cookie not set.): /upload" in text
    browser.request("/upload")
    token = next(cookie.value for cookie in browser.cookies if cookie.name == "csrftoken")
    headers = {"X-CSRFToken": token, "Origin": "http://evil.example"}
    assert browser.request("/upload?forged", "POST", b"note=x", headers).status == 403
    headers["Origin"] = browser.origin
    assert browser.request("/upload?own", "POST", b"note=x", headers).status == 200


def test_commands_of_a_package_run_in_the_chroot(django: Tenant) -> None:
    """What pip installed as a command starts with the tenant's own interpreter and packages."""
    assert django.run("django-admin", "--version").strip() == django.packages()["Django"]


def test_admins_static_files_are_served_as_collected(django: Tenant) -> None:
    """What `collectstatic` laid out, once the workers were up, is what visitors get: its type, its parts, its 304."""
    laid = django.stack.layout.www(django.username) / "static/admin"
    browser = django.browser()
    for name, media_type in (("css/base.css", "text/css"), ("js/core.js", "javascript"), ("img/icon-yes.svg", "svg")):
        content = (laid / name).read_bytes()
        page = browser.request(f"/static/admin/{name}")
        assert (page.status, page.body) == (200, content)
        assert [browser.request(f"/static/admin/{name}", "HEAD").status for _ in range(8)] == [200] * 8, "each worker"
        assert media_type in page.headers["Content-Type"]
        since = {"If-Modified-Since": page.headers["Last-Modified"]}
        assert browser.request(f"/static/admin/{name}", headers=since).status == 304
        part = browser.request(f"/static/admin/{name}", headers={"Range": "bytes=10-19"})
        assert (part.status, part.body) == (206, content[10:20])
    assert browser.request("/static/admin/none.css").status == 404
    login = browser.request("/admin/login/").text
    assert 'href="/static/admin/css/base.css"' in login


def test_refuses_a_host_that_it_was_not_told_of(django: Tenant) -> None:
    """A second domain of the tenant's that isn't in ALLOWED_HOSTS gets Django's 400, logged for that domain."""
    domain = "www.ada.example.com"
    settings = ("--virtualenv", django.venv, "--env", "DJANGO_SECRET_KEY=another")
    django.stack.command("site", "add", domain, "--user", django.username, *settings)
    other = replace(django, domain=domain)
    page = other.browser().request("/admin/")
    assert page.status == 400
    text = record(other, access_id(other, "GET /admin/"), "Invalid HTTP_HOST header")
    assert f"Invalid HTTP_HOST header: '{domain}:{django.stack.port}'" in text
