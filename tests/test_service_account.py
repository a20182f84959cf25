"""The account of initialize's HTTP side: found, or made once, whoever tries; never root's."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from user_wsgi_wrapper.emperor_hook import checkup, config, service_account
from user_wsgi_wrapper.emperor_hook.config import Config
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError


@pytest.fixture
def name() -> Iterator[str]:
    """One that no account has, neither before nor after."""
    made = f"uww-test-{os.getpid()}"
    yield made
    with contextlib.suppress(KeyError):
        pwd.getpwnam(made)
        subprocess.run(["/usr/sbin/userdel", made], check=True, capture_output=True)


def test_of_many_who_make_it_at_once_each_finds_it(name: str) -> None:
    """It is made once: a system account with a group of its own, which nobody can log in to."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(service_account.ensure(name))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Path("/etc/passwd").read_text().count(f"{name}:x:") == 1
    entry = pwd.getpwnam(name)
    assert found == [(entry.pw_uid, entry.pw_gid)] * 4
    assert 0 < entry.pw_uid < 1000
    assert (entry.pw_shell, entry.pw_dir) == ("/usr/sbin/nologin", "/nonexistent")
    assert service_account.find(name) == service_account.ensure(name)


def test_one_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(BadValueError, match=f"'{name}' of .warm.: no such account"):
        service_account.find(name)


@pytest.mark.parametrize("account", ["root", "sync"])
def test_what_has_roots_ids_is_refused(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name is."""
    root = pwd.getpwnam("root")
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: root)
    with pytest.raises(BadValueError, match="root's uid or gid"):
        service_account.ensure(account)


def test_one_that_cannot_be_made_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what useradd says, after a bounded wait."""
    monkeypatch.setattr(service_account, "_PATIENCE", 0.3)
    with pytest.raises(BadValueError, match=r"it can't be made: .*invalid user name"):
        service_account.ensure("bad name!")


def check(settings: Config) -> list[checkup.Finding]:
    return [one for one in checkup.examine(Layout(), settings) if "HTTP side" in one.what]


def test_the_checkup_says_how_to_make_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To those who can't; for root, `up` and `configure` make it. Looking makes nothing."""
    settings = config.load(Layout(), None)
    settings = dataclasses.replace(settings, warm=dataclasses.replace(settings.warm, user=name))
    assert [one.good for one in check(settings)] == [True]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (finding,) = check(settings)
    assert not finding.good
    assert finding.advice.startswith("as root: /usr/sbin/useradd --system ")
    with pytest.raises(KeyError):
        pwd.getpwnam(name)


def test_the_checkup_refuses_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load(Layout(), None)
    root = pwd.getpwnam("root")
    monkeypatch.setattr(service_account.pwd, "getpwnam", lambda _name: root)
    (finding,) = check(settings)
    assert (finding.good, "root's uid or gid" in finding.advice) == (False, True)
