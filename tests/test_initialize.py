"""What initialize answers nginx: one page for each error, one warm-up however many wait."""

import json
import threading
import time

import pytest
from werkzeug.test import Client

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import pages
from user_wsgi_wrapper.emperor_hook.config import Warm
from user_wsgi_wrapper.emperor_hook.initialize import Initialize, page_for
from user_wsgi_wrapper.emperor_hook.warm_client import NotWarmError
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome

PATH = "/initialize_webapp/http/one.test"
REQUEST_ID = "0123456789abcdef0123456789abcdef"
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
PAGE_AFTER = 0.2
NEVER_STARTED = NotWarmError(Outcome.NEVER_STARTED, "hangs")
ERRORS = [
    (NotWarmError(Outcome.NO_SITE, "one.test"), 404, pages.NO_SITE),
    (NotWarmError(Outcome.REGISTRY_DOWN, "no connection"), 503, pages.UNAVAILABLE),
    (NotWarmError(Outcome.EMPEROR_DOWN, "no reader"), 503, pages.UNAVAILABLE),
    (NEVER_STARTED, 500, pages.NEVER_STARTED),
    (NotWarmError(Outcome.CANNOT_BUILD, "no room"), 500, pages.CANNOT_BUILD),
    (NotWarmError(Outcome.BUSY, "too many of them"), 503, pages.UNAVAILABLE),
    (NotWarmError(Outcome.FAILED, "nobody foresaw it"), 503, pages.UNAVAILABLE),
    (NotWarmError(Outcome.REFUSED, "no question"), 503, pages.UNAVAILABLE),
    (NotWarmError(None, "the warmer is away"), 503, pages.UNAVAILABLE),
    (RuntimeError("nobody foresaw it"), 503, pages.UNAVAILABLE),
    (OSError(110, "Connection timed out"), 503, pages.UNAVAILABLE),
    (TimeoutError("of the warm-up's own"), 503, pages.UNAVAILABLE),
]


class Warmer:
    """A stand-in for warm(): counts its calls, waits until it may end, then raises `error` if there is one."""

    def __init__(self, error=None, *, waits=False):
        self.calls, self.error, self.may_end = [], error, threading.Event()
        if not waits:
            self.may_end.set()

    def __call__(self, domain):
        self.calls.append(domain)
        assert self.may_end.wait(20)
        if self.error is not None:
            raise self.error


@pytest.fixture
def client_of():
    """A client of initialize over a Warmer; what still waits in the end is let go."""
    warmers = []

    def make(warmer, **warm):
        warmers.append(warmer)
        return Client(Initialize(warmer, Warm(**{"page_after": PAGE_AFTER, "give_up_after": 20.0, **warm})))

    yield make
    for warmer in warmers:
        warmer.may_end.set()


def ask(client, path=PATH, method="GET", accept=None, **more):
    environ = {"REQUEST_ID": REQUEST_ID, "SITE_STATUS": "", "SITE_CONNECT_TIME": "", **more}
    return client.open(path, method=method, headers={"Accept": accept} if accept else {}, environ_overrides=environ)


def test_a_site_that_is_up_is_asked_again_by_nginx_itself(client_of):
    """The answer is X-Accel-Redirect to the named location, and nothing that a visitor would see."""
    response = ask(client_of(warmer := Warmer()))
    assert (response.status_code, response.headers["X-Accel-Redirect"]) == (200, "@awake")
    assert (response.data, response.headers["X-Site-Known"]) == (b"", "1")
    assert warmer.calls == ["one.test"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("error", "status", "page"), ERRORS, ids=lambda value: str(getattr(value, "outcome", type(value).__name__))
)
def test_each_error_has_its_page(client_of, error, status, page, method):
    """With the request's id, whether the domain is known, and when to try again."""
    response = ask(client_of(Warmer(error)), method=method)
    assert response.status_code == status
    assert page.title.replace("'", "&#x27;") in response.text
    assert str(error) not in response.text
    assert response.headers["X-Request-ID"] == REQUEST_ID[:12]
    assert response.headers.get("X-Site-Known") == (None if status == 404 else "1")
    assert ("Retry-After" in response.headers) == (status == 503)
    assert "X-Accel-Redirect" not in response.headers
    assert page_for(error) is page


@pytest.mark.parametrize("name", ["127.0.0.1", "..", "", "a_b.test", "%0a", "one.test/..", "@(exec:id)"])
def test_what_is_no_domain_is_a_404_and_warms_nothing(client_of, name):
    """The domain comes from nginx, which sends none of these; nothing is asked of anyone."""
    warmer = Warmer()
    response = ask(client_of(warmer), f"/initialize_webapp/http/{name}")
    assert response.status_code == 404
    assert "X-Site-Known" not in response.headers
    assert warmer.calls == []


def test_a_visitor_who_waited_long_enough_sees_the_waiting_page(client_of):
    """It looks again by itself, and finds the site once the warm-up, which went on, is done."""
    warmer = Warmer(waits=True)
    client = client_of(warmer)
    began = time.monotonic()
    response = ask(client, accept=BROWSER)
    assert PAGE_AFTER <= time.monotonic() - began < 5
    assert (response.status_code, response.headers["Retry-After"]) == (503, str(pages.REFRESH))
    assert '<meta http-equiv="refresh"' in response.text
    assert ask(client, accept=BROWSER).status_code == 503
    assert warmer.calls == ["one.test"]
    warmer.may_end.set()
    wait_for(lambda: ask(client).status_code == 200, "the site is up", 10)


@pytest.mark.parametrize(
    ("method", "accept"),
    [("POST", BROWSER), ("PUT", BROWSER), ("DELETE", BROWSER), ("PATCH", BROWSER), ("GET", None), ("GET", "*/*")],
)
def test_what_is_not_seen_or_repeated_by_a_person_waits_for_its_site(client_of, method, accept):
    """A browser would not send a POST again by itself, a program not even a GET."""
    warmer = Warmer(waits=True)
    client, replies = client_of(warmer), []
    thread = threading.Thread(target=lambda: replies.append(ask(client, method=method, accept=accept)))
    thread.start()
    thread.join(2 * PAGE_AFTER)
    assert thread.is_alive()
    warmer.may_end.set()
    thread.join(10)
    assert [reply.headers["X-Accel-Redirect"] for reply in replies] == ["@awake"]


def test_what_waited_until_its_site_was_given_up_gets_the_error_page(client_of):
    """Whatever comes of the warm-up is told, not that the time is over."""
    warmer = Warmer(NEVER_STARTED, waits=True)
    threading.Timer(0.4, warmer.may_end.set).start()
    response = ask(client_of(warmer, give_up_after=0.3), method="POST")
    assert response.status_code == 500
    assert pages.NEVER_STARTED.title in response.text


def test_one_warm_up_however_many_wait(client_of):
    """Thirty requests at once, of two domains: two warm-ups, and thirty answers."""
    warmer = Warmer(waits=True)
    client, statuses = client_of(warmer, page_after=20.0), []
    gate = threading.Barrier(31)

    def visit(number):
        gate.wait(10)
        path = f"/initialize_webapp/http/site{number % 2}.test"
        statuses.append(ask(client, path, method=("GET", "POST")[number % 2]).status_code)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    gate.wait(10)
    wait_for(lambda: len(warmer.calls) == 2, "both domains are warmed", 10)
    warmer.may_end.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 30
    assert sorted(set(warmer.calls)) == ["site0.test", "site1.test"]


def test_a_failed_warm_up_is_tried_again_by_the_next_request(client_of):
    """An error is never kept."""
    warmer = Warmer(NEVER_STARTED)
    client = client_of(warmer)
    assert ask(client).status_code == 500
    warmer.error = None
    wait_for(lambda: ask(client).status_code == 200, "the mended site", 10)


# -- what nginx's first try tells


@pytest.mark.parametrize(
    ("status", "connect_time", "expected"),
    [
        ("", "", 200),  # no mark: the site was never tried
        ("502", "-", 200),  # nobody listens
        ("504", "-", 200),  # its queue is full
        ("502", "0.000", 502),  # it took the request, and broke off
        ("504", "0.001", 504),  # it took the request, and is silent
        ("200 : 502", "0.000 : 0.000", 502),  # it was woken, and broke off
        ("200 : 504", "0.000 : 0.000", 504),
        ("200 : 502", "0.000 : -", 502),  # it was woken, and is gone already: no loop
        ("502 : 200 : 502", "- : 0.000 : 0.000", 502),
    ],
)
def test_a_request_that_may_have_been_carried_out_is_never_repeated(client_of, status, connect_time, expected):
    """Only a request that can't have reached the site wakes it and is sent to it again."""
    warmer = Warmer()
    for method in ("GET", "POST"):
        response = ask(client_of(warmer), method=method, SITE_STATUS=status, SITE_CONNECT_TIME=connect_time)
        assert response.status_code == expected
        assert ("X-Accel-Redirect" in response.headers) == (expected == 200)
        assert response.headers["X-Site-Known"] == "1"
    assert len(warmer.calls) == (2 if expected == 200 else 0)


# -- the form of the answer


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/html"),
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("image/png", "text/html"),
        ("garbage;;q=x", "text/html"),
    ],
)
def test_json_is_for_who_asks_for_it(client_of, accept, kind):
    """Everybody else gets the page (RFC 9110 section 12.5.1)."""
    response = ask(client_of(Warmer(NEVER_STARTED)), accept=accept)
    assert response.mimetype == kind
    assert REQUEST_ID[:12] in response.text
    if kind == "application/json":
        assert json.loads(response.data)["status"] == 500


def test_a_head_request_has_no_body(client_of):
    """RFC 9110 section 9.3.2."""
    response = ask(client_of(Warmer(NEVER_STARTED)), method="HEAD")
    assert (response.status_code, response.data) == (500, b"")


def test_sites_that_hang_keep_no_other_from_being_warmed(client_of):
    """More of them than initialize has threads, each with someone who waits for it."""
    gate = threading.Event()

    class Warm:
        may_end = gate

        def __call__(self, domain):
            assert not domain.startswith("hangs") or gate.wait(20)

    client, statuses = client_of(Warm(), threads=8), []

    def visit(number):
        statuses.append(ask(client, f"/initialize_webapp/http/hangs{number}.test", method="POST").status_code)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        assert ask(client, "/initialize_webapp/http/quick.test", method="POST").status_code == 200
    assert statuses == []
    gate.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 30
