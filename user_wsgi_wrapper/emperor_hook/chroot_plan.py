"""What a tenant's chroot, his storage and his log folders consist of: pure, it never touches the disk.

Every step is one thing at one place, of root's unless it says otherwise; done in order, each finds its parent in
place. No place lies beneath a folder that the tenant can write in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Union

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook.mounts import Flags
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain, parse_username


class Identity(Protocol):
    """Who the tenant is to the kernel."""

    @property
    def username(self) -> str: ...  # noqa: D102
    @property
    def uid(self) -> int: ...  # noqa: D102
    @property
    def gid(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Place:
    """Where a step does its work: `base` is a folder of the operator's, symlinks allowed; `path` lies under it."""

    base: Path
    path: str

    def __str__(self) -> str:
        return str(self.base / self.path)


@dataclass(frozen=True)
class Directory:
    """A folder. With `keep` one that is there already stays as it is: owner and mode are for a new one."""

    place: Place
    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    keep: bool = False


@dataclass(frozen=True)
class Symlink:
    """A symbolic link; `target` is read inside the chroot."""

    place: Place
    target: str


@dataclass(frozen=True)
class Device:
    """A character device that everyone may read and write."""

    place: Place
    major: int
    minor: int


@dataclass(frozen=True)
class TextFile:
    """A small file of ours, mode 0644."""

    place: Place
    content: str


@dataclass(frozen=True)
class Copy:
    """A copy of the host's file `source`, made again when that has another size or mtime; mode 0644."""

    place: Place
    source: Path


@dataclass(frozen=True)
class LogFile:
    """A log that is there, empty if new, before a less trusted process opens it."""

    place: Place
    uid: int
    gid: int
    mode: int = 0o640


@dataclass(frozen=True)
class Bind:
    """A folder shown a second time at `place`; `source` is a folder of the host's or a place beneath one."""

    place: Place
    source: Path | Place
    flags: Flags
    recursive: bool = False


@dataclass(frozen=True)
class Filesystem:
    """A proc or a tmpfs of the chroot's own."""

    place: Place
    kind: str
    options: tuple[tuple[str, str], ...]
    flags: Flags


Step = Union[Directory, Symlink, Device, TextFile, Copy, LogFile, Bind, Filesystem]

LINKS = ("sbin", "lib", "lib32", "lib64", "libx32")
COPIES = (
    "hosts",
    "resolv.conf",
    "mime.types",
    "services",
    "protocols",
    "localtime",
    "timezone",
    "ld.so.cache",
    "ssl/openssl.cnf",
)
ETC_FOLDERS = ("alternatives", "ssl/certs")
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9))
_READ_ONLY = Flags.RDONLY | Flags.NOSUID | Flags.NODEV
_STORAGE = Flags.NOSUID | Flags.NODEV
_DATA = Flags.NOSUID | Flags.NODEV | Flags.NOEXEC
# Names come from files alone: the host's own sources (LDAP, sssd) would show every other user's name.
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True)
class HostFacts:
    """What of the host a chroot mirrors.

    `links` are its merged-/usr symlinks (name, target), `folders` the same where /usr isn't merged, `copies` and
    `etc_folders` those of COPIES and ETC_FOLDERS that it has, `zone` what its /etc/localtime points at under /usr.
    """

    links: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]
    copies: tuple[str, ...]
    etc_folders: tuple[str, ...]
    zone: str | None = None


# Every name that a chroot on any host may hold.
ALL_FACTS = HostFacts(tuple((name, "") for name in LINKS), (), COPIES, ETC_FOLDERS)


@dataclass(frozen=True)
class Plan:
    """The steps to a tenant's chroot, in order.

    The mounts come last and the file systems of its own at the very end: when those two are there, nothing before
    them was cut short.
    """

    username: str
    steps: tuple[Step, ...]


def plan(layout: Layout, identity: Identity, domains: Iterable[str], host: HostFacts, front_uid: int) -> Plan:
    """Everything that must be on disk before the tenant's sites in `domains` start.

    `front_uid` is the uid of nginx's workers, which write the access logs. Mounts of other domains of his that are
    there stay. Raises BadValueError for a bad name and for an identity of root's.
    """
    username = parse_username(identity.username)
    if identity.uid <= 0 or identity.gid <= 0:
        raise BadValueError(f"user {username}: uid {identity.uid} and gid {identity.gid} must be above 0")
    names = tuple(sorted(set(domains)))
    for name in names:
        if parse_domain(name) != name:
            raise BadValueError(f"domain {name!r}: not in its canonical form")
    steps = (
        *_storage(layout, identity),
        *_logs(layout, identity, names, front_uid),
        *_files(layout, identity, host),
        *_mounts(layout, username, names, host),
    )
    return Plan(username, steps)


def removable(layout: Layout, username: str, domains: Iterable[str]) -> tuple[Place, ...]:
    """The places of everything that a plan may have put into the chroot, the deepest first; no place twice."""

    @dataclass(frozen=True)
    class Anyone:
        username: str
        uid: int = 1
        gid: int = 1

    steps = (
        *_files(layout, Anyone(username), ALL_FACTS),
        *_mounts(layout, username, tuple(domains), ALL_FACTS),
    )
    places = dict.fromkeys(step.place for step in steps)
    return tuple(sorted(places, key=lambda place: place.path.count("/"), reverse=True))


def log_mount(layout: Layout, username: str, domain: str) -> Place:
    """Where a domain's log folder is mounted in its tenant's chroot."""
    return _place(layout, username, f"{inside.LOG_DIR}/{domain}")


def _place(layout: Layout, username: str, inside_path: str) -> Place:
    return Place(layout.chroots_dir, f"{username}{inside_path}".rstrip("/"))


def _storage_place(layout: Layout, path: Path) -> Place:
    return Place(layout.storage_dir, str(path.relative_to(layout.storage_dir)))


def _storage(layout: Layout, identity: Identity) -> Iterator[Step]:
    user, uid, gid = identity.username, identity.uid, identity.gid
    yield Directory(_storage_place(layout, layout.storage(user)), 0, gid, 0o750)
    yield Directory(_storage_place(layout, layout.home(user)), uid, gid, 0o750, keep=True)
    yield Directory(_storage_place(layout, layout.www(user).parent))
    yield Directory(_storage_place(layout, layout.www(user)), uid, gid, 0o755, keep=True)
    # Root's and sticky: the tenant can't make his /tmp unusable for whoever shares it with him.
    yield Directory(_storage_place(layout, layout.tmp(user)), mode=0o1777)


def _logs(layout: Layout, identity: Identity, domains: tuple[str, ...], front_uid: int) -> Iterator[Step]:
    for domain in domains:
        yield Directory(Place(layout.user_logs_dir, domain))
        for kind in inside.LOG_KINDS:
            owner = front_uid if kind == "access" else identity.uid
            path = layout.log_file(domain, kind).relative_to(layout.user_logs_dir)
            yield LogFile(Place(layout.user_logs_dir, str(path)), owner, identity.gid)


def _files(layout: Layout, identity: Identity, host: HostFacts) -> Iterator[Step]:
    user, uid, gid = identity.username, identity.uid, identity.gid

    def at(path: str) -> Place:
        return _place(layout, user, path)

    for folder in ("", "/etc", "/etc/ssl", "/dev", "/home", "/opt", "/run", "/var", "/var/log"):
        yield Directory(at(folder))
    for name, target in host.links:
        yield Symlink(at(f"/{name}"), target)
    yield Symlink(at("/var/tmp"), "../tmp")  # noqa: S108 - places in the chroot
    for name, major, minor in DEVICES:
        yield Device(at(f"/dev/{name}"), major, minor)
    yield TextFile(at("/etc/passwd"), f"{user}:x:{uid}:{gid}::{inside.home(user)}:/bin/sh\n")
    yield TextFile(at("/etc/group"), f"{user}:x:{gid}:\n")
    yield TextFile(at("/etc/nsswitch.conf"), _NSSWITCH)
    if "hosts" not in host.copies:
        yield TextFile(at("/etc/hosts"), _HOSTS)
    for name in host.copies:
        yield Copy(at(f"/etc/{name}"), Path("/etc", name))
    if host.zone:
        yield Symlink(at("/etc/localtime"), host.zone)


def _mounts(layout: Layout, user: str, domains: tuple[str, ...], host: HostFacts) -> Iterator[Step]:
    def at(path: str) -> Place:
        return _place(layout, user, path)

    yield Bind(at("/usr"), Path("/usr"), _READ_ONLY, recursive=True)
    for name in host.folders:
        yield Bind(at(f"/{name}"), Path("/", name), _READ_ONLY)
    for name in host.etc_folders:
        yield Bind(at(f"/etc/{name}"), Path("/etc", name), _READ_ONLY)
    yield Bind(at("/bin"), layout.shared_bin, _READ_ONLY)
    yield Bind(at(inside.LIBRARY), layout.shared_library, _READ_ONLY)
    yield Bind(at(inside.home(user)), _storage_place(layout, layout.home(user)), _STORAGE)
    yield Bind(at(inside.WWW), _storage_place(layout, layout.www(user)), _STORAGE)
    yield Bind(at("/tmp"), _storage_place(layout, layout.tmp(user)), _STORAGE)  # noqa: S108
    for domain in domains:
        yield Bind(log_mount(layout, user, domain), Place(layout.user_logs_dir, domain), _DATA)
    shm = (("mode", "1777"), ("size", "64m"), ("nr_inodes", "16384"))
    yield Filesystem(at("/dev/shm"), "tmpfs", shm, _DATA)  # noqa: S108
    yield Filesystem(at("/proc"), "proc", (("hidepid", "2"),), _DATA)
