"""Put an application and its packages into a tenant's folders, as he would have it there."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests import tenant_venv
from tests.live import LiveStack
from tests.real_apps.browser import Browser
from user_wsgi_wrapper import inside

APPLICATIONS = Path(__file__).parent


@dataclass(frozen=True)
class Tenant:
    """A tenant with one application of those beside this module."""

    stack: LiveStack
    application: str
    domain: str
    username: str

    @property
    def home(self) -> Path:
        """His home, on the host."""
        return self.stack.layout.home(self.username)

    @property
    def files(self) -> Path:
        """Where his application keeps what it was sent, on the host."""
        return self.home / "files"

    @property
    def venv(self) -> str:
        """His virtual environment, as he sees it."""
        return f"{inside.home(self.username)}/venv"

    def packages(self) -> dict[str, str]:
        """The packages he asked for, and their versions."""
        lines = _requirements(self.application).read_text().splitlines()
        return dict(line.split("==") for line in lines)

    def browser(self) -> Browser:
        """A new visitor of his site."""
        return Browser(self.domain, self.stack.port)

    def put(self, name: str, content: bytes) -> Path:
        """A file of his, among those that his application shows."""
        path = self.files / name
        path.write_bytes(content)
        self._own(path)
        return path

    def run(self, *command: str, **variables: str) -> str:
        """What a command of his prints, run in his chroot, as him, in his project; it must succeed."""
        owner = self.home.stat()
        home = inside.home(self.username)
        done = subprocess.run(
            [
                "/usr/sbin/chroot", f"--userspec={owner.st_uid}:{owner.st_gid}", "--groups=",
                str(self.stack.layout.chroot(self.username)),
                "/usr/bin/env", "--chdir", f"{home}/project", *command,
            ],
            env={"HOME": home, "PATH": f"{self.venv}/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def move_in(self) -> None:
        """Copy the application to its place, with its packages."""
        source = APPLICATIONS / self.application
        www = self.stack.layout.www(self.username)
        for name, target in (("home", self.home), ("www", www)):
            if (source / name).exists():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source / name, target, dirs_exist_ok=True, ignore=ignored)
        self.files.mkdir()
        self._own(www, self.home)
        tenant_venv.install(_requirements(self.application), self.home, self.username)

    def _own(self, *paths: Path) -> None:
        owner = self.stack.layout.www(self.username).stat()
        subprocess.run(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", *map(str, paths)], check=True)


def _requirements(application: str) -> Path:
    return APPLICATIONS / application / "requirements.txt"


def host(stack: LiveStack, application: str, domain: str, username: str, *settings: str) -> Tenant:
    """Add a site for a new tenant and put an application there; it is cold until somebody asks for it."""
    tenant = Tenant(stack, application, domain, username)
    stack.command("site", "add", domain, "--user", username, "--virtualenv", tenant.venv, *settings)
    tenant.move_in()
    return tenant
