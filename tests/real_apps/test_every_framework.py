"""What holds for every framework: bodies, files, streams, names, failures, sessions."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.real_apps.checks import MIB, access_id, digest, record
from tests.real_apps.hosting import Tenant

WITH_LOGIN = ("flask", "bottle", "pyramid")
WITH_RANGES = ("flask", "bottle", "pyramid")
FAILURES = {
    "django": "RuntimeError: the train is late",
    "flask": "RuntimeError: the kettle is dry",
    "bottle": "RuntimeError: the cork is stuck",
    "pyramid": "RuntimeError: the stone doesn't fit",
}


def canonical(packages: dict[str, str]) -> dict[str, str]:
    """Packages by their canonical names (PEP 503)."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in packages.items()}


def test_tenant_has_the_packages_he_asked_for_and_none_of_the_operators(tenant: Tenant) -> None:
    """An application runs in its tenant's environment: his versions of all, and no module of the operator's."""
    about = tenant.browser().request("/about").json
    wanted = {**canonical(tenant.packages()), "user-wsgi-wrapper": "none"}
    found = canonical(about["packages"])
    assert {name: found.get(name, "none") for name in wanted} == wanted
    assert found.keys() <= {*wanted, "pip", "setuptools"}
    assert about["prefix"] == tenant.venv
    roots = {name.partition(".")[0] for name in about["modules"]}
    operators = {"psutil", "pythonjsonlogger", "sqlalchemy", "idna", "jinja2", "werkzeug"}
    assert roots & operators == ({"jinja2", "werkzeug"} if tenant.application == "flask" else set())


def test_path_and_query_arrive_intact(tenant: Tenant) -> None:
    """PATH_INFO holds the decoded path's bytes as latin-1 (PEP 3333); frameworks find the visitor's text in it."""
    rest, query = "été/日本 +?%&=;#'\"", {"q": "ü & ☃", "empty": "", "path": "a/b=c"}
    sent = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    page = tenant.browser().request(f"/echo/{quote(rest)}?{sent}")
    assert page.status == 200
    assert (page.json["rest"], page.json["query"]) == (rest, query)
    environ = page.json["environ"]
    decoded = f"/echo/{rest}"  # which Django puts into the environ in the server's place
    native = decoded if tenant.application == "django" else decoded.encode().decode("latin-1")
    assert environ["PATH_INFO"] == native
    assert environ["QUERY_STRING"] == sent
    assert environ["REQUEST_URI"] == f"/echo/{quote(rest)}?{sent}"
    assert environ["SCRIPT_NAME"] == ""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_reaches_the_application_with_its_body(tenant: Tenant, method: str) -> None:
    """No method is turned into another one, and none loses its body."""
    body = bytes(range(256))
    page = tenant.browser().request("/echo/x", method, body, {"Content-Type": "application/octet-stream"})
    assert (page.status, page.json["environ"]["REQUEST_METHOD"]) == (200, method)
    assert page.json["body"].encode("latin-1") == body


def test_form_uploads_20_mb_intact(tenant: Tenant) -> None:
    """A file of 20 MB in a form is stored byte for byte, as the tenant's own."""
    content = os.urandom(20 * MIB)
    page = tenant.browser().submit("/upload", {"note": "für später"}, {"file": ("large.bin", content)})
    stored = tenant.files / "large.bin"
    assert page.status == 200, page.text
    assert page.json == {"note": "für später", "name": "large.bin", "size": 20 * MIB, "sha256": digest(content)}
    assert digest(stored.read_bytes()) == digest(content)
    assert stored.stat().st_uid == tenant.home.stat().st_uid


def test_file_is_put_read_and_deleted(tenant: Tenant) -> None:
    """A body of 20 MB that is no form arrives intact; DELETE and what follows it mean what they say."""
    content, browser = os.urandom(20 * MIB), tenant.browser()
    put = browser.request("/files/raw.bin", "PUT", content, {"Content-Type": "application/octet-stream"})
    assert (put.status, put.json["sha256"]) == (201, digest(content))
    assert digest(browser.request("/files/raw.bin").body) == digest(content)
    deleted = browser.request("/files/raw.bin", "DELETE")
    assert (deleted.status, deleted.body) == (204, b"")
    assert not (tenant.files / "raw.bin").exists()
    assert browser.request("/files/raw.bin").status == 404


def test_body_of_unannounced_length_arrives_whole(tenant: Tenant) -> None:
    """A body that is sent in chunks (RFC 9112 section 7.1) reaches every framework."""
    content = os.urandom(3 * MIB)
    pieces = (content[start : start + 100_000] for start in range(0, len(content), 100_000))
    page = tenant.browser().request("/files/chunked.bin", "PUT", pieces, {"Content-Type": "application/x"})
    assert (page.status, page.json["size"]) == (201, len(content))
    assert page.json["sha256"] == digest(content)


def test_download_of_50_mb_is_intact(tenant: Tenant) -> None:
    """A file of 50 MB is sent byte for byte, its length announced; HEAD announces the same and sends nothing."""
    content = os.urandom(50 * MIB)
    tenant.put("download.bin", content)
    browser = tenant.browser()
    page = browser.request("/files/download.bin")
    assert (page.status, page.headers["Content-Length"]) == (200, str(50 * MIB))
    assert digest(page.body) == digest(content)
    head = browser.request("/files/download.bin", "HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(50 * MIB), b"")


@pytest.mark.parametrize("asked", ["bytes=1000-1999", "bytes=1048000-", "bytes=-500", "bytes=0-0"])
def test_part_of_a_file_is_the_part_that_was_asked_for(tenant: Tenant, asked: str) -> None:
    """A Range is answered by the application's own rules: with exactly that part, or with the whole file.

    The last bytes can't be asked for: the front spares sites what uWSGI can't answer.
    """
    content = os.urandom(MIB)
    tenant.put("part.bin", content)
    first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", asked).groups()
    start = int(first) if first else MIB - int(last)
    end = int(last) if first and last else MIB - 1
    page = tenant.browser().request("/files/part.bin", headers={"Range": asked})
    if tenant.application in WITH_RANGES and first:
        assert page.status == 206
        assert page.headers["Content-Range"] == f"bytes {start}-{end}/{MIB}"
        assert page.body == content[start : end + 1]
    else:
        assert (page.status, page.headers["Content-Range"]) == (200, None)
        assert page.body == content


def test_stream_arrives_as_it_is_made(tenant: Tenant) -> None:
    """With X-Accel-Buffering: no a chunk is there before the application has made the next."""
    token = tenant.files / "go-on"
    with tenant.browser().open(f"/stream/{token.name}?visitor={quote('Zoë')}") as response:
        assert response.readline() == "first for Zoë\n".encode()
        assert not token.exists()
        tenant.put(token.name, b"")
        assert response.readline() == b"second\n"
        assert response.read() == b""
    token.unlink()


def test_stream_of_many_chunks_is_intact(tenant: Tenant) -> None:
    """A generator's body of unknown length arrives whole and in order."""
    page = tenant.browser().request("/rows/50000")
    assert (page.status, page.headers["Content-Length"]) == (200, None)
    assert digest(page.body) == digest("".join(f"{number},{'x' * 90}\n" for number in range(50_000)).encode())


def test_abandoned_download_disturbs_nobody(tenant: Tenant) -> None:
    """A visitor who leaves in the middle of a download or a stream costs no worker and no line in the error log."""
    tenant.put("left.bin", os.urandom(20 * MIB))
    before = tenant.stack.log(tenant.domain)
    for path in ("/files/left.bin", "/rows/1000000"):
        for _ in range(3):
            with tenant.browser().open(path) as response:
                assert len(response.read(1000)) == 1000
    assert tenant.browser().request("/echo/still-here").json["rest"] == "still-here"
    assert tenant.stack.log(tenant.domain) == before


def test_failure_is_answered_and_its_record_has_the_requests_id(tenant: Tenant) -> None:
    """A view that raises gives a 500, and its traceback, once, under the id that ends the access line."""
    failure = FAILURES[tenant.application]
    mark = f"/raise?from={tenant.application}"
    page = tenant.browser().request(mark)
    assert page.status == 500
    assert failure not in page.text
    text = record(tenant, access_id(tenant, f"GET {mark}"), failure)
    assert text.count(failure) == 1
    assert "Traceback (most recent call last):" in text
    assert ", in fail" in text
    assert tenant.browser().request("/echo/after").status == 200


def test_all_sites_at_once(tenants: dict[str, Tenant]) -> None:
    """Uploads and downloads of all four sites at the same time mix nothing up."""
    hosted = list(tenants.values())

    def one(number: int) -> bool:
        tenant = hosted[number % 4]
        content, browser = os.urandom(5 * MIB), tenant.browser()
        put = browser.request(f"/files/at-once-{number}", "PUT", content, {"Content-Type": "application/x"})
        got = browser.request(f"/files/at-once-{number}")
        return put.json["sha256"] == digest(got.body) == digest(content)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(24))) == [True] * 24


@pytest.mark.parametrize("framework", WITH_LOGIN)
def test_session_is_one_visitors(tenants: dict[str, Tenant], framework: str) -> None:
    """Logging in makes one visitor known, and nobody else; logging out makes him unknown."""
    tenant = tenants[framework]
    visitor, stranger = tenant.browser(), tenant.browser()
    refused = visitor.submit("/login", {"name": "Zoë", "password": "guessed"})
    assert refused.status == 403
    welcome = visitor.submit("/login", {"name": "Zoë", "password": "open sesame"})
    assert (welcome.status, welcome.path) == (200, "/me")
    assert welcome.json == {"name": "Zoë", "visits": 1}
    assert visitor.request("/me").json == {"name": "Zoë", "visits": 2}
    assert stranger.request("/me").json == {"name": None, "visits": 1}
    left = visitor.request("/logout", "POST")
    assert (left.path, left.json["name"]) == ("/me", None)
