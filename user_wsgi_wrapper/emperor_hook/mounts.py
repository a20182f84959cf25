"""Mounts: made whole before anyone sees them, and read back from the kernel.

The descriptor-based interface of Linux 5.12 (open_tree(2), mount_setattr(2), fsopen(2), move_mount(2)) is used
instead of mount(2): a bind mount gets its flags while it is detached, so that there is no moment at which it is
attached but still writable or setuid, nor a half-made one to find after a kill; and both its ends are
descriptors, so that no path is walked twice. The numbers of these calls are the same on every architecture.
Every function raises OSError as the kernel gave it.
"""

from __future__ import annotations

import ctypes
import enum
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK, OPENAT2, MOUNT_SETATTR = (
    428,
    429,
    430,
    431,
    432,
    433,
    437,
    442,
)
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSPICK_CLOEXEC, _FSPICK_EMPTY_PATH = 1, 1, 1, 8
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE, _FSCONFIG_CMD_RECONFIGURE = 1, 6, 7
_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 1, 2, 4, 8
_MS_PRIVATE = 1 << 18
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
FOLDER = os.O_PATH | os.O_DIRECTORY
# statfs(2): what a file system calls itself.
MAGIC = {"proc": 0x9FA0, "tmpfs": 0x01021994}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Flags(enum.IntFlag):
    """A mount's own flags; mount_setattr(2) and statvfs(3) use the same bits for these four."""

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8


_ALL_FLAGS = Flags.RDONLY | Flags.NOSUID | Flags.NODEV | Flags.NOEXEC


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


class _OpenHow(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("flags", "mode", "resolve"))


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _syscall(number: int, what: str, *arguments: object) -> int:
    # A variadic C call: plain ints would be passed as 32 bits.
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _check(int(_libc.syscall(ctypes.c_long(number), *words)), what)


def open_beneath(base: int, path: str, flags: int = FOLDER, same_mount: bool = False) -> int:
    """A descriptor of `path` under the folder `base`, no component of which may be a symlink (openat2(2)).

    With `same_mount` no mount point may be crossed either. Raises OSError: ELOOP for a symlink, EXDEV for a mount
    point or a path that leads out.
    """
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve | (_RESOLVE_NO_XDEV if same_mount else 0))
    return _syscall(OPENAT2, path, base, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))


def bind(source: int, target: int, *, flags: Flags, recursive: bool = False) -> None:
    """Show the folder `source` at the folder `target`, both descriptors, with `flags` beside the source's own.

    `recursive` takes along what is mounted beneath the source, under the same flags.
    """
    tree_flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    tree = _syscall(OPEN_TREE, "open_tree", source, b"", tree_flags)
    try:
        # Private before it is attached: no longer a peer of the source, whose later mounts would show up in it.
        _set_attributes(tree, _MountAttr(attr_set=flags, propagation=_MS_PRIVATE), recursive)
        _attach(tree, target, recursive)
    finally:
        os.close(tree)


def new_filesystem(kind: str, options: Iterable[tuple[str, str]], target: int, *, flags: Flags) -> None:
    """A file system without a device, such as tmpfs or proc, at the folder `target`, a descriptor."""
    context = _syscall(FSOPEN, kind, kind.encode(), _FSOPEN_CLOEXEC)
    try:
        _configure(context, (("source", kind), *options))
        _syscall(FSCONFIG, kind, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mount = _syscall(FSMOUNT, kind, context, _FSMOUNT_CLOEXEC, int(flags))
    finally:
        os.close(context)
    try:
        _attach(mount, target, recursive=False)
    finally:
        os.close(mount)


def reconfigure(mount: int, options: Iterable[tuple[str, str]]) -> None:
    """Set options of the file system that is mounted at the descriptor `mount`, its users undisturbed."""
    context = _syscall(FSPICK, "fspick", mount, b"", _FSPICK_CLOEXEC | _FSPICK_EMPTY_PATH)
    try:
        _configure(context, options)
        _syscall(FSCONFIG, "reconfigure", context, _FSCONFIG_CMD_RECONFIGURE, None, None, 0)
    finally:
        os.close(context)


def set_flags(mount: int, flags: Flags) -> None:
    """Give the mount at the descriptor `mount` exactly these flags, and make it private."""
    attributes = _MountAttr(attr_set=flags, attr_clr=_ALL_FLAGS & ~flags, propagation=_MS_PRIVATE)
    _set_attributes(mount, attributes, recursive=False)


def flags_of(mount: int) -> Flags:
    """The flags in force at a descriptor: the mount's own and its file system's."""
    return Flags(os.fstatvfs(mount).f_flag & _ALL_FLAGS)


def magic_of(mount: int) -> int:
    """The file system's type at a descriptor, a number of MAGIC's."""
    buffer = (ctypes.c_long * 64)()  # longer than struct statfs, whose first word is f_type
    _check(int(_libc.fstatfs(ctypes.c_int(mount), buffer)), "fstatfs")
    return int(buffer[0])


def unmount(path: Path) -> None:
    """Take away the topmost mount at `path`, and with it whatever is mounted beneath, used or not."""
    _check(int(_libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW)), str(path))


def _configure(context: int, options: Iterable[tuple[str, str]]) -> None:
    for key, value in options:
        _syscall(FSCONFIG, f"{key}={value}", context, _FSCONFIG_SET_STRING, key.encode(), value.encode(), 0)


def _attach(tree: int, target: int, recursive: bool) -> None:
    _syscall(MOVE_MOUNT, "move_mount", tree, b"", target, b"", _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH)
    # Attaching beneath a shared mount (systemd's /) shares the new one too. That the mount itself shows up in other
    # namespaces is wanted, for then taking it away reaches them as well; what is mounted inside is not.
    _set_attributes(tree, _MountAttr(propagation=_MS_PRIVATE), recursive)


def _set_attributes(mount: int, attributes: _MountAttr, recursive: bool) -> None:
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attributes)
    _syscall(MOUNT_SETATTR, "mount_setattr", mount, b"", flags, ctypes.byref(attributes), size)


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo, see proc(5): `root` is the part of the file system that stands at `target`."""

    id: int
    parent: int
    root: str
    target: str
    options: frozenset[str]
    shared: bool
    kind: str
    super_options: frozenset[str]


_ESCAPE = re.compile(rb"\\([0-7]{3})")


def parse(mountinfo: bytes) -> tuple[Mount, ...]:
    """The mounts that the text of a mountinfo file lists, in its order: a later one covers an earlier one."""
    return tuple(_parse_line(line) for line in mountinfo.split(b"\n") if line)


def _parse_line(line: bytes) -> Mount:
    mount, _, filesystem = line.partition(b" - ")
    number, parent, _, root, target, options, *propagation = mount.split(b" ")
    kind, _, super_options = filesystem.split(b" ", 2)
    return Mount(
        int(number),
        int(parent),
        _unescape(root),
        _unescape(target),
        frozenset(options.decode().split(",")),
        any(field.startswith(b"shared:") for field in propagation),
        kind.decode(),
        frozenset(os.fsdecode(super_options).split(",")),
    )


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))


def mounted_beneath(folder: Path) -> tuple[Mount, ...]:
    """The mounts under `folder` (a path without symlinks), itself not among them.

    A mount on a folder that was since deleted is none: nothing can reach or unmount it by a path.
    """
    prefix = os.fspath(folder).rstrip("/") + "/"
    # Split before parsing: on a host with a thousand chroots nearly all lines are someone else's.
    wanted = b" " + re.sub(rb"[ \t\n\\#]", lambda match: b"\\%03o" % ord(match[0]), os.fsencode(prefix))
    spelled = (wanted, wanted.replace(b"\\043", b"#"))  # `#` is escaped by newer kernels alone
    lines = Path("/proc/self/mountinfo").read_bytes().split(b"\n")
    chosen = parse(b"\n".join(line for line in lines if any(text in line for text in spelled)))
    return tuple(
        mount for mount in chosen if mount.target.startswith(prefix) and not mount.target.endswith("//deleted")
    )


def outermost(listed: Iterable[Mount]) -> tuple[str, ...]:
    """The targets that lie beneath no other target of the list, each once."""
    chosen: list[str] = []
    for target in sorted({mount.target for mount in listed}, key=lambda path: path.split("/")):
        if not chosen or not target.startswith(chosen[-1] + "/"):
            chosen.append(target)
    return tuple(chosen)
