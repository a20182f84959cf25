"""Every path on the host, from one root: pure, it never touches the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.site import MAX_DOMAIN, BadValueError

SUN_PATH = 107  # bytes of a unix socket's path, unix(7)


@dataclass(frozen=True)
class Layout:
    """Where everything lies on the host; `root` is `/` on a production machine."""

    root: Path = Path("/")

    @property
    def config_file(self) -> Path:
        """The operator's configuration (TOML); it need not exist."""
        return self.root / "etc/user_wsgi_wrapper.toml"

    @property
    def vassals_dir(self) -> Path:
        """The folder that the Emperor watches."""
        return self.root / "etc/uwsgi/vassals"

    def vassal(self, domain: str) -> Path:
        """The vassal file of a warm site."""
        return self.vassals_dir / f"{domain}.ini"

    @property
    def chroots_dir(self) -> Path:
        """The parent of every tenant's chroot."""
        return self.root / "mnt/chroots"

    def chroot(self, username: str) -> Path:
        """The tenant's root folder; owned by root, mounts inside."""
        return self.chroots_dir / username

    @property
    def storage_dir(self) -> Path:
        """The parent of every tenant's storage."""
        return self.root / "mnt/user_storage"

    def storage(self, username: str) -> Path:
        """The tenant's storage: a folder of root's, so that no tenant can swap its three children."""
        return self.storage_dir / username

    def home(self, username: str) -> Path:
        """What the tenant sees as /home/<Username>."""
        return self.storage(username) / "home"

    def keep_folder(self, username: str, domain: str) -> Path:
        """Where a site keeps the version of its code that works; the tenant's, so nothing in it can be trusted."""
        return self.home(username) / inside.keep_folder(username, domain).removeprefix(f"{inside.home(username)}/")

    def www(self, username: str) -> Path:
        """What the tenant sees as /var/www."""
        return self.storage(username) / "var/www"

    def tmp(self, username: str) -> Path:
        """What the tenant sees as /tmp."""
        return self.storage(username) / "tmp"

    @property
    def sockets_dir(self) -> Path:
        """Where the Emperor binds a socket for every vassal, and nginx looks for it."""
        return self.root / "var/www/socket"

    def socket(self, domain: str) -> Path:
        """The socket of a site that was asked for; held by the Emperor, also while the site sleeps.

        Raises BadValueError if the path is longer than a unix socket's can be.
        """
        if len(domain) > self.longest_domain:
            raise BadValueError(
                f"domain {domain}: {len(domain)} characters, its socket's path leaves room for {self.longest_domain}"
            )
        return self.sockets_dir / f"{domain}.socket"

    @property
    def longest_domain(self) -> int:
        """The length of the longest domain whose socket can be bound under this root."""
        return min(MAX_DOMAIN, SUN_PATH - len(str(self.sockets_dir / ".socket").encode()))

    def awake_mark(self, domain: str) -> Path:
        """An empty file that tells nginx to try the socket: a worker of the site has answered there."""
        return self.sockets_dir / f"{domain}.awake"

    @property
    def user_logs_dir(self) -> Path:
        """The parent of every domain's log folder."""
        return self.root / "var/log/nginx/user_logs"

    def log_dir(self, domain: str) -> Path:
        """A domain's log folder: root's, so that no tenant can plant a link in it."""
        return self.user_logs_dir / domain

    def log_file(self, domain: str, kind: str) -> Path:
        """One of a domain's logs; `kind` is one of inside.LOG_KINDS."""
        return self.log_dir(domain) / f"{domain}.{kind}.log"

    @property
    def state_dir(self) -> Path:
        """What the product keeps: the registry, and the runtime that chroots share."""
        return self.root / "var/lib/user_wsgi_wrapper"

    @property
    def sites_db(self) -> Path:
        """The default registry, an SQLite file."""
        return self.state_dir / "sites.db"

    @property
    def shared_bin(self) -> Path:
        """What every chroot sees as /bin: the entry, and a link to each of the host's /usr/bin."""
        return self.state_dir / "bin"

    @property
    def shared_library(self) -> Path:
        """What every chroot sees as inside.LIBRARY: the runtime package."""
        return self.state_dir / "library"

    @property
    def run_dir(self) -> Path:
        """Pid files, locks, the Emperor's fifo and generated configurations of a running stack."""
        return self.root / "run/user_wsgi_wrapper"

    @property
    def locks_dir(self) -> Path:
        """One lock file for each domain and each user that was ever warmed."""
        return self.run_dir / "locks"

    @property
    def emperor_fifo(self) -> Path:
        """The Emperor's master fifo; writing `E` makes it scan at once."""
        return self.run_dir / "emperor.fifo"

    @property
    def emperor_pidfile(self) -> Path:
        """The Emperor's process id."""
        return self.run_dir / "emperor.pid"

    @property
    def emperor_stats_socket(self) -> Path:
        """Where the Emperor tells what it knows of its vassals, as JSON."""
        return self.run_dir / "emperor-stats.socket"

    @property
    def initialize_socket(self) -> Path:
        """Where nginx asks for a cold site to be warmed."""
        return self.run_dir / "initialize.socket"

    @property
    def warmer_socket(self) -> Path:
        """Where initialize's HTTP side asks the warmer, which is root, for a site."""
        return self.run_dir / "warmer.socket"

    @property
    def web_socket(self) -> Path:
        """Where nginx finds the pages that tenants and the operator look at."""
        return self.run_dir / "web.socket"

    @property
    def web_tokens(self) -> Path:
        """The hashes of the tokens that log in to those pages, and whose they are; root's alone."""
        return self.state_dir / "web_tokens.json"

    @property
    def tally(self) -> Path:
        """What the stack's programs have counted together since the machine started."""
        return self.run_dir / "tally.json"

    @property
    def own_logs_dir(self) -> Path:
        """The logs of the stack itself: nginx, the Emperor, initialize."""
        return self.root / "var/log/user_wsgi_wrapper"
