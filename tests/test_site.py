"""The naming law."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from user_wsgi_wrapper.site import (
    MAX_DOMAIN,
    BadValueError,
    Site,
    check,
    parse_domain,
    parse_env,
    parse_inside_path,
    parse_number,
    parse_static,
    parse_username,
    shorten,
)

LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
ANY_TEXT = st.text(st.characters(), max_size=80)  # lone surrogates and control characters too
LABELS = st.from_regex(rf"\A{LABEL}\Z").filter(lambda label: len(label) <= 63)
DOMAINS = (
    st.lists(LABELS, min_size=1, max_size=5).map(".".join).filter(lambda name: not name.split(".")[-1].isdigit())
)
PARTS = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=20)
PATHS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
ENV_NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}\Z").filter(
    lambda name: not name.startswith(("SITE_", "UWSGI_"))
)

WHOLE_DOMAIN = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
assert len(WHOLE_DOMAIN) == MAX_DOMAIN


def refusal(parse: Callable[[str], object], text: str) -> str:
    """The one line with which the value is refused; it is short, whatever the value is."""
    with pytest.raises(BadValueError) as caught:
        parse(text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 600
    return message


def lawful_or_refused(parse: Callable[[str], object], text: str) -> object | None:
    """What it is parsed to, or None after a refusal as it must be. Nothing else may be raised."""
    try:
        return parse(text)
    except BadValueError:
        refusal(parse, text)
        return None


# Domains


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com.", "example.com"),
        ("localhost", "localhost"),
        ("a-b.c--d.e1", "a-b.c--d.e1"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("127.0.0.1x", "127.0.0.1x"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("日本。example", "xn--wgv71a.example"),
        ("\uff25\uff58ample.com", "example.com"),
        (WHOLE_DOMAIN, WHOLE_DOMAIN),
        (WHOLE_DOMAIN + ".", WHOLE_DOMAIN),
    ],
)
def test_a_host_name_has_one_spelling(text: str, canonical: str) -> None:
    """Lower case, punycode, no dot at the end; 253 characters fit."""
    assert parse_domain(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a...",
        "../etc",
        "a/b",
        "a\\b",
        "a\nb",
        "a.example\n",
        "a.example\0",
        "a%b",
        "a b",
        "-a.b",
        "a-.b",
        "a_b.c",
        "*.example",
        "a.example:80",
        "a" * 64 + ".b",
        "e" + WHOLE_DOMAIN,
        "127.0.0.1",
        "1",
        "127.1",
        "::1",
        "[::1]",
        "\uff11\uff12\uff17.0.0.1",
        "ü" * 64,
        "ü\n.example",
        "℀.example",
        "\u200d.example",
        "ü%.example",
        "$(HOME).example",
        "@(exec://id)",
        "\udcff.example",
    ],
)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    """Folders, vassals and log files are named by domains, so nothing else may get through."""
    assert "domain" in refusal(parse_domain, text)


@settings(deadline=None)
@given(DOMAINS)
def test_a_canonical_domain_stays_as_it_is(text: str) -> None:
    """Every lower-case host name is its own canonical form, with and without a dot at the end."""
    assume(len(text) <= MAX_DOMAIN)
    assert parse_domain(text) == parse_domain(text + ".") == parse_domain(text.upper()) == text


@settings(deadline=None)
@given(ANY_TEXT)
@example("ẞ.a")
@example("a\u0345.example")
@example("xn--\u0131.example")
@example("\u2488.com")
def test_any_text_is_a_host_name_or_refused(text: str) -> None:
    """What comes out is a host name by RFC 1123 and canonical; what is refused is refused in one line."""
    domain = lawful_or_refused(parse_domain, text)
    if domain is not None:
        assert re.fullmatch(rf"{LABEL}(\.{LABEL})*", domain)
        assert len(domain) <= MAX_DOMAIN
        assert parse_domain(domain) == domain
        assert not set(domain) & set("/%$@(){};\"'\\ \n")


# User names


@pytest.mark.parametrize("text", ["a", "Alice", "_x", "0", "a.b-c_d+e@f", "a" * 64, "a.."])
def test_a_user_name_keeps_its_case(text: str) -> None:
    """It stays as it is."""
    assert parse_username(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        ".a",
        "-a",
        "+a",
        "a/b",
        "/a",
        "a\n",
        "a\0",
        "a b",
        "a:b",
        "a%",
        "$a",
        "ä",
        "\u0430",
        "a" * 65,
        "\udcff",
    ],
)
def test_what_can_be_no_folder_or_passwd_entry_is_no_user_name(text: str) -> None:
    """No separator, no control character, nothing that a program could take for an option."""
    assert "username" in refusal(parse_username, text)


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_text_is_a_user_name_or_refused(text: str) -> None:
    """A name that is accepted is one part of a path and one field of passwd(5)."""
    name = lawful_or_refused(parse_username, text)
    if name is not None:
        assert name == text
        assert not set(text) & set("/:\n\0,= ")
        assert text not in (".", "..")


# Paths


@pytest.mark.parametrize(
    ("text", "path"), [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("/a//", "/a"), ("/ä b/…", "/ä b/…")]
)
def test_a_path_has_one_spelling(text: str, path: str) -> None:
    """Slashes at the end go."""
    assert parse_inside_path("path", text) == path


@pytest.mark.parametrize(
    "text",
    ["", "a", "./a", "//a", "/a//b", "/..", "/a/..", "/a/../b", "/./a", "/a\nb", "/a\0", "/a\x7f", "/" + "ä" * 512],
)
def test_a_path_that_is_not_plain_is_refused(text: str) -> None:
    """Relative paths, dots, empty parts, control characters, more than 1024 bytes."""
    assert "the path" in refusal(lambda value: parse_inside_path("the path", value), text)


@settings(deadline=None)
@given(PATHS)
def test_every_plain_path_is_accepted(text: str) -> None:
    """And is its own canonical form."""
    assert parse_inside_path("path", text) == text


@settings(deadline=None)
@given(st.one_of(ANY_TEXT, ANY_TEXT.map(lambda text: "/" + text)))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    """A path that is accepted leads nowhere but down from the root, and is canonical."""
    path = lawful_or_refused(lambda value: parse_inside_path("path", value), text)
    if path is not None:
        assert path.startswith("/")
        assert not {"", ".", ".."} & set(path[1:].split("/")) or path == "/"
        assert not re.search(r"[\x00-\x1f\x7f]", path)
        assert parse_inside_path("path", path) == path


# Static mappings and environment


def test_a_static_mapping_is_a_url_and_a_folder() -> None:
    """Both are canonical paths."""
    assert parse_static("/static/=/var/www/static/") == ("/static", "/var/www/static")


@pytest.mark.parametrize(
    "text", ["", "/static", "=/a", "/a=", "/a=b", "a=/b", "/a=/b=/c", "/a:b=/c", "/a=/b:/c", "/a=/b/.."]
)
def test_a_mapping_that_could_be_read_otherwise_is_refused(text: str) -> None:
    """Mappings are listed as URL=DIR:URL=DIR, so neither sign may be in them."""
    refusal(parse_static, text)


@settings(deadline=None)
@given(st.one_of(ANY_TEXT, st.builds("{}={}".format, PATHS, PATHS)))
def test_mappings_can_be_told_apart_again(text: str) -> None:
    """A mapping that is accepted is still the same after being listed and split."""
    mapping = lawful_or_refused(parse_static, text)
    if mapping is not None:
        listed = ":".join("=".join(one) for one in (mapping, mapping))
        assert [tuple(one.split("=")) for one in listed.split(":")] == [mapping, mapping]
        assert parse_static("=".join(mapping)) == mapping


@pytest.mark.parametrize(
    ("text", "pair"), [("A=", ("A", "")), ("_a1=b=c", ("_a1", "b=c")), ("SITEX= ä ", ("SITEX", " ä "))]
)
def test_an_environment_setting_is_a_name_and_a_value(text: str, pair: tuple[str, str]) -> None:
    """The value may hold any sign that isn't a control character."""
    assert parse_env(text) == pair


@pytest.mark.parametrize(
    "text", ["", "A", "=a", "1A=b", "A B=c", "A\n=b", "A=b\nc", "A=\0", "SITE_DOMAIN=x", "UWSGI_FILE=/x", "Ä=b"]
)
def test_an_environment_setting_that_breaks_the_law_is_refused(text: str) -> None:
    """The names that the vassal and uWSGI read for themselves are reserved."""
    refusal(parse_env, text)


@settings(deadline=None)
@given(ENV_NAMES, st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50))
def test_a_setting_comes_through_unchanged(name: str, value: str) -> None:
    """Whatever text the value holds."""
    assert parse_env(f"{name}={value}") == (name, value)


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_text_is_a_setting_or_refused(text: str) -> None:
    """What is accepted is one line and spells the same again."""
    pair = lawful_or_refused(parse_env, text)
    if pair is not None:
        assert "=".join(pair) == text
        assert not re.search(r"[\x00-\x1f\x7f]", text)


# Whole sites


def test_numbers_have_bounds() -> None:
    """Both ends are allowed."""
    assert [parse_number("n", value, 1, 3) for value in (1, 2, 3)] == [1, 2, 3]
    for value in (0, 4, -1):
        assert "from 1 to 3" in refusal(lambda _: parse_number("n", value, 1, 3), "")  # noqa: B023


@settings(deadline=None)
@given(st.text(max_size=200))
def test_a_quoted_value_is_one_short_line(text: str) -> None:
    """Whatever the value is."""
    assert shorten(text).isprintable()
    assert len(shorten(text)) <= 60 * 10 + 3


def test_a_site_as_it_comes_is_lawful() -> None:
    """The defaults keep the law."""
    site = Site("a.example", "Alice")
    assert check(site) is site


@pytest.mark.parametrize(
    "change",
    [
        {"domain": "A.example"},
        {"domain": "a.example."},
        {"domain": "127.0.0.1"},
        {"username": "a/b"},
        {"wsgi_file": "wsgi.py"},
        {"static": (("/s", "relative"),)},
        {"static": (("/s=/x", "/y"),)},
        {"check_static": "/a/.."},
        {"virtualenv": "venv"},
        {"env": (("SITE_DOMAIN", "x"),)},
        {"env": (("A", "b\nc"),)},
        {"processes": 0},
        {"processes": 65},
        {"threads": 0},
        {"threads": 257},
        {"idle": 0},
        {"idle": 7 * 86400 + 1},
        {"memory": 15},
        {"memory": (1 << 20) + 1},
        {"log_format": "xml"},
        {"preflight": "run"},
        {"tasks_max": 0},
        {"memory_max": 31},
        {"cpu_quota": -1},
        {"open_files": 127},
        {"log_rate": (1 << 20) + 1},
    ],
)
def test_a_site_is_refused_for_each_field_that_breaks_the_law(change: dict) -> None:
    """One bad field is enough."""
    site = replace(Site("a.example", "Alice"), **change)
    refusal(lambda _: check(site), "")
