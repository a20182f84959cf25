"""What every server that is compared can do; those that are written here run in namespaces of their own."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from bench.servers.site import FIRST_UID, Site, ask, check
from tests.live import free_port

PATIENCE = 120.0  # seconds that 200 sites have to come up, on a machine that does other work
OPERATOR = "bench-operator"  # an account of no site's, for the server that lends its own a setuid program
OPERATOR_UID = FIRST_UID - 1


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Poll until the condition is true; SystemExit when it stays false."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.01)


class Server:
    """One way to host sites. `folder` is its own, passable by everybody; the bench removes it.

    `colds` names its states without a process, in the order in which they are measured; `always_on` says why if it
    has none.
    """

    name: ClassVar[str]
    colds: ClassVar[tuple[str, ...]] = ()
    always_on: ClassVar[str] = ""
    port: int

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, sites: Sequence[Site]) -> None:
        """Whatever is done once for a site, long before anyone asks for it."""

    def start(self, sites: Sequence[Site]) -> None:
        """Begin to serve these sites; one that is always on has all its processes when this returns."""
        raise NotImplementedError

    def stop(self) -> None:
        """End for good, whatever state it is in."""
        raise NotImplementedError

    def processes(self) -> list[psutil.Process]:
        """All of them, a database that is asked for every request included."""
        raise NotImplementedError

    def is_a_sites(self, process: psutil.Process) -> bool:
        """Whether a process is there for one site alone."""
        raise NotImplementedError

    def access_log(self, site: Site) -> Path:
        """Where it writes a line for each request to the site."""
        return self.folder / "log" / "sites" / f"{site.domain}.access.log"

    def alive(self, of_sites: bool = False) -> list[psutil.Process]:
        """Those of its processes that aren't ending just now; `of_sites`: only those that are there for one site."""
        living = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and (not of_sites or self.is_a_sites(process)):
                    living.append(process)
        return living

    def cool(self, kind: str) -> None:
        """Bring all sites into one of `colds`."""
        self.stop()
        self.start(self._sites)

    def close(self) -> None:
        """End what outlives `stop`."""

    _sites: Sequence[Site] = ()
    _uids: Collection[int] = ()


class Enclosed(Server):
    """A server started by a script of sh, in a PID and a mount namespace that end with it: nothing is left over."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._unshare: subprocess.Popen[bytes] | None = None
        self._namespace = ""

    def script(self, sites: Sequence[Site]) -> str:
        """Write the configuration into `folder`; gives the commands, of which the last must stay."""
        raise NotImplementedError

    def start(self, sites: Sequence[Site]) -> None:
        self._sites = sites
        self._uids = {site.uid for site in sites}
        self.port = free_port()
        for name in ("log", "run", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        script = self.folder / "start.sh"
        script.write_text(f"set -eu\ncd {shlex.quote(str(self.folder))}\n{self._accounts(sites)}{self.script(sites)}")
        with (self.folder / "log" / "output").open("ab") as output:
            self._unshare = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", *_own_mounts(), "sh", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            )
        wait_for(self._is_enclosed, f"{self.name} starts")
        if self.always_on:
            for site in sites:
                self._wait_for(lambda site=site: self._answers(site), f"serves {site.domain}")
        else:
            self._wait_for(self._listens, "listens")

    def stop(self) -> None:
        if self._unshare is None:
            return
        with contextlib.suppress(psutil.Error):
            for first in psutil.Process(self._unshare.pid).children():
                first.kill()  # and with it the namespace; unshare collects it, quicker than the machine's init does
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._unshare.wait(PATIENCE)
        self._unshare.kill()
        self._unshare.wait()
        wait_for(lambda: not self.processes(), f"{self.name} ends")
        self._unshare = None

    def processes(self) -> list[psutil.Process]:
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if _pid_namespace(pid) == self._namespace:
                    found.append(psutil.Process(pid))
        return found

    def logs(self) -> str:
        """The ends of what it wrote, for a failure's message."""
        logs = sorted((self.folder / "log").glob("*"))
        return "".join(
            f"\n--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs if log.is_file()
        )

    def is_a_sites(self, process: psutil.Process) -> bool:
        return process.uids().real in self._uids

    def _accounts(self, sites: Sequence[Site]) -> str:
        """A name for each site's account, inside the namespace alone: some servers take no mere number."""
        accounts = [(site.account, site.uid, site.folder) for site in sites]
        accounts += [(OPERATOR, OPERATOR_UID, self.folder)]
        lines = {
            "passwd": [f"{name}:x:{uid}:{uid}::{home}:/usr/sbin/nologin\n" for name, uid, home in accounts],
            "group": [f"{name}:x:{uid}:\n" for name, uid, _ in accounts],
        }
        for name, added in lines.items():
            (self.folder / name).write_text(Path("/etc", name).read_text() + "".join(added))
        return "".join(f"mount --bind {name} /etc/{name}\n" for name in lines)

    def _wait_for(self, condition: Callable[[], object], what: str) -> None:
        try:
            wait_for(condition, f"{self.name} {what}")
        except SystemExit as error:
            raise SystemExit(f"{error}{self.logs()}") from None

    def _is_enclosed(self) -> bool:
        self._expect_life()
        with contextlib.suppress(OSError, IndexError, psutil.Error):
            child = psutil.Process(self._unshare.pid).children()[0]
            self._namespace = _pid_namespace(child.pid)
            return self._namespace != _pid_namespace("self")
        return False

    def _expect_life(self) -> None:
        if self._unshare.poll() is not None:
            raise SystemExit(f"{self.name} ended with {self._unshare.returncode}: {self.logs()}")

    def _listens(self) -> bool:
        self._expect_life()
        with contextlib.suppress(OSError):
            ask(self.port, "nobody.invalid", timeout=5)
            return True
        return False

    def _answers(self, site: Site) -> bool:
        self._expect_life()
        with contextlib.suppress(OSError):
            if ask(self.port, site.domain)[0] == 200:
                check(self.port, site)
                return True
        return False


def _pid_namespace(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def _own_mounts() -> list[str]:
    """The options for mounts of its own; where / is no mount, in a chroot, its propagation can't be set."""
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return ["--mount", "--mount-proc", *([] if "/" in mounts else ["--propagation", "unchanged"])]
