"""The command line: bad input is a one-line error that names the value and the rule, and changes nothing."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveStack
from user_wsgi_wrapper.emperor_hook import arguments
from user_wsgi_wrapper.emperor_hook.help_texts import TEXTS

BAD_DOMAINS = ["a/b", "..", "a\nb", "a%b", "a." * 126 + "aa", "127.0.0.1", "", "-a.test", "a_b.test", "a..b", "[::1]"]
BAD_SETTINGS = [
    ["--static", "/s=@(exec://touch x)"],
    ["--static", "/s=/var/www/../../etc"],
    ["--static", "/s"],
    ["--static", "/s=/a\nexec-asap = id"],
    ["--check-static", "relative"],
    ["--check-static", "/$(HOME)"],
    ["--wsgi-file", "/var/www/@(exec://id)"],
    ["--wsgi-file", "wsgi.py"],
    ["--virtualenv", "/home/%(uid)"],
    ["--env", "X=@(exec://touch x)"],
    ["--env", "X=$(HOME)"],
    ["--env", "X=a\nexec-asap = id"],
    ["--env", "X= a"],
    ["--env", "9X=a"],
    ["--env", "SITE_DOMAIN=other.test"],
    ["--env", "no-equals"],
    ["--processes", "0"],
    ["--threads", "100000"],
    ["--idle", "-1"],
    ["--memory", "1"],
]


@pytest.fixture
def idle() -> Iterator[LiveStack]:
    """A root with nothing running in it."""
    live = LiveStack(Path(tempfile.mkdtemp(prefix="uww-")))
    yield live
    live.close()


def refused(live: LiveStack, *arguments: str) -> str:
    """The one-line error of a command that must fail as wrong usage, with no site added."""
    done = live.run(*arguments)
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert json.loads(live.command("site", "list", "--json")) == []
    assert not live.layout.storage_dir.exists() or list(live.layout.storage_dir.iterdir()) == []
    return done.stderr


@pytest.mark.parametrize("domain", BAD_DOMAINS)
def test_a_bad_domain_is_refused(idle: LiveStack, domain: str) -> None:
    """The error names the domain, as it was given or its beginning."""
    error = refused(idle, "site", "add", "--user", "Alice", "--", domain)
    assert repr(domain)[1:50].rstrip("'") in error


@pytest.mark.parametrize("username", ["a/b", "..", "", "a b", "-a", "a\nb", "a:b", "x" * 65, "é"])
def test_a_bad_username_is_refused(idle: LiveStack, username: str) -> None:
    """The error names the user."""
    assert "user" in refused(idle, "site", "add", "a.test", f"--user={username}")


@pytest.mark.parametrize("settings", BAD_SETTINGS, ids=lambda settings: " ".join(settings))
def test_a_bad_setting_is_refused(idle: LiveStack, settings: list[str]) -> None:
    """Nothing is added, nothing is run."""
    refused(idle, "site", "add", "a.test", "--user", "Alice", *settings)


@pytest.mark.parametrize("settings", BAD_SETTINGS, ids=lambda settings: " ".join(settings))
def test_a_bad_change_changes_nothing(idle: LiveStack, settings: list[str]) -> None:
    """The site stays as it was."""
    idle.command("site", "add", "a.test", "--user", "Alice")
    before = idle.command("site", "show", "a.test", "--json")
    done = idle.run("site", "set", "a.test", *settings)
    assert done.returncode == 2, done
    assert idle.command("site", "show", "a.test", "--json") == before


def test_an_international_domain_is_kept_as_punycode(idle: LiveStack) -> None:
    """It is found under both spellings."""
    idle.command("site", "add", "Bücher.example", "--user", "Alice")
    assert json.loads(idle.command("site", "show", "bücher.example", "--json"))["domain"] == "xn--bcher-kva.example"
    assert "xn--bcher-kva.example" in idle.command("site", "list")


def test_two_usernames_that_differ_in_case_are_refused(idle: LiveStack) -> None:
    """The first keeps its name; the domain of the second is not added."""
    idle.command("site", "add", "a.test", "--user", "Alice")
    done = idle.run("site", "add", "b.test", "--user", "alice")
    assert done.returncode == 2, done
    assert "Alice" in done.stderr
    assert len(json.loads(idle.command("site", "list", "--json"))) == 1


def test_a_site_is_added_only_once(idle: LiveStack) -> None:
    """The second `site add` fails and says that the site is there."""
    idle.command("site", "add", "a.test", "--user", "Alice")
    done = idle.run("site", "add", "A.test", "--user", "Bob")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "a.test" in done.stderr


@pytest.mark.parametrize("command", ["show", "set", "remove"])
def test_what_is_not_there_is_told(idle: LiveStack, command: str) -> None:
    """A command on an unknown site fails with one line that names it."""
    done = idle.run("site", command, "nobody.test")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "nobody.test" in done.stderr


def test_a_domain_too_long_for_its_socket_is_refused(idle: LiveStack) -> None:
    """The error says how long it may be."""
    error = refused(idle, "site", "add", "a" * 60 + "." + "b" * 60 + ".test", "--user", "Alice")
    assert "leaves room for" in error


def test_a_registry_that_cannot_be_reached_is_one_line(idle: LiveStack) -> None:
    """And no password stands in it."""
    idle.layout.config_file.write_text('[registry]\nurl = "postgresql+psycopg://u:s3cret@127.0.0.1:1/x"\n')
    done = idle.run("site", "list")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "s3cret" not in done.stderr


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command's parser."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for leaf in group.choices.values():
            yield from leaves(leaf)
    if not groups:
        yield parser


@pytest.mark.parametrize("leaf", list(leaves(arguments.parser())), ids=lambda leaf: leaf.prog)
def test_every_command_has_help_worth_reading(leaf: argparse.ArgumentParser) -> None:
    """A sentence or more about what it does, every argument explained, no line wider than a terminal of 100."""
    text = leaf.format_help()
    assert len(leaf.description.split()) > 10, leaf.description  # type: ignore[union-attr]
    assert [action.dest for action in leaf._actions if not action.help] == []
    assert max(len(line) for line in text.splitlines()) <= 100, text
    assert text.isascii() or "…" in text


def test_no_text_is_about_a_command_that_is_not_there() -> None:
    named = {leaf.get_default("command") for leaf in leaves(arguments.parser())}
    assert set(TEXTS) <= named


def test_help_works(idle: LiveStack) -> None:
    """`--help` of the program, of a group and of a command exits with 0."""
    for command in (["site"], ["site", "add"], []):
        assert "usage: user-wsgi-wrapper" in idle.command(*command, "--help")


def test_check_finds_this_machine_fit(idle: LiveStack) -> None:
    """Where the tests run, nothing is missing."""
    assert "missing" not in idle.command("check")
