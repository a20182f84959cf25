"""What a process gives up for itself and for all that it will ever start, tenants' code in the end.

give_up() is for everyone:

- Privileges by execve(2): no setuid, setgid or file capability of any program counts again (prctl(2), no_new_privs).
- The keys of whoever started it: a session keyring is inherited, and who has it possesses the keys in it and links
  to (keyrings(7)): root's own from a login, and those that one tenant puts there for all others.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_KEYCTL_JOIN_SESSION_KEYRING, _KEYCTL_REVOKE = 1, 3
_KEY_SPEC_SESSION_KEYRING = -3
# keyctl(2) has no function in the C library; its number by the machine's name, where it isn't the common one.
_KEYCTL = {"x86_64": 250, "i686": 288, "armv7l": 311, "ppc64le": 271, "s390x": 280}.get(platform.machine(), 219)
# A kernel without keyrings, or one whose container forbids them to root, has none to inherit or to use.
_NO_KEYRINGS = (errno.ENOSYS, errno.EPERM)

_CAPABILITY_VERSION = 0x20080522  # linux/capability.h, _LINUX_CAPABILITY_VERSION_3

_libc = ctypes.CDLL(None, use_errno=True)


def give_up() -> None:
    """Between fork and exec: raises OSError if it can't be done, so that the program isn't started.

    The session keyring is a new one that is revoked at once: who wants one joins one of his own, which is open to
    everyone.
    """
    if _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        _fail("no_new_privs")
    if _keyctl(_KEYCTL_JOIN_SESSION_KEYRING, 0) < 0:
        if ctypes.get_errno() in _NO_KEYRINGS:
            return
        _fail("a new session keyring")
    if _keyctl(_KEYCTL_REVOKE, _KEY_SPEC_SESSION_KEYRING) < 0:
        _fail("the session keyring")


def drop_to(uid: int, gid: int) -> None:
    """Become this account for good, in a process that has but one thread yet. Raises OSError if a step fails.

    No other group, no capability in any set, and none by execve(2). The death signal that the parent asked for is
    kept; the kernel forgets it when a process changes its ids (prctl(2), PR_SET_PDEATHSIG).
    """
    if uid <= 0 or gid <= 0:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), f"to become uid {uid}, gid {gid}")
    parent, death_signal = os.getppid(), ctypes.c_int()
    if _libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(death_signal)):
        _fail("the death signal")
    give_up()
    capability = 0
    while _prctl(_PR_CAPBSET_READ, capability) >= 0:
        if _prctl(_PR_CAPBSET_DROP, capability):
            _fail(f"capability {capability}")
        capability += 1
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    if _libc.capset(header, none):
        _fail("the capabilities")
    if (os.getresuid(), os.getresgid(), os.getgroups()) != ((uid,) * 3, (gid,) * 3, []) or _capabilities():
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "some right is left")
    if _prctl(_PR_SET_PDEATHSIG, death_signal.value):
        _fail("the death signal")
    if os.getppid() != parent:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), "the parent")


def _capabilities() -> list[str]:
    """The sets that hold one, as proc(5) names them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line for line in lines if line.startswith("Cap") and int(line.split()[1], 16)]


def _prctl(option: int, argument: int) -> int:
    return int(_libc.prctl(option, *(ctypes.c_ulong(word) for word in (argument, 0, 0, 0))))


def _keyctl(*words: int) -> int:
    return int(_libc.syscall(ctypes.c_long(_KEYCTL), *(ctypes.c_long(word) for word in words)))


def _fail(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), what)
