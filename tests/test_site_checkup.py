"""`check DOMAIN` finds what stands in a site's way, says what to do, and finds nothing where nothing does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack, wait_for
from user_wsgi_wrapper.emperor_hook import collecting, emperor_report, site_checkup, site_places
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook.registry import open_registry
from user_wsgi_wrapper.emperor_hook.spinup import Machine

APP = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
"""


@pytest.fixture(scope="module")
def live() -> Iterator[LiveStack]:
    with live_stack() as stack:
        yield stack


@contextlib.contextmanager
def site(live: LiveStack, *settings: str, code: str = APP) -> Iterator[Path]:
    """A site a.test of Alice's; gives her /var/www."""
    live.site("a.test", "Alice", code, *settings)
    try:
        yield live.layout.www("Alice")
    finally:
        live.command("site", "remove", "a.test", "--purge")


def wrong(live: LiveStack, domain: str = "a.test") -> list[str]:
    """The lines of what stands in the way."""
    config = configuration.load(live.layout, None)
    machine = Machine(live.layout, config, open_registry(config, live.layout))
    return [collecting.line(one) for one in site_checkup.examine(machine, domain) if not one.good]


def test_nothing_stands_in_the_way_of_a_site_that_works(live: LiveStack) -> None:
    """Cold, running, asleep, and with every setting there is; looking wakes nobody and makes nothing."""
    with site(live, "--virtualenv", "/home/Alice/venv", "--check-static", "/var/www/public", "--idle", "1"):
        subprocess.run(
            ["/usr/bin/python3", "-m", "venv", "--without-pip", live.layout.home("Alice") / "venv"], check=True
        )
        before = sorted(live.root.rglob("*"))
        assert wrong(live) == []
        assert live.status("a.test")["state"] == "cold"
        assert sorted(set(live.root.rglob("*")) - set(before)) == []
        assert live.request("a.test").text == "fine"
        assert wrong(live) == []
        wait_for(lambda: live.status("a.test")["state"] == "idle", "it sleeps")
        assert wrong(live) == []
        assert live.status("a.test")["state"] == "idle"


def _chown(*names: str) -> Callable[[LiveStack, Path], None]:
    def act(live: LiveStack, www: Path) -> None:
        for name in names:
            os.chown(www / name, 0, 0)
            (www / name).chmod(0o700)

    return act


COLD = [
    (_chown("."), "/var/www (uid 0, mode 0700) may not be entered by the tenant"),
    (_chown("wsgi.py"), "/var/www/wsgi.py (uid 0, mode 0700) may not be read by the tenant"),
    (lambda live, www: (www / "wsgi.py").unlink(), "there is no /var/www/wsgi.py"),
    (lambda live, www: os.chown(www, 0, 0), "it belongs to uid 0, mode 0755: chown it to"),
    (lambda live, www: (live.layout.home("Alice")).chmod(0), "/home/Alice (uid"),
    (lambda live, www: _link(www / "wsgi.py", "/etc/shadow"), "there is no /etc"),
    (lambda live, www: _link(www / "wsgi.py", "wsgi.py"), "too many levels of symbolic links"),
    (lambda live, www: _fifo(www / "wsgi.py"), "/var/www/wsgi.py is a special"),
    (lambda live, www: _static(www), "static /static=/var/www/static can be entered"),
]


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _static(www: Path) -> None:
    (www / "static").mkdir(mode=0o700)


@pytest.mark.parametrize(("act", "said"), COLD, ids=[said for _, said in COLD])
def test_what_is_wrong_with_the_tenants_files_is_found(
    live: LiveStack, act: Callable[[LiveStack, Path], object], said: str
) -> None:
    """With who owns it and its mode, before the site was ever asked for, and once its chroot is built."""
    with site(live) as www:
        act(live, www)
        assert any(said in line for line in wrong(live)), wrong(live)
        live.request("a.test")
        expected = said.replace("there is no /etc", "/etc/shadow")
        assert any(expected in line for line in wrong(live)), wrong(live)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda venv: None, "there is no /home/Alice/venv"),
        (lambda venv: venv.mkdir(), "it is no virtual environment"),
        (lambda venv: (venv.mkdir(), (venv / "pyvenv.cfg").write_text("version = 3.4.2\n")), "it is for Python 3.4"),
    ],
)
def test_a_virtualenv_that_is_none_or_of_another_python_is_found(
    live: LiveStack, prepare: Callable[[Path], object], said: str
) -> None:
    with site(live, "--virtualenv", "/home/Alice/venv"):
        prepare(live.layout.home("Alice") / "venv")
        (line,) = [one for one in wrong(live) if "venv" in one]
        assert said in line


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("home = /usr/bin\nversion = 3.11.2\n", "3.11"),
        ("version_info = 3.9.2.final.0\n", "3.9"),
        ("home = /usr/bin\n", None),
        ("version=\x1b[2J.1", "\\x1b[2J.1"),
    ],
)
def test_the_version_of_a_virtualenv_is_read_as_venv_and_virtualenv_write_it(text: str, version: str | None) -> None:
    assert site_places.python_version(text) == version


def test_code_that_cannot_be_loaded_is_told_with_the_reason_and_the_record(live: LiveStack) -> None:
    """Where nothing serves, and where an earlier version does."""
    with site(live, code="import nothing_of_this_name\n"):
        assert live.request("a.test").status == 500
        done = live.run("check", "a.test")
        assert done.returncode == 1
        said = "running it raised ModuleNotFoundError: No module named 'nothing_of_this_name'"
        assert f"visitors get the error page (the site could not be loaded: /var/www/wsgi.py: {said}" in done.stdout
        assert "The last failure in its error log:" in done.stdout
        assert "site broken:" in done.stdout
    with site(live):
        live.request("a.test")
        live.write("Alice", "wsgi.py", "1/0\n")
        wait_for(lambda: "deploy" in live.status("a.test")["state"], "it is refused")
        assert any(
            "the version before it goes on serving (" in line and "ZeroDivisionError" in line for line in wrong(live)
        )


def test_a_broken_chroot_and_an_edited_vassal_are_found_and_cool_mends_both(live: LiveStack) -> None:
    """As the advice says."""
    with site(live):
        live.request("a.test")
        chroot = live.layout.chroot("Alice")
        subprocess.run(["umount", "-l", chroot / "dev/shm"], check=True)
        with live.layout.vassal("a.test").open("a") as file:
            file.write("# edited\n")
        lines = wrong(live)
        assert any(f"{chroot}/dev/shm; `cool a.test` has them made anew" in line for line in lines), lines
        assert any("it was edited" in line for line in lines), lines
        live.command("cool", "a.test")
        assert wrong(live) == []
        assert live.request("a.test").text == "fine"
        assert wrong(live) == []


def test_a_site_whose_workers_always_die_is_found(live: LiveStack) -> None:
    """By what the Emperor and the logs say: no worker ever answered."""
    with site(live, "--memory", "16"):
        live.write("Alice", "threading.py", "import os\nos._exit(1)\n")
        live.command("cool", "a.test")
        with pytest.raises(TimeoutError):
            live.request("a.test", timeout=3)
        wait_for(lambda: live.layout.vassal("a.test").exists(), "it was tried")
        lines = wrong(live)
        assert any("none could serve" in line for line in lines), lines


def test_what_nobody_has_is_told(live: LiveStack) -> None:
    """A site that isn't there; a name that can't be one is wrong usage."""
    (line,) = wrong(live, "nobody.test")
    assert "site add nobody.test" in line
    assert live.run("check", "a/b").returncode == 2


def test_an_emperor_that_does_not_run_is_found(live: LiveStack) -> None:
    """And initialize; a sleeping site's socket isn't touched to find out. Both are started again by `up`."""
    with site(live):
        live.request("a.test")
        live.stop(signal.SIGTERM)
        try:
            lines = wrong(live)
            assert any(line.startswith("wrong  the Emperor runs: start it") for line in lines), lines
            assert any("initialize listens" in line for line in lines), lines
        finally:
            live.start()
        live.request("a.test")
        assert wrong(live) == []


def test_a_registry_that_does_not_answer_is_a_finding_without_its_password(live: LiveStack) -> None:
    before = live.layout.config_file.read_text()
    live.layout.config_file.write_text('[registry]\nurl = "postgresql+psycopg://u:s3cret@127.0.0.1:1/x"\n')
    try:
        (line,) = wrong(live)
        assert line.startswith("wrong  the registry answers:")
        assert "s3cret" not in line
    finally:
        live.layout.config_file.write_text(before)


def test_a_site_of_the_lookup_query_that_was_never_served_gets_no_ids_by_being_looked_at(live: LiveStack) -> None:
    """Neither `check` nor `explain` writes into the registry."""
    before = live.layout.config_file.read_text()
    query = "select 'Newcomer' where :domain = 'new.test'"
    live.layout.config_file.write_text(f'{before}\n[registry]\nlookup_query = "{query}"\n')
    try:
        assert wrong(live, "new.test") == []
        done = live.run("explain", "http://new.test/")
        assert (done.returncode, "Newcomer was never served here" in done.stdout) == (1, True), done
        config = configuration.load(live.layout, None)
        assert open_registry(config, live.layout).known_identity("Newcomer") is None
    finally:
        live.layout.config_file.write_text(before)


def test_an_account_of_the_same_name_with_another_uid_is_found(live: LiveStack, monkeypatch: object) -> None:
    """What is copied as that account isn't the site's."""
    with site(live):
        uid = int(live.layout.www("Alice").stat().st_uid)
        subprocess.run(["useradd", "--no-create-home", "--uid", str(uid + 1000000), "Alice"], check=True)
        try:
            assert any(f"the account Alice has uid {uid + 1000000}" in line for line in wrong(live))
        finally:
            subprocess.run(["userdel", "Alice"], check=True)


def test_whether_somebody_listens_is_told_without_knocking(live: LiveStack) -> None:
    """A socket file that nobody holds is none."""
    assert emperor_report.listens(live.layout.initialize_socket)
    assert not emperor_report.listens(live.layout.root / "nothing")


def test_without_a_domain_it_is_the_machine_that_is_checked(live: LiveStack) -> None:
    assert "missing" not in live.command("check")
