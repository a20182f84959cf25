"""The systemd units: what they leave to the services is enough for all that these do."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveStack, free_port, wait_for
from user_wsgi_wrapper.emperor_hook import cgroups, chroot, mounts, reaper

UNITS = Path(__file__).parents[1] / "conf/systemd"
APP = """\
import subprocess
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/orphan":
        subprocess.run(["/bin/sh", "-c", "setsid sleep 3600 >/dev/null 2>&1 &"])
    return [open("/proc/self/status").read().encode()]
"""


def bounded(unit: str, *command: str) -> list[str]:
    """A command with no more capabilities than the unit leaves to its service."""
    text = (UNITS / unit).read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.MULTILINE)
    names = [word.removeprefix("CAP_").lower() for word in line.split()]
    privileges = ["--no-new-privs"] if "NoNewPrivileges=true" in text else []
    network = ["unshare", "--net"] if "PrivateNetwork=true" in text else []
    return [
        *network,
        "setpriv",
        "--bounding-set",
        ",".join(["-all", *(f"+{name}" for name in names)]),
        *privileges,
        *command,
    ]


@pytest.fixture
def stack() -> Iterator[LiveStack]:
    """The services as systemd starts them, each under its unit's bounds; nginx as it is."""
    root = Path(tempfile.mkdtemp(prefix="uww-"))
    root.chmod(0o755)
    port = free_port()
    live = LiveStack(root, f'[front]\nlisten = ["127.0.0.1:{port}"]\n')
    live.port = port
    emperor, initialize, warmer = (
        f"user-wsgi-wrapper-{name}.service" for name in ("emperor", "initialize", "warmer")
    )
    run = live.layout.run_dir
    ours = (sys.executable, "-m", "user_wsgi_wrapper", "--root", str(live.root))
    environment = {"PATH": os.defpath}
    program = (sys.executable, "-I", "-B", "-m", "user_wsgi_wrapper.emperor_hook.warmer", "--root", str(live.root))
    for command in (("configure",), ("cool", "--all")):
        subprocess.run(bounded(emperor, *ours, *command), check=True, stdout=subprocess.DEVNULL)
    live.layout.own_logs_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as services:
        for command in (
            bounded(emperor, "/usr/bin/uwsgi", "--ini", str(run / "emperor.ini")),
            bounded(warmer, *program),
            bounded(initialize, "/usr/bin/uwsgi", "--ini", str(run / "initialize.ini")),
            [
                "/usr/sbin/nginx",
                "-e",
                str(live.layout.own_logs_dir / "nginx.error.log"),
                "-c",
                str(run / "nginx.conf"),
            ],
        ):
            log = services.enter_context((live.layout.own_logs_dir / f"{len(command)}.log").open("ab"))
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
            services.callback(process.wait, 30)
            services.callback(process.send_signal, signal.SIGTERM)
        up = (live.layout.initialize_socket, live.layout.warmer_socket, live.layout.emperor_fifo)
        wait_for(lambda: all(path.exists() for path in up), "all is up")
        wait_for((run / "nginx.pid").exists, "nginx runs")
        try:
            yield live
        finally:
            live.command("cool", "--all")
    chroot.tear_down_all(live.layout)
    assert mounts.mounted_beneath(live.root) == ()
    wait_for(lambda: not live.leftovers(), f"nothing is left: {live.leftovers()}", 10)
    cgroups.remove_all(live.layout)
    shutil.rmtree(live.root)


def test_the_stack_does_all_it_does_with_no_more_capabilities_than_its_units_leave_it(stack: LiveStack) -> None:
    """A site is built, woken, changed, reloaded and removed, and an orphan of its tenant ended."""
    stack.site("unit.test", "Unit", APP)
    reply = stack.request("unit.test")
    assert reply.status == 200, stack.own_logs()
    assert re.search(r"^CapEff:\s+0+$", reply.text, re.MULTILINE), reply.text
    stack.command("site", "set", "unit.test", "--processes", "2", "--memory", "500")
    wait_for(lambda: stack.request("unit.test").status == 200, "the changed site serves")
    assert "reloaded in" in stack.command("reload", "unit.test")
    assert stack.request("unit.test", "/orphan").status == 200
    orphans = f"{sys.executable} -m user_wsgi_wrapper --root {stack.root} reap".split()
    found = []

    def is_ended() -> bool:
        done = subprocess.run(
            bounded("user-wsgi-wrapper-reap.service", *orphans), capture_output=True, text=True, check=True
        )
        found.append(done.stdout)
        return "Unit unit.test: sleep 3600 (running): terminated" in done.stdout

    wait_for(is_ended, f"the orphan is ended: {found}")
    stack.command("site", "remove", "unit.test", "--purge")
    assert stack.request("unit.test").status == 404
    assert not stack.layout.storage("Unit").exists()
    assert reaper.emperor_pids(stack.layout), "the Emperor was there all the time"
