"""The operator's SELECT: found placeholders, untouched text, one user."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_wsgi_wrapper.emperor_hook.lookup_query import LookupQuery, parse, username
from user_wsgi_wrapper.site import BadValueError

BACKENDS = ["sqlite", "postgresql", "mysql", "mariadb"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "text",
    [
        "SELECT u FROM t WHERE d = {}",
        "  select u from t where d={};  ",
        "SELECT u FROM t WHERE d = {} OR e = {}",
        "WITH x AS (SELECT {} AS d) SELECT u FROM t, x",
        "SELECT u FROM t WHERE d = lower({})",
        "SELECT '%s :domain ''%s''', \"%s\" FROM t -- :domain\n WHERE d = {} /* %s */",
        "SELECT 'it''s; no end' FROM t WHERE d = {}",
        "SELECT u FROM t WHERE d = {} AND n %size = 0 AND x::domain = 1 AND y = :domains",
    ],
)
@pytest.mark.parametrize("placeholder", ["%s", ":domain"])
def test_placeholders_are_found_where_they_count(backend: str, text: str, placeholder: str) -> None:
    """Outside strings, quoted names and comments, as whole words; everything else stays as it is."""
    expected = text.strip().removesuffix(";").split("{}")
    assert parse(text.replace("{}", placeholder), backend).pieces == tuple(expected)


@pytest.mark.parametrize(
    ("backend", "opaque"),
    [
        ("postgresql", "E'a\\'%s'"),
        ("postgresql", "e'\\\\'"),
        ("postgresql", "$$ it's %s $$"),
        ("postgresql", "$tag$ :domain $$ '$tag$"),
        ("postgresql", "'ends with a backslash\\'"),
        ("sqlite", "'ends with a backslash\\'"),
        ("sqlite", "`%s'`"),
        ("mysql", "'a\\'%s'"),
        ("mysql", '"a\\"%s"'),
        ("mysql", "`a'%s`"),
        ("mysql", "1 # it's %s\n"),
        ("mysql", "1 --2"),
    ],
)
def test_each_database_has_its_own_quotes(backend: str, opaque: str) -> None:
    """What it takes for a string or a comment holds no placeholder and hides no later one."""
    text = f"SELECT {opaque}, u FROM t WHERE d = "
    assert parse(text + "%s", backend).pieces == (text, "")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a SELECT"),
        ("DELETE FROM t WHERE d = %s", "is not a SELECT"),
        ("SELECTED %s", "is not a SELECT"),
        ("SELECT u FROM t", "no placeholder"),
        ("SELECT u FROM t WHERE d = '%s'", "no placeholder"),
        ("SELECT u FROM t WHERE d = :domains", "no placeholder"),
        ("SELECT u FROM t -- WHERE d = %s", "no placeholder"),
        ("SELECT 1; DELETE FROM t WHERE d = %s", "more than one statement"),
        ("SELECT u FROM t WHERE d = %s AND e = 'x", "quote (') is not closed"),
        ('SELECT "u FROM t WHERE d = %s', 'quote (") is not closed'),
        ("SELECT u FROM t WHERE d = %s\0", "NUL"),
    ],
)
def test_what_is_no_lookup_is_refused(backend: str, text: str, words: str) -> None:
    """With one line that tells the rule."""
    with pytest.raises(BadValueError) as caught:
        parse(text, backend)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="'\0", codec="utf-8"), max_size=20), min_size=1, max_size=4))
def test_a_statement_says_to_the_driver_what_the_query_said(texts: list[str]) -> None:
    """A driver that formats gives the text back byte for byte, and SQLite reads every string as it was written."""
    query = parse("SELECT :domain, " + ", ".join(f"'{text}'" for text in texts), "sqlite")
    formatted = query.statement("pyformat") % {"domain": "a.example"}
    assert formatted == "a.example".join(query.pieces)
    connection = sqlite3.connect(":memory:")
    row = connection.execute(query.statement("named"), {"domain": "a.example"}).fetchone()
    connection.close()
    assert row == ("a.example", *texts)


@settings(deadline=None)
@given(st.text(st.sampled_from("select %s:domain'\"`$-/*#\\;\nEe xt"), max_size=60), st.sampled_from(BACKENDS))
def test_no_text_is_lost(text: str, backend: str) -> None:
    """The pieces and the placeholders between them are the whole query."""
    try:
        pieces = parse("SELECT " + text, backend).pieces
    except BadValueError:
        return
    whole = ("SELECT " + text).strip().removesuffix(";")
    for number, piece in enumerate(pieces):
        if number:
            assert whole.startswith(("%s", ":domain"))
            whole = whole.removeprefix("%s") if whole.startswith("%s") else whole.removeprefix(":domain")
        assert whole.startswith(piece)
        whole = whole.removeprefix(piece)
    assert whole == ""


def test_each_driver_gets_its_own_placeholder() -> None:
    """And only a driver that formats gets doubled percent signs."""
    query = LookupQuery(("SELECT u FROM t WHERE n LIKE '%' AND d = ", " AND e = ", ""))
    assert query.statement("pyformat") == "SELECT u FROM t WHERE n LIKE '%%' AND d = %(domain)s AND e = %(domain)s"
    assert query.statement("named") == "SELECT u FROM t WHERE n LIKE '%' AND d = :domain AND e = :domain"


@pytest.mark.parametrize(
    ("columns", "row", "user"),
    [
        (["x"], ["Alice"], "Alice"),
        (["path", "cased_username"], ["/p", "Alice"], "Alice"),
        (["username", "path"], ["Alice", "/p"], "Alice"),
        (["username", "cased_username"], ["alice", "Alice"], "Alice"),
        (["a", "USERNAME"], ["/p", "Alice"], "Alice"),
        (["x"], [b"Alice"], "Alice"),
        (["x"], [None], None),
    ],
)
def test_the_column_with_the_user_is_known_by_its_label(
    columns: list[str], row: list[object], user: str | None
) -> None:
    """Or by being the only one."""
    assert username(columns, [row]) == user


def test_no_row_is_no_user() -> None:
    """And nameless rows beside a named one don't count."""
    assert username(["x"], []) is None
    assert username(["x"], [[None], ["Alice"], [None], ["Alice"]]) == "Alice"


@pytest.mark.parametrize(
    ("columns", "rows", "words"),
    [
        (["a", "b"], [["x", "y"]], "('a', 'b') one must be named cased_username or username"),
        (["x"], [["Alice"], ["Bob"]], "two users for one domain, 'Alice' and 'Bob'"),
        (["x"], [["Alice"], ["alice"]], "two users"),
        (["x"], [[7]], "is not text"),
        (["x"], [["a/b"]], "username 'a/b'"),
        (["x"], [["Alice  "]], "username 'Alice  '"),
        (["x"], [[""]], "username ''"),
        (["x"], [[b"\xff"]], "username"),
    ],
)
def test_an_unclear_answer_is_refused(columns: list[str], rows: list[list[object]], words: str) -> None:
    """With one line that tells what is unclear."""
    with pytest.raises(BadValueError) as caught:
        username(columns, rows)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
