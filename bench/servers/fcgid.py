"""Apache with mod_fcgid and one configuration for all domains: a database query a request, a spawner that chroots.

The scheme is one that a host of many tenants described in 2012 when it left it for nginx and uWSGI.
bench/fcgid_scheme has its configuration and its two scripts. Three things differ. mod_vhost_dbd, which nobody
packages any more, is mod_rewrite's `dbd:` map: both ask through mod_dbd, for each request. sudo is a copy of
chroot(1) and one of kill(1) with the setuid bit, for the account that Apache runs as alone. And the tenant is found
by the owner of the script's folder, not by a walk through the password database, which is quicker.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import psutil
import pymysql

from bench.servers.apache import _MODULES, Apache
from bench.servers.server import OPERATOR, OPERATOR_UID
from bench.servers.site import Site
from tests.databases import MariaDB

_SCHEME = Path(__file__).parents[1] / "fcgid_scheme"
_ROOT_FOLDERS = ("usr", "srv", "var/www", "var/log", "tmp")


class Fcgid(Apache):
    """The scheme with one process a site, as all the others have."""

    name = "Apache, mod_fcgid"
    colds = ("cold",)
    most = 1  # processes a site

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._database: MariaDB | None = None

    def configuration(self, sites: Sequence[Site]) -> str:
        text = (_SCHEME / "httpd.conf").read_text()
        values = {
            "folder": self.folder, "modules": _MODULES, "port": self.port, "account": OPERATOR, "most": self.most,
            "sites": len(sites), "database": self._database.socket_path if self._database else "",
            "splitter": Path(sysconfig.get_path("scripts")) / "log-splitter",
        }  # fmt: skip
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        return text

    def before(self, sites: Sequence[Site]) -> str:
        binds = []
        for site in sites:
            root = self.folder / "chroots" / site.domain
            binds.append(f"mount --bind /usr {root / 'usr'}\n")
        return "".join(binds)  # they end with the namespace

    def prepare(self, sites: Sequence[Site]) -> None:
        if self._database is None:
            self._database = MariaDB().__enter__()
            os.chown(self._database.folder, -1, OPERATOR_UID)  # it lets root in without a password
            self._database.folder.chmod(0o710)
        for name in ("log/sites", "run"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            os.chown(self.folder / name, OPERATOR_UID, OPERATOR_UID)
        self._lend_root()
        for site in sites:
            self._chroot(site)
        self._register(sites)

    def close(self) -> None:
        if self._database is not None:
            self._database.__exit__()
            self._database = None

    def processes(self) -> list[psutil.Process]:
        own = super().processes()
        if own and self._database is not None:
            own += self._database._family()
        return own

    def is_a_sites(self, process: psutil.Process) -> bool:
        return super().is_a_sites(process) or "escalate_privileges" in " ".join(process.cmdline())

    def _lend_root(self) -> None:
        programs = self.folder / "sudo"
        if programs.exists():
            return
        programs.mkdir()
        for program in ("/usr/sbin/chroot", "/bin/kill"):
            copy = programs / Path(program).name
            shutil.copyfile(program, copy)
            os.chown(copy, 0, OPERATOR_UID)
            copy.chmod(0o4750)

    def _chroot(self, site: Site) -> None:
        """A root of its own and the script whose folder tells the spawner for whom; both ready before anyone asks."""
        webapp = self.folder / "webapps" / site.domain
        if webapp.exists():
            return
        webapp.mkdir(parents=True)
        shutil.copy(_SCHEME / "escalate_privileges.py", webapp)
        os.chown(webapp, site.uid, site.uid)
        root = self.folder / "chroots" / site.domain
        for name in _ROOT_FOLDERS:
            (root / name).mkdir(parents=True)
            os.chown(root / name, site.uid, site.uid)
        for name in ("bin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        shutil.copy(_SCHEME / "serve_wsgi.py", root / "srv")
        shutil.copytree(Path(sysconfig.get_path("purelib")) / "flup", root / "srv" / "flup")
        shutil.copy(site.folder / "wsgi.py", root / "var" / "www")

    def _register(self, sites: Sequence[Site]) -> None:
        """The tables of the query in httpd.conf."""
        users = ", ".join(f"({site.uid}, '{site.domain}')" for site in sites)
        with pymysql.connect(unix_socket=self._database.socket_path, user="root", autocommit=True) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE OR REPLACE DATABASE anywhere")
            cursor.execute("CREATE TABLE anywhere.auth_user (id INT PRIMARY KEY, username VARCHAR(80) UNIQUE)")
            cursor.execute(
                "CREATE TABLE anywhere.webapps_userdomain"
                " (id INT AUTO_INCREMENT PRIMARY KEY, user_id INT, domain_name VARCHAR(250) UNIQUE)"
            )
            cursor.execute(f"INSERT INTO anywhere.auth_user VALUES {users}")
            cursor.execute(f"INSERT INTO anywhere.webapps_userdomain (user_id, domain_name) VALUES {users}")


class FcgidMany(Fcgid):
    """The same with as many processes a site as visitors ask at once, in its favor: who finds all of them busy waits.

    mod_fcgid has no queue: it looks again a second later.
    """

    name = "Apache, mod_fcgid, 4 processes"
    most = 4
    colds = ()  # they are those of the other
