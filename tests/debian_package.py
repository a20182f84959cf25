"""The Debian package on a bare machine: installed, upgraded under live sites, removed. It takes minutes: ask for it.

var/venv/bin/python -m pytest tests/debian_package.py
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import free_port, wait_for
from user_wsgi_wrapper import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = "nginx-light,uwsgi-core,uwsgi-plugin-python3,python3,logrotate"
APP = """\
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"worker %d" % os.getpid()]
"""
# the first process of a machine takes up the dead
REAPER = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); [signal.pause() for _ in iter(int, 1)]"
# the same package, as if it were built of later sources
LATER = r"""
set -e
dpkg-deb -R "$1" "$2/tree"
sed -i 's/^Version: .*/&+later/' "$2/tree/DEBIAN/control"
for file in "$2"/tree/opt/user-wsgi-wrapper/lib/python3*/site-packages/user_wsgi_wrapper/runtime/capture.py; do
    printf '\n# later\n' >>"$file"
done
dpkg-deb --root-owner-group -b "$2/tree" "$2/later.deb"
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run([ROOT / "conf/build-deb", folder], check=True, timeout=900)
    (path,) = folder.glob("*.deb")
    return path


class BareMachine:
    """A Debian in a folder, in mount and process namespaces of its own; the network is this machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.init: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        script = (
            f"mount --rbind /dev {self.folder}/dev && mount -t proc proc {self.folder}/proc && "
            f"mount -t tmpfs -o mode=755 tmpfs {self.folder}/run && exec python3 -c '{REAPER}'"
        )
        self.init = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script])
        wait_for(lambda: (self.folder / "proc").exists() and self._inside("true").returncode == 0, "it is up")

    def _inside(self, *command: str, **more: object) -> subprocess.CompletedProcess[str]:
        assert self.init is not None
        children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()
        enter = ["nsenter", "-t", children[0] if children else "0", "-m", "-p", "chroot", str(self.folder)]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=300, **more)  # type: ignore[call-overload, no-any-return]

    def run(self, *command: str) -> str:
        done = self._inside(*command)
        assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        self.run(
            "sh", "-c", f"nohup user-wsgi-wrapper up --port {self.port} >/root/up.output 2>&1 & echo $! >/root/up.pid"
        )
        output = self.folder / "root/up.output"
        wait_for(lambda: "Ctrl-C" in output.read_text(), "the stack serves", 60)

    def stop(self) -> None:
        self.run("sh", "-c", "kill -TERM $(cat /root/up.pid)")
        wait_for(lambda: self._inside("sh", "-c", "kill -0 $(cat /root/up.pid)").returncode != 0, "it ends", 60)

    def get(self, path: str = "/") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Host": "one.test"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def install(self, package: Path) -> str:
        shutil.copy(package, self.folder / "root" / package.name)
        return self.run("dpkg", "-i", f"/root/{package.name}")


@pytest.fixture(scope="module")
def machine() -> Iterator[BareMachine]:
    folder = Path(tempfile.mkdtemp(prefix="debian-"))
    folder.chmod(0o755)
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(folder)],
        check=True, timeout=600,
    )  # fmt: skip
    bare = BareMachine(folder)
    bare.boot()
    yield bare
    assert bare.init is not None
    bare.init.kill()
    bare.init.wait()
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


def test_it_is_installed_upgraded_under_live_sites_and_removed(machine: BareMachine, package: Path) -> None:
    """In one go, as each step rests on the one before."""
    # installed: nothing is missing, the units are enabled, both commands and their manual are there
    machine.install(package)
    assert "missing" not in machine.run("user-wsgi-wrapper", "check")
    enabled = {path.name for path in (machine.folder / "etc/systemd/system").rglob("*.wants/*")}
    assert {
        f"user-wsgi-wrapper-{name}" for name in ("emperor.service", "initialize.service", "reap.timer")
    } <= enabled
    assert "log-splitter.service" not in enabled
    assert machine.run("log-splitter", "--version").strip() == __version__
    assert machine.run("nginx", "-t") == ""  # its own configuration takes the front in, though that isn't there yet
    for name in ("usr/bin/user-wsgi-wrapper", "usr/share/bash-completion/completions/user-wsgi-wrapper"):
        assert (machine.folder / name).exists() or (machine.folder / name).is_symlink()
    # a site is up
    machine.run("user-wsgi-wrapper", "site", "add", "one.test", "--user", "One")
    www = machine.folder / "mnt/user_storage/One/var/www"
    (www / "wsgi.py").write_text(APP)
    machine.start()
    status, before = machine.get()
    assert (status, before.split()[0]) == (200, "worker"), before
    # upgraded while it is asked all the time: no request fails, the same worker answers
    later = package.parent / "later.deb"
    subprocess.run(["sh", "-c", LATER, "sh", package, package.parent], check=True)
    answers: list[tuple[int, str]] = []
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            answers.append(machine.get())
            time.sleep(0.01)

    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for one in visitors:
        one.start()
    try:
        said = machine.install(later)
    finally:
        over.set()
        for one in visitors:
            one.join()
    assert "+later" in machine.run("dpkg-query", "-W", "user-wsgi-wrapper"), said
    assert {status for status, _ in answers} == {200}
    assert {text for _, text in answers} == {before}
    assert len(answers) > 10
    # asked for anew it has the later runtime
    machine.run("user-wsgi-wrapper", "cool", "one.test")
    assert machine.get()[0] == 200
    shown = machine.run("sh", "-c", "cat /mnt/chroots/One/opt/user_wsgi_wrapper/user_wsgi_wrapper/runtime/capture.py")
    assert shown.endswith("# later\n")
    machine.stop()
    # removed and purged: the tenant's files, the logs and the registry are there
    machine.run("dpkg", "--purge", "user-wsgi-wrapper")
    assert (www / "wsgi.py").read_text() == APP
    assert (machine.folder / "var/lib/user_wsgi_wrapper/sites.db").exists()
    assert (machine.folder / "var/log/nginx/user_logs/one.test/one.test.access.log").stat().st_size > 0
    assert machine.run("sh", "-c", "grep -c ' /mnt/chroots/' /proc/self/mountinfo || true").strip() == "0"
    assert not (machine.folder / "opt/user-wsgi-wrapper/bin").exists()
    assert machine.run("nginx", "-t") == ""
    # and installed again the site is there as it was
    machine.install(package)
    machine.start()
    assert machine.get()[0] == 200
    machine.stop()
