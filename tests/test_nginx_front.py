"""The rendered front in a real nginx: what reaches a site, what it can't be made to do, and what is logged."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.front_machine import Machine, write_configuration
from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import nginx
from user_wsgi_wrapper.emperor_hook.config import Front
from user_wsgi_wrapper.emperor_hook.spinup import NeverStartedError
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain

BALANCER = "127.0.0.2"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture(scope="module")
def machine():
    """One behind a load balancer at 127.0.0.2, as are all whose tests need no other."""
    made = Machine(lambda port: Front(listen=(f"127.0.0.1:{port}",), real_ip_from=("127.0.0.2/32",), max_body_mib=6))
    yield made
    made.close()


NUMBERS = itertools.count()


@pytest.fixture
def name():
    """A domain for this test alone."""
    return f"site{next(NUMBERS)}.test"


# -- the text


FRONTS = {
    "plain": Front(),
    "behind balancers": Front(real_ip_from=("10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32")),
    "an address of its own": Front(real_ip_from=("10.0.0.0/8",), real_ip_header="CF-Connecting-IP"),
    "every address": Front(listen=("*:8081", "[::]:8081"), read_timeout=600, max_body_mib=1),
    "PROXY protocol": Front(
        listen=("127.0.0.1:8081 proxy_protocol",), real_ip_from=("10.0.0.0/8",), real_ip_header="proxy_protocol"
    ),
}


@pytest.fixture
def layout():
    """A root for a configuration that is only checked."""
    root = Path(tempfile.mkdtemp(prefix="front-"))
    yield Layout(root)
    shutil.rmtree(root)


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_nginx_and_gixy_find_nothing_to_say(layout, front):
    """Neither an error nor a warning, and no security issue at any level."""
    nginx.prepare_folders(layout, front)
    write_configuration(layout, front)
    main = layout.run_dir / "nginx.conf"
    checked = subprocess.run(["nginx", "-t", "-e", "stderr", "-c", main], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 0, checked.stderr
    assert "[" not in checked.stderr.replace("[::]", ""), checked.stderr
    assert gixy(main) == []


def test_nginx_and_gixy_have_nothing_to_say_of_the_pages_server_either(layout):
    front = FRONTS["every address"]
    nginx.prepare_folders(layout, front)
    write_configuration(layout, front)
    path = layout.run_dir / "nginx-front.conf"
    plain = path.read_text()
    path.write_text(nginx.render(layout, front, 15, "panel.example.org"))
    assert path.read_text().startswith(plain.rstrip("\n"))
    assert "server_name panel.example.org;" in path.read_text()
    main = layout.run_dir / "nginx.conf"
    checked = subprocess.run(["nginx", "-t", "-e", "stderr", "-c", main], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 0, checked.stderr
    assert gixy(main) == []


def gixy(main):
    """The issues that gixy finds, at any level."""
    program = Path(sys.executable).with_name("gixy")
    done = subprocess.run([program, "-f", "json", main], capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


def test_gixy_reads_the_included_front(layout):
    """Without this the test above might look at an empty page: a known hole in the front is found."""
    nginx.prepare_folders(layout, Front())
    write_configuration(layout, Front())
    front = layout.run_dir / "nginx-front.conf"
    hole = "location /hole { return 302 https://example.org$uri; }"
    front.write_text(front.read_text().replace("location / {", f"{hole}\n    location / {{"))
    assert "http_splitting" in [issue["plugin"] for issue in gixy(layout.run_dir / "nginx.conf")]


def test_the_seed_is_still_recognizable(layout):
    """The location, the log and the fallback that the front began with."""
    text = nginx.render(layout, Front(), 70)
    for line in (
        f"access_log {layout.user_logs_dir}/$domain/$domain.access.log", "error_page 502 504 = @fallback;",
        f"uwsgi_pass unix:{layout.sockets_dir}/$domain.socket;", "location @fallback {", "/initialize_webapp/",
    ):  # fmt: skip
        assert line in text


@pytest.mark.parametrize(
    "root", ["/a b", "/a;b", "/a{b", "/$domain", '/a"b', "/a'b", "/a\nb", "/a:b", "/a#b", "/é", "/a\\b"]
)
def test_a_root_that_would_need_quoting_is_refused(root):
    """In one line that names the path."""
    with pytest.raises(BadValueError) as caught:
        nginx.render(Layout(Path(root)), Front(), 70)
    assert len(str(caught.value).splitlines()) == 1
    assert repr(root)[1:-1] in str(caught.value)


@pytest.mark.parametrize("value", ["80; return 200", "80 # x", "80\n", "$host", '"80"', "80{", "80}", "é"])
def test_a_value_that_would_need_quoting_is_refused(layout, value):
    """Whatever the configuration's own rules may let through."""
    for front in (Front(listen=(value,)), Front(real_ip_from=("10.0.0.0/8",), real_ip_header=value)):
        with pytest.raises(BadValueError):
            nginx.render(layout, front, 70)


def test_an_account_that_is_not_there_is_refused():
    """In one line that names it."""
    with pytest.raises(BadValueError, match="'nobody-of-that-name'"):
        nginx.account("nobody-of-that-name")


# -- the host name

labels = st.text(st.sampled_from("abz019-"), min_size=1, max_size=5) | st.text("a1-", min_size=58, max_size=66)
names = st.one_of(
    st.lists(labels, min_size=1, max_size=6).map(".".join),
    st.text(st.sampled_from("a1.-_ \n/%é"), max_size=12),
    st.lists(st.sampled_from(["0", "1", "255", "a", "0x1f", "0x", "0xg"]), min_size=1, max_size=5).map(".".join),
    st.integers(200, 260).map(
        lambda size: ("a" * 50 + ".") * 5 + "b" * (size - 255) if size > 255 else "a." * (size // 2) + "b"
    ),
)


@given(names, st.sampled_from([60, 107, 253]))
def test_the_front_takes_the_names_that_can_be_sites(name, longest):
    """Exactly those that are their own canonical form and not too long, by a syntax that PCRE and Python share."""
    pattern = nginx.host_regex(longest).removeprefix("~").replace("(?<", "(?P<")
    try:
        is_site = parse_domain(name) == name and len(name) <= longest
    except BadValueError:
        is_site = False
    match = re.compile(pattern.removesuffix("$") + r"\Z").search(name)  # nginx never sees a newline in a host name
    assert bool(match) == is_site
    if match:
        assert match["domain"] == name


def test_nginx_takes_the_names_that_can_be_sites(machine):
    """The same, asked of nginx: a name that can't be a site gets the answer of the server for those."""
    for host, is_site in {
        "a.test": True, "A.TEST": True, "a.test.": True, "xn--bcher-kva.example": True, "1.a": True, "a": True,
        "127.0.0.1": False, "a.1": False, "1": False, "-a.test": False, "a-.test": False, "a_b.test": False,
        "[::1]": False, "x" * 63 + ".test": len("x" * 63 + ".test") <= machine.layout.longest_domain,
        "x" * 64 + ".test": False, ".".join(["a"] * 100): False,
    }.items():  # fmt: skip
        before = len(machine.initialize.requests)
        assert machine.ask(host).status == 404
        asked = [variables["PATH_INFO"] for variables, _ in machine.initialize.requests[before:]]
        wanted = f"/initialize_webapp/http/{host.lower().rstrip('.')}"
        assert asked == ([wanted] if is_site else []), host


HOSTS = [
    "../..",
    "a/b",
    "..",
    "a b",
    "a\\b",
    "a%2fb",
    "a\x00b",
    "é",
    "",
    "a;b",
    "$domain",
    "a\tb",
    "x" * 3000,
    "..%2f",
    "a..b",
]


@pytest.mark.parametrize("host", HOSTS, ids=range(len(HOSTS)))
def test_an_invented_host_name_makes_no_file(machine, host):
    """It is answered 400 or 404, and nothing appears among the domains' logs."""
    before = sorted(machine.layout.user_logs_dir.rglob("*"))
    answer = machine.raw(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), answer
    assert sorted(machine.layout.user_logs_dir.rglob("*")) == before


# -- the visitor's address and scheme

FORGED = (
    ("X-Real-IP", "6.6.6.6"), ("X-Forwarded-For", "6.6.6.6, 7.7.7.7"), ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "forged.example"), ("X-Forwarded-Port", "666"), ("X-Forwarded-Ssl", "on"),
    ("X-Forwarded-Prefix", "/forged"), ("Forwarded", "for=6.6.6.6;proto=https"), ("Proxy", "http://6.6.6.6"),
    ("X-Request-ID", "forged"), ("X_Forwarded_For", "6.6.6.6"), ("X_Real_IP", "6.6.6.6"),
    ("x-forwarded-FOR", "6.6.6.6"), ("X-Forwarded-For", "forged"),
)  # fmt: skip


def test_what_a_visitor_forges_never_reaches_the_site(machine, name):
    """Neither the values as they were sent nor anything that was made of them."""
    site = machine.site(name, lambda variables, body: OK)
    assert machine.ask(name, headers=FORGED).status == 200
    ((variables, _),) = site.requests
    for text in ("6.6.6.6", "7.7.7.7", "forged"):
        assert not [key for key, value in variables.items() if text in value], text
    assert variables["REMOTE_ADDR"] == variables["HTTP_X_REAL_IP"] == variables["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert variables["REQUEST_SCHEME"] == variables["UWSGI_SCHEME"] == variables["HTTP_X_FORWARDED_PROTO"] == "http"
    assert variables["HTTP_X_FORWARDED_HOST"] == variables["HTTP_HOST"] == name
    assert variables["HTTP_X_FORWARDED_PORT"] == variables["SERVER_PORT"] == str(machine.port)
    assert variables["HTTP_X_REQUEST_ID"] == variables["REQUEST_ID"]
    for absent in ("HTTPS", "HTTP_FORWARDED", "HTTP_PROXY", "HTTP_X_FORWARDED_SSL", "HTTP_X_FORWARDED_PREFIX"):
        assert absent not in variables


@pytest.mark.parametrize(
    "chain", ["203.0.113.9", "6.6.6.6, 203.0.113.9", "garbage, 6.6.6.6,203.0.113.9", "2001:db8::9"]
)
def test_behind_a_load_balancer_the_visitor_is_who_it_names(machine, name, chain):
    """The last address of the chain: what stood there before the balancer added its own counts for nothing."""
    site = machine.site(name, lambda variables, body: OK)
    sent = (
        ("X-Forwarded-For", chain),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
    )
    machine.ask(name, headers=sent, source=BALANCER)
    ((variables, _),) = site.requests
    visitor = chain.rpartition(",")[2].strip()
    assert variables["REMOTE_ADDR"] == variables["HTTP_X_REAL_IP"] == variables["HTTP_X_FORWARDED_FOR"] == visitor
    assert variables["HTTP_X_FORWARDED_PROTO"] == variables["UWSGI_SCHEME"] == variables["REQUEST_SCHEME"] == "https"
    assert (variables["HTTPS"], variables["SERVER_PORT"]) == ("on", "443")
    assert not [key for key, value in variables.items() if "6.6.6.6" in value]
    assert machine.lines(name)[0]["address"] == visitor


def test_behind_two_load_balancers_the_visitor_is_who_the_first_one_names(machine, name):
    """A trusted address in the chain is passed over; what stands before an address that isn't trusted is not read."""
    site = machine.site(name, lambda variables, body: OK)
    machine.ask(name, headers=(("X-Forwarded-For", f"6.6.6.6, 203.0.113.9, {BALANCER}"),), source=BALANCER)
    variables = site.requests[0][0]
    assert variables["REMOTE_ADDR"] == variables["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"


@pytest.mark.parametrize("proto", ["http", "HTTPS ", "https, http", "ftp", "", "https\x00", "1 https"])
def test_a_balancers_scheme_is_http_or_https_or_the_connections_own(machine, name, proto):
    """Nothing else that it says becomes the scheme of a request."""
    site = machine.site(name, lambda variables, body: OK)
    answer = machine.ask(name, headers=(("X-Forwarded-Proto", proto),), source=BALANCER)
    if "\x00" in proto:
        assert answer.status == 400
        return
    assert site.requests[0][0]["UWSGI_SCHEME"] == ("https" if proto.strip() == "HTTPS" else "http")


def test_one_who_stands_beside_the_balancer_is_not_believed(machine, name):
    """Only the configured address may name the visitor and the scheme."""
    site = machine.site(name, lambda variables, body: OK)
    sent = (("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"))
    machine.ask(name, headers=sent, source="127.0.0.3")
    variables = site.requests[0][0]
    assert (variables["REMOTE_ADDR"], variables["UWSGI_SCHEME"]) == ("127.0.0.3", "http")


@pytest.mark.parametrize("header", ["CF-Connecting-IP", "X-Client-IP"])
def test_a_header_of_the_balancers_own_can_be_configured(header):
    """A visitor who goes round the balancer can't forge that one either."""
    machine = Machine(
        lambda port: Front(listen=(f"127.0.0.1:{port}",), real_ip_from=("127.0.0.2",), real_ip_header=header)
    )
    try:
        site = machine.site("own.test", lambda variables, body: OK)
        sent = ((header, "203.0.113.9"), ("X-Forwarded-For", "6.6.6.6"))
        machine.ask("own.test", headers=sent, source=BALANCER)
        machine.ask("own.test", headers=sent)
        key = "HTTP_" + header.upper().replace("-", "_")
        for (variables, _), visitor in zip(site.requests, ("203.0.113.9", "127.0.0.1"), strict=True):
            assert variables["REMOTE_ADDR"] == variables["HTTP_X_FORWARDED_FOR"] == variables[key] == visitor
    finally:
        machine.close()


def test_the_proxy_protocol_names_the_visitor_and_no_header_the_scheme():
    """A balancer that doesn't read HTTP passes on whatever X-Forwarded-Proto a visitor made up."""
    machine = Machine(
        lambda port: Front(
            listen=(f"127.0.0.1:{port} proxy_protocol",), real_ip_from=("127.0.0.1",), real_ip_header="proxy_protocol"
        )
    )
    try:
        site = machine.site("proxied.test", lambda variables, body: OK)
        preface = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n"
        answer = machine.raw(
            preface + b"GET / HTTP/1.1\r\nHost: proxied.test\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200"), answer
        variables = site.requests[0][0]
        assert variables["REMOTE_ADDR"] == variables["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"
        assert variables["UWSGI_SCHEME"] == "http"
    finally:
        machine.close()


# -- what reaches the site and what comes back


@pytest.mark.parametrize(
    "uri", ["/a%2Fb//c?d=%20e&f=/../g", "//a///b", "/%E2%9C%93?%E2%9C%93", "/a/./b/%2e%2e/c", "/?", "/a%0d%0aX:%20y"]
)
def test_the_uri_reaches_the_site_exactly(machine, name, uri):
    """Escapes, doubled slashes and dots as they were sent."""
    site = machine.site(name, lambda variables, body: OK)
    assert machine.ask(name, uri).status == 200
    assert site.requests[0][0]["REQUEST_URI"] == uri
    assert site.requests[0][0]["QUERY_STRING"] == uri.partition("?")[2]


def test_a_chunked_body_comes_with_its_length(machine, name):
    """And without the header that makes frameworks look for chunks."""
    site = machine.site(name, lambda variables, body: OK)
    head = f"POST / HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    assert machine.raw(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").startswith(b"HTTP/1.1 200")
    variables, body = site.requests[0]
    assert (body, variables["CONTENT_LENGTH"]) == (b"abcde", "5")
    assert "HTTP_TRANSFER_ENCODING" not in variables


@pytest.mark.parametrize("target", ["@awake", "@fallback", "@unavailable", "/other", "/etc/passwd"])
def test_a_tenant_cannot_redirect_inside_the_front(machine, name, target):
    """X-Accel-Redirect from a site is neither followed nor shown to the visitor."""
    answer = f"HTTP/1.1 200 OK\r\nX-Accel-Redirect: {target}\r\nX-Accel-Limit-Rate: 100\r\n\r\nown".encode()
    site = machine.site(name, lambda variables, body: answer)
    before = len(machine.initialize.requests)
    response = machine.ask(name)
    assert (response.status, response.body) == (200, b"own")
    assert response.getheader("X-Accel-Redirect") is None
    assert (len(site.requests), len(machine.initialize.requests)) == (1, before)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_sites_own_error_page_is_the_sites_own(machine, name, status):
    """Whatever status it gives, the site isn't asked again and its page isn't replaced."""
    site = machine.site(name, lambda variables, body: f"HTTP/1.1 {status} Own\r\n\r\nown page".encode())
    response = machine.ask(name)
    assert (response.status, response.body, len(site.requests)) == (status, b"own page", 1)
    assert machine.warmed.count(name) == 0


def test_too_large_a_body_is_refused_before_the_site_is_asked(machine, name):
    """413, and logged in the site's log."""
    site = machine.site(name, lambda variables, body: OK)
    head = f"POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: {7 << 20}\r\nConnection: close\r\n\r\n".encode()
    assert machine.raw(head).startswith(b"HTTP/1.1 413")
    assert site.requests == []
    assert machine.lines(name)[0]["status"] == "413"


# -- cold sites and failed ones


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
def test_a_request_that_wakes_its_site_arrives_whole_and_once(machine, name, method):
    """Method, URI, headers and 5 MB of body as they came; one line in the access log, with the site's status."""
    machine.known(name)
    machine.to_wake[name] = lambda variables, body: b"HTTP/1.1 201 Made\r\nX-Own: yes\r\n\r\nwoken"
    body = None if method == "GET" else os.urandom(5_000_000)
    response = machine.ask(name, "/a%2Fb//c?d", method, body, headers=(("X-Mine", "kept"), ("Cookie", "a=b")))
    assert (response.status, response.body, response.getheader("X-Own")) == (201, b"woken", "yes")
    assert machine.warmed.count(name) == 1
    ((variables, received),) = machine.sites[name].requests
    assert (variables["REQUEST_METHOD"], variables["REQUEST_URI"], received) == (method, "/a%2Fb//c?d", body or b"")
    assert (variables["HTTP_X_MINE"], variables["HTTP_COOKIE"]) == ("kept", "a=b")
    (line,) = machine.lines(name)
    assert (line["status"], line["request"]) == ("201", f"{method} /a%2Fb//c?d HTTP/1.1")
    assert variables["REQUEST_ID"].startswith(line["id"])


def test_initialize_gets_no_header_and_no_body_of_the_visitors(machine, name):
    """It needs neither, and can't be confused by either."""
    machine.known(name)
    machine.to_wake[name] = lambda variables, body: OK
    machine.ask(name, "/", "POST", b"x" * 100_000, headers=(("X-Mine", "1"), ("Accept", "text/html"), *FORGED))
    variables, body = next(one for one in machine.initialize.requests if one[0]["SERVER_NAME"] == name)
    assert (body, machine.initialize.unannounced) == (b"", 0)
    assert {key for key in variables if key.startswith("HTTP_")} == {"HTTP_ACCEPT"}
    assert not [key for key, value in variables.items() if "6.6.6.6" in value or "forged" in value]


def test_a_site_that_dies_over_a_request_is_not_asked_again(machine, name):
    """Its visitor gets initialize's page and a 502, and the access log has one line, with the page's request id."""
    site = machine.site(name, lambda variables, body: b"")
    for method, body in (("GET", None), ("POST", b"order")):
        response = machine.ask(name, "/pay", method, body)
        assert response.status == 502
        assert b"No answer from this site" in response.body
        assert response.getheader("X-Site-Known") is None
    assert [(variables["REQUEST_METHOD"], sent) for variables, sent in site.requests] == [
        ("GET", b""),
        ("POST", b"order"),
    ]
    assert machine.warmed.count(name) == 0
    for line, (variables, _) in zip(machine.lines(name, 2), site.requests, strict=True):
        assert line["status"] == "502"
        assert variables["REQUEST_ID"].startswith(line["id"])
        assert line["id"] in response.getheader("X-Request-ID") or line["request"].startswith("GET")


def test_a_site_that_dies_over_the_request_that_woke_it_is_not_asked_again(machine, name):
    """It was woken once and asked once: no loop."""
    machine.known(name)
    machine.to_wake[name] = lambda variables, body: b""
    response = machine.ask(name, "/", "POST", b"order")
    assert (response.status, machine.warmed.count(name), len(machine.sites[name].requests)) == (502, 1, 1)
    assert b"No answer from this site" in response.body
    assert [line["status"] for line in machine.lines(name)] == ["502"]


def test_a_site_whose_mark_outlived_it_is_woken(machine, name):
    """Nobody listens though the mark says so (a kill, a restart): the request wakes it and arrives once."""
    machine.known(name)
    machine.layout.awake_mark(name).touch()
    machine.to_wake[name] = lambda variables, body: OK
    assert machine.ask(name, "/", "POST", b"order").status == 200
    assert [body for _, body in machine.sites[name].requests] == [b"order"]


def test_a_site_that_takes_too_long_is_a_504_and_not_asked_again(name):
    """The page says that it was the site; the time is the configured one."""
    machine = Machine(lambda port: Front(listen=(f"127.0.0.1:{port}",), read_timeout=1))
    done = threading.Event()
    try:
        site = machine.site(name, lambda variables, body: (done.wait(20), OK)[1])
        response = machine.ask(name, "/", "POST", b"order")
        assert (response.status, len(site.requests), machine.warmed) == (504, 1, [])
        assert b"It took too long over this request" in response.body
        (line,) = machine.lines(name)
        assert (line["status"], line["id"]) == ("504", response.getheader("X-Request-ID"))
    finally:
        done.set()
        machine.close()


def test_a_site_that_is_gone_before_its_request_comes_back_makes_no_loop(machine, name):
    """It was woken and died at once: a 502, and one warm-up."""
    machine.known(name)
    machine.to_wake[name] = None
    response = machine.ask(name)
    assert (response.status, machine.warmed.count(name)) == (502, 1)
    assert b"No answer from this site" in response.body


def test_a_site_that_does_not_start_is_the_error_page(machine, name):
    """Logged in the site's own log, under the id that the page shows; JSON for who asks for it."""
    machine.known(name)
    machine.to_wake[name] = NeverStartedError("hangs")
    page = machine.ask(name, headers=(("Accept", "text/html"),))
    assert page.status == 500
    document = machine.ask(name, headers=(("Accept", "application/json"),))
    assert (document.status, json.loads(document.body)["status"]) == (500, 500)
    lines = machine.lines(name, 2)
    assert [line["id"] for line in lines] == [page.getheader("X-Request-ID"), json.loads(document.body)["request_id"]]
    assert lines[0]["id"].encode() in page.body


def test_an_unknown_domain_is_logged_with_the_machines_own(machine, name):
    """404, and no folder for a name that somebody made up."""
    response = machine.ask(name, "/wp-login.php")
    assert response.status == 404
    log = machine.layout.own_logs_dir / "nginx.no-site.access.log"
    wait_for(lambda: response.getheader("X-Request-ID") in log.read_text(), "the line")
    assert not machine.layout.log_dir(name).exists()


def test_a_removed_sites_kept_log_is_not_written_any_more(machine, name):
    """Its folder stands, but the name is nobody's: requests for it are the machine's own affair."""
    machine.known(name)
    response = machine.ask(name)
    assert response.status == 404
    log = machine.layout.own_logs_dir / "nginx.no-site.access.log"
    wait_for(lambda: response.getheader("X-Request-ID") in log.read_text(), "the line")
    assert machine.layout.log_file(name, "access").read_text() == ""


def test_without_initialize_a_cold_site_is_not_available(name):
    """503 with Retry-After, in the site's log; a warm site goes on."""
    machine = Machine(lambda port: Front(listen=(f"127.0.0.1:{port}",)))
    try:
        machine.initialize.close()
        machine.known(name)
        machine.site("warm.test", lambda variables, body: OK)
        for method, body in (("GET", None), ("POST", b"x")):
            response = machine.ask(name, "/", method, body)
            assert (response.status, response.getheader("Retry-After")) == (503, "5")
        assert machine.ask("warm.test").status == 200
        assert [line["status"] for line in machine.lines(name, 2)] == ["503", "503"]
    finally:
        machine.close()


# -- the access log


def test_an_access_line_is_the_combined_format_and_then_ours(machine, name):
    """Existing tools read its beginning; the end has the time it took and the id that the site got."""
    site = machine.site(name, lambda variables, body: (time.sleep(0.05), OK)[1])
    sent = (
        ("Referer", "http://r.example/"),
        ("User-Agent", 'quote" and \\ and é'),
        ("Authorization", "Basic dXNlcjpw"),
    )
    machine.ask(name, "/x?y=1", headers=sent)
    (line,) = machine.lines(name)
    assert (line["address"], line["user"], line["request"]) == ("127.0.0.1", "user", "GET /x?y=1 HTTP/1.1")
    assert (line["status"], line["size"], line["referer"]) == ("200", "5", "http://r.example/")
    assert '"' not in line["agent"]
    assert float(line["seconds"]) >= 0.05
    assert line["id"] == site.requests[0][0]["REQUEST_ID"][:12]
    time.strptime(line["time"], "%d/%b/%Y:%H:%M:%S %z")


def test_a_line_break_in_a_request_makes_no_second_line(machine, name):
    """Neither in the URI nor in a header that is logged."""
    machine.site(name, lambda variables, body: OK)
    machine.raw(f"GET /a%0ab HTTP/1.1\r\nHost: {name}\r\nReferer: a\x0bb\r\nConnection: close\r\n\r\n".encode())
    assert machine.lines(name)[0]["referer"] == "a\\x0Bb"


def test_a_tenants_log_is_not_reached_through_a_link(machine, name):
    """nginx opens a log by the domain's name in a folder of root's: one that is missing is not made up."""
    machine.site(name, lambda variables, body: OK)
    shutil.rmtree(machine.layout.log_dir(name))
    assert machine.ask(name).status == 200
    assert not machine.layout.log_dir(name).exists()


def test_only_nginx_passes_the_door_to_the_sockets(machine):
    """A tenant who reached a site's socket could make it load any file."""
    status = machine.layout.sockets_dir.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, nginx.account("www-data")[1], 0o750)
