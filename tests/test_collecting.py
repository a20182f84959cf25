"""`collect` gives who helps what he needs, and none of the site's secrets."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import live_stack
from tests.live import LiveStack
from user_wsgi_wrapper.emperor_hook import redaction
from user_wsgi_wrapper.emperor_hook.redaction import GONE, Redaction

SECRETS = {
    "DATABASE_URL": "postgresql://me:hunter2hunter2@db/x",
    "SECRET_KEY": "abc%def'\"ghi",
    "PIN": "9137",
    "STRIPE": "sk_live_4242 and-more",
}
APP = """\
import os, sys
def application(environ, start_response):
    print("connecting with", os.environ["DATABASE_URL"], "as", os.environ["STRIPE"].split()[0], file=sys.stderr)
    print(repr(os.environ["SECRET_KEY"]), "https://you:open-sesame@other.test/ api_key=in-the-logs", file=sys.stderr)
    sys.stderr.write("\\x1b[2J\\n")
    raise KeyError("the failure")
"""


@pytest.fixture(scope="module")
def live() -> Iterator[LiveStack]:
    with live_stack(
        '[registry]\nlookup_url = "sqlite:////nowhere"\n# url = "mysql://root:t0ps3cret@host/db"\n'
    ) as live:
        settings = [part for name, value in SECRETS.items() for part in ("--env", f"{name}={value}")]
        live.site("a.test", "Alice", APP, *settings, "--env", "MODE=production")
        live.site("b.test", "Bob", APP, "--env", "DATABASE_URL=x", "--env", "STRIPE=y")
        for domain in ("a.test", "b.test"):
            assert live.request(domain, "/?q=1").status == 500
            live.wait_for_log(domain, "the failure" if domain == "a.test" else "SECRET_KEY")
        yield live


@pytest.fixture(scope="module")
def archive(live: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The members of a.test's archive by their names."""
    path = tmp_path_factory.mktemp("collect") / "a.tar.gz"
    live.command("collect", "a.test", "-o", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read().decode() for member in tar}  # type: ignore[union-attr]


def test_no_secret_is_in_it(archive: dict[str, str]) -> None:
    """Neither in the settings nor in the vassal nor in what the site has logged, nor an operator's password."""
    text = "\n".join(archive.values())
    for secret in ("hunter2", "sk_live_4242", "and-more", "abc%def", "abc%%def", "open-sesame", "in-the-logs"):
        assert secret not in text, secret
    assert "t0ps3cret" not in text
    assert "9137" not in archive["a.test/vassal.ini"]
    assert "9137" not in archive["a.test/site.json"]
    assert GONE in text


def test_what_helps_is_in_it(archive: dict[str, str]) -> None:
    """The failure, what was found, the versions, the settings but for secrets."""
    assert sorted(archive) == sorted(
        f"a.test/{name}"
        for name in (
            "README", "versions.txt", "site.json", "check.txt", "status.json", "explain.txt", "deploys.json",
            "vassal.ini", "emperor.json", "mounts.txt", "configuration.toml", "nginx-front.conf", "logs/access.log",
            "logs/error.log", "logs/server.log", "logs/of-the-stack/emperor.log", "logs/of-the-stack/initialize.log",
            "logs/of-the-stack/nginx.error.log",
        )
    )  # fmt: skip
    assert "KeyError: 'the failure'" in archive["a.test/logs/error.log"]
    assert '"GET /?q=1 HTTP/1.1" 500' in archive["a.test/logs/access.log"]
    assert "site started:" in archive["a.test/logs/server.log"]
    assert "uwsgi: 2." in archive["a.test/versions.txt"]
    assert ["MODE", "production"] in json.loads(archive["a.test/site.json"])["env"]
    assert ["PIN", GONE] in json.loads(archive["a.test/site.json"])["env"]
    assert json.loads(archive["a.test/status.json"])["state"] == "running"
    assert "ok     /var/www/wsgi.py is there" in archive["a.test/check.txt"]
    assert "not to be had" not in "".join(archive.values())
    assert "the site's own code wrote" in archive["a.test/README"], "what can't be taken out is said"


def test_nothing_of_other_tenants_is_in_it(archive: dict[str, str]) -> None:
    assert "b.test" not in "".join(archive.values())
    assert "Bob" not in "".join(archive.values())


def test_no_text_in_it_steers_a_terminal(archive: dict[str, str]) -> None:
    assert "\x1b" not in "".join(archive.values())
    assert "\\x1b[2J" in archive["a.test/logs/error.log"]


def test_without_a_file_it_goes_to_standard_output(live: LiveStack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "user_wsgi_wrapper", "--root", live.root, "collect", "a.test", "-n", "1"],
        capture_output=True, check=True,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(done.stdout))) as tar:
        assert len(tar.extractfile("a.test/logs/server.log").read().splitlines()) == 1  # type: ignore[union-attr]


def test_a_file_that_is_there_stays(live: LiveStack, tmp_path: Path) -> None:
    """And a link in its place is not followed."""
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "link").symlink_to("new")
    for name in ("kept", "link"):
        done = live.run("collect", "a.test", "-o", str(tmp_path / name))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
    assert (tmp_path / "kept").read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_a_tenants_log_that_is_no_file_holds_nobody(live: LiveStack) -> None:
    """What can't be read is told in its place, and of a log of gigabytes the end is read."""
    log = live.layout.log_file("b.test", "error")
    server = live.layout.log_file("b.test", "server")
    kept = log.with_name("kept")
    log.rename(kept)
    os.mkfifo(log)
    size = server.stat().st_size
    os.truncate(server, 4 << 30)
    try:
        path = live.root / "b.tar.gz"
        live.command("collect", "b.test", "-o", str(path))
        assert path.stat().st_size < 1 << 20
        with tarfile.open(path) as tar:
            assert b"not a regular file" in tar.extractfile("b.test/logs/error.log").read()  # type: ignore[union-attr]
    finally:
        os.truncate(server, size)
        log.unlink()
        kept.rename(log)


def test_an_unknown_site_is_one_line(live: LiveStack) -> None:
    done = live.run("collect", "nobody.test", "-o", "/nonexistent/x")
    assert (done.returncode, done.stderr) == (1, "user-wsgi-wrapper: domain nobody.test: there is no such site\n")


# -- the redaction itself

VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=redaction._LEAST, max_size=40)


@given(values=st.lists(VALUES, max_size=4), parts=st.lists(st.text(max_size=20), max_size=4))
def test_no_value_of_the_environment_survives(values: list[str], parts: list[str]) -> None:
    """Wherever it stands, whatever stands around it, another one that it overlaps with too."""
    redact = Redaction((f"V{number}", value) for number, value in enumerate(values))
    text = redact.text("".join(one + value for one in [*parts, ""] for value in values))
    for value in values:
        assert value not in text.replace(GONE, "\n")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("mysql://u:p@h/d", "mysql://u:(redacted)@h/d"),
        ("see http://h:80/a@b", "see http://h:80/a@b"),
        ("see https://u@h/", "see https://u@h/"),
        ("password = 'a b'", "password = (redacted)"),
        ('{"client_secret": "x\\"y", "a": 1}', '{"client_secret": (redacted), "a": 1}'),
        ("GET /?token=abc&x=1 HTTP", "GET /?token=(redacted)&x=1 HTTP"),
        ("API-KEY: x", "API-KEY: x"),
        ("APIKEY: x y", "APIKEY: (redacted) y"),
        ("DB_PASSWD_OLD=x", "DB_PASSWD_OLD=(redacted)"),
        ("no secret here", "no secret here"),
    ],
)
def test_what_is_called_a_password_goes_and_the_rest_stays(text: str, left: str) -> None:
    assert Redaction(()).text(text) == left


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "token" * 200_000, "://" * 300_000, "://a:" * 200_000, 'token="' * 150_000]
)
def test_a_tenants_text_of_a_mebibyte_takes_no_time(text: str) -> None:
    """It is linear: nothing in it makes the expressions try again and again."""
    began = time.process_time()
    Redaction(()).text(text)
    assert time.process_time() - began < 10
