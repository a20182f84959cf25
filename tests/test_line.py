"""Access lines: whose they are is told exactly, and no byte of a line is lost."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from log_splitter import line
from tests.splitting import parse_json, parse_pipe, parse_vhost
from user_wsgi_wrapper import site

COMBINED = b'127.0.0.1 - - [24/Aug/2012:10:11:12 +0000] "GET /a|b HTTP/1.1" 200 5 "-" "curl"\n'
label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
domain = st.lists(label, min_size=1, max_size=4).map(".".join).filter(lambda text: not text.split(".")[-1].isdigit())
near_domain = (
    st.text("aZ0-._:/é\0 \n", max_size=12) | st.text(max_size=8) | domain.map(str.upper) | domain.map("{}.".format)
)
parsers = (parse_pipe, parse_vhost, parse_json)


@given(near_domain)
@example("x.9a")
@example("1.2.3.4")
@example("a" * 63 + ".b")
@example("a" * 64 + ".b")
@example(".".join(["a" * 49] * 5) + ".abc")
@example(".".join(["a" * 49] * 5) + ".abcd")
@example(".".join(["a" * 49] * 5) + ".abc.")
@example("a..")
@example("K.com")
def test_a_key_is_what_the_naming_law_makes_of_it(text):
    """One law for names: what site.parse_domain refuses is no key, and what it takes has its spelling."""
    try:
        expected = site.parse_domain(text).encode() if text.isascii() else None
    except site.BadValueError:
        expected = None
    assert line.canonical(text.encode()) == expected


@given(st.binary())
def test_whatever_the_bytes_a_key_is_canonical_or_none(key):
    found = line.canonical(key)
    assert found is None or site.parse_domain(found.decode("ascii")).encode() == found


@given(domain, st.binary())
def test_pipe_gives_key_and_text(name, text):
    assert parse_pipe(name.upper().encode() + b"|" + text) == (name.encode(), text)


@given(domain, st.none() | st.integers(0, 65535), st.binary())
def test_vhost_gives_key_and_text_with_and_without_a_port(name, port, text):
    first = name.title() if port is None else f"{name}:{port}"
    assert parse_vhost(first.encode() + b" " + text) == (name.encode(), text)


@given(domain, st.text())
def test_json_gives_the_fields_key_and_the_whole_line(name, text):
    whole = json.dumps({"text": text, "host": name.upper()}).encode() + b"\n"
    assert parse_json(whole, "host") == (name.encode(), whole)
    assert parse_json(whole, "nothing") == (None, whole)


@given(st.binary())
def test_a_line_is_never_lost_and_nothing_raises(text):
    for parse in parsers:
        key, rest = parse(text)
        assert text.endswith(rest)
        if key is None:
            assert rest == text


def test_the_first_bar_ends_the_key_and_the_newline_stays():
    assert parse_pipe(b"One.Example.com|" + COMBINED) == (b"one.example.com", COMBINED)
    assert parse_vhost(b"one.example.com:443 " + COMBINED) == (b"one.example.com", COMBINED)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"..",
        b"../../etc",
        b"a/b",
        b"a\0b",
        b"-",
        b"_",
        b"a" * 300,
        b"\xff\xfe",
        b"*",
        b"1.2.3.4",
        b"[::1]",
    ],
)
def test_a_key_that_is_no_domain_keeps_its_whole_line(key):
    for text, parse in ((key + b"|" + COMBINED, parse_pipe), (key + b" " + COMBINED, parse_vhost)):
        assert parse(text) == (None, text)
    text = json.dumps({"host": key.decode("latin-1")}).encode()
    assert parse_json(text, "host") == (None, text)


@pytest.mark.parametrize("text", [b"one.example.com", b"one.example.com\n", b"\n", b"", b" one.example.com x"])
def test_a_line_without_text_belongs_to_no_key(text):
    assert parse_pipe(text) == (None, text)
    assert parse_vhost(text) == (None, text)


@pytest.mark.parametrize("first", [b"a.com:", b"a.com:x", b"a.com:1x", b"a.com:123456", b"a.com:1:2", b":80", b"::1"])
def test_a_port_that_is_none_belongs_to_no_key(first):
    assert parse_vhost(first + b" " + COMBINED) == (None, first + b" " + COMBINED)


@pytest.mark.parametrize(
    "text",
    [b"{", b"[]", b'"host"', b"null", b'{"host": 1}', b'{"host": null}', b'{"host": ["a.com"]}', b"[" * 100_000,
     b'{"x": {"host": "a.com"}}', b'{"x": "\\"host\\": \\"a.com\\""}', b'{"n": ' + b"9" * 5000 + b"}",
     b'{"host": "a\\u212a"}', b'{"host": "a.com"} {"host": "a.com"}\n', b'{"host": "a.com"}x',
     b'\xa0{"host": "a.com"}'],
)  # fmt: skip
def test_json_that_names_no_host_belongs_to_no_key(text):
    assert parse_json(text, "host") == (None, text)


def test_space_around_json_is_no_reason_to_refuse_it():
    assert parse_json(b' \t{"host": "a.com"}\r\n')[0] == b"a.com"


def test_bytes_of_a_visitor_keep_no_json_line_from_its_domain():
    text = b'{"request": "GET /\xff\xfe\x01\x1b[2J", "host": "a.com"}\n'
    assert parse_json(text, "host") == (b"a.com", text)


def test_a_hostile_line_of_ten_megabytes_costs_little():
    started = time.process_time()
    for text in (b"a" * 10_000_000, b"a-" * 5_000_000, b"a:1" * 3_000_000, b":" * 10_000_000):
        assert parse_pipe(text + b"|x")[0] is None
        assert parse_vhost(text + b" x")[0] is None
    for text in (b"a" * 254, b"a-" * 127, b"a." * 127 + b"-", b"a-a." * 63 + b"_"):
        assert line.canonical(text) is None
    assert time.process_time() - started < 1


def test_the_longest_key_is_the_longest_domain():
    assert line._MAX_DOMAIN == site.MAX_DOMAIN
