"""A Bottle application: threads, compressed bodies, conditional requests."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor

from tests.real_apps.checks import MIB, digest
from tests.real_apps.hosting import Tenant


def test_serves_two_requests_at_once(bottle: Tenant) -> None:
    """Threads of one worker are in the application at the same time."""
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(lambda _: bottle.browser().request("/meet"), range(2)))
    assert [page.status for page in pages] == [200, 200]
    assert len({page.json["thread"] for page in pages}) == 2


def test_unpacks_a_gzipped_chunked_body(bottle: Tenant) -> None:
    """A compressed body goes through untouched: the application unpacks it."""
    content = os.urandom(MIB) + bytes(4 * MIB)
    packed = gzip.compress(content)
    pieces = (packed[start : start + 65_536] for start in range(0, len(packed), 65_536))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/octet-stream"}
    page = bottle.browser().request("/files/packed.bin", "PUT", pieces, headers)
    assert (page.status, page.json["sha256"]) == (201, digest(content))


def test_static_file_knows_what_the_visitor_has(bottle: Tenant) -> None:
    """Conditional requests of Bottle's static_file work through the stack, by date and by tag."""
    bottle.put("kept.txt", b"kept by the visitor")
    browser = bottle.browser()
    page = browser.request("/files/kept.txt")
    for header, value in (("If-Modified-Since", "Last-Modified"), ("If-None-Match", "ETag")):
        again = browser.request("/files/kept.txt", headers={header: page.headers[value]})
        assert (again.status, again.body) == (304, b"")
    assert browser.request("/files/kept.txt", headers={"If-None-Match": '"other"'}).body == b"kept by the visitor"


def test_error_page_and_static_folder(bottle: Tenant) -> None:
    """What is in the tenant's static folder is served beside the application, whose own 404 covers the rest."""
    browser = bottle.browser()
    assert browser.request("/static/plain.txt").text == "plain file of bottle\n"
    missing = browser.request("/static/none.txt")
    assert (missing.status, missing.text) == (404, "nothing of that name is on the shelf")
