"""How initialize's HTTP side starts: as root, until it has given up all that root is; or it doesn't start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.refusal import refuse
from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import (
    config,
    configuration_files,
    initialize_environment,
    privileges,
    probe,
    service_account,
)
from user_wsgi_wrapper.emperor_hook.registry import open_registry
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.layout import Layout

EAGAIN, LIE = 11, 0


@pytest.fixture
def machine() -> Iterator[Machine]:
    """One whose configurations are written."""
    with tempfile.TemporaryDirectory(prefix="init-") as folder:
        layout = Layout(Path(folder))
        settings = config.load(layout, None)
        made = Machine(layout, settings, open_registry(settings, layout))
        configuration_files.write(made, layout)
        yield made


def started(machine: Machine, before: Callable[[], None] | None = None) -> tuple[subprocess.Popen[bytes], Path]:
    """The HTTP side under uWSGI, from a user with groups of his own; and what it says."""
    said = machine.layout.run_dir / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            ["/usr/bin/uwsgi", "--ini", str(machine.layout.run_dir / "initialize.ini")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            extra_groups=[4, 24], preexec_fn=before,
        )  # fmt: skip
    return process, said


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


def test_it_starts(machine: Machine) -> None:
    """Or what follows would show nothing."""
    process, said = started(machine)
    try:
        wait_for(lambda: probe.ping(machine.layout.initialize_socket, 1.0) or process.poll(), "it answers")
        assert process.poll() is None, said.read_text()
        uid, _ = service_account.find(machine.config.warm.user)
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in Path(f"/proc/{process.pid}/status").read_text()
    finally:
        end(process)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are this machine's")
@pytest.mark.parametrize("error", [EAGAIN, LIE])
@pytest.mark.parametrize("name", ["setresuid", "setresgid", "setgroups", "capbset"])
def test_where_a_step_fails_or_does_nothing_nobody_is_answered(machine: Machine, name: str, error: int) -> None:
    """It ends before it accepts a connection, and with the reason in its log."""
    process, said = started(machine, lambda: refuse(name, error))
    try:
        assert process.wait(20) != 0
        assert "PermissionError" in said.read_text() or "BlockingIOError" in said.read_text(), said.read_text()
        assert not probe.ping(machine.layout.initialize_socket, 0.2)
    finally:
        end(process)


@pytest.mark.parametrize("ids", [(0, 0), (0, 995), (999, 0), (-1, 995), (999, -1)])
def test_root_is_nobody_to_become(ids: tuple[int, int]) -> None:
    """Nor is "as it is", which -1 means to the kernel."""
    with pytest.raises(PermissionError):
        privileges.drop_to(*ids)
    assert os.geteuid() == 0


def test_it_ends_with_whoever_started_it_all_the_same() -> None:
    """The kernel forgets the signal at a parent's death when ids change; a killed stack leaves no half of itself."""
    child = (
        "import ctypes, os, sys, time; ctypes.CDLL(None).prctl(1, 15);"
        "from user_wsgi_wrapper.emperor_hook import privileges; privileges.drop_to(65534, 65534);"
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    wait_for(
        lambda: not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text(), "it ends"
    )


def test_it_needs_no_code_once_its_rights_are_gone(machine: Machine) -> None:
    """Which may lie where only root reads: every kind of answer is given while nothing more can be loaded."""
    uid, gid = service_account.find(machine.config.warm.user)
    settings = initialize_environment.Settings(uid, gid, machine.layout.root / "none.socket", 0.1, 1.0, 4)
    code = """
        import logging, sys
        from werkzeug.test import Client, EnvironBuilder
        from user_wsgi_wrapper.emperor_hook import initialize
        list(Client(lambda e, s: (s("200 OK", []), [b""])[1]).get("/").response)

        class Closed:
            def find_spec(self, name, path=None, target=None):
                raise PermissionError(f"{name} would be loaded")

        application = initialize.from_environment()
        sys.path[:], sys.meta_path[:] = [], [Closed()]
        client = Client(application)
        told = []
        known = "/initialize_webapp/http/one.test"
        for path in (known, "/x/b\u00fccher.test", "/x/127.0.0.1", "/", "/x/%ff", "/x/\u2028"):
            for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "x"):
                for accept in ("", "text/html", "application/json", "*/*;q=x", "text/html;q=0.5, application/json"):
                    for status in ("", "502", "504 : 502"):
                        reply = client.open(
                            path, method=method, headers={"Accept": accept},
                            environ_overrides={"SITE_STATUS": status, "REQUEST_ID": "ab" * 16},
                        )
                        told.append(reply.status_code)
                        assert (reply.status_code == 404) == (path != known), (path, reply.status_code)
        assert set(told) == {404, 502, 503}, set(told)
        print(len(told))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PATH": os.defpath, **dict(initialize_environment.write(settings))},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 500
    assert "would be loaded" not in done.stderr


def test_what_it_is_told_is_what_it_reads() -> None:
    """By the environment, to the last digit."""
    settings = initialize_environment.Settings(999, 995, Path("/run/a b/warmer.socket"), 0.1, 59.99999999, 64)
    assert initialize_environment.read(dict(initialize_environment.write(settings))) == settings


def test_an_environment_that_is_not_there_is_no_start() -> None:
    with pytest.raises(KeyError):
        initialize_environment.read({})
