"""System calls that fail, or do nothing, for a process and all that it starts."""

from __future__ import annotations

import ctypes
import struct

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBERS = {
    "chroot": 161, "setgid": 106, "setgroups": 116, "setuid": 105, "unshare": 272, "capbset": 157,
    "setresuid": 117, "setresgid": 119, "capset": 126,
}  # fmt: skip


def refuse(name: str, error: int) -> None:
    """Have the system call fail from now on (a seccomp filter, x86_64); with error 0, pretend and do nothing."""
    load = struct.pack("HBBI", 0x20, 0, 0, 0)  # the call's number
    if name == "capbset":  # only prctl's PR_CAPBSET_DROP
        program = [load, struct.pack("HBBI", 0x15, 0, 3, _NUMBERS[name]), struct.pack("HBBI", 0x20, 0, 0, 16),
                   struct.pack("HBBI", 0x15, 0, 1, 24)]  # fmt: skip
    else:
        program = [load, struct.pack("HBBI", 0x15, 0, 1, _NUMBERS[name])]
    program += [struct.pack("HBBI", 0x06, 0, 0, _ERRNO | error), struct.pack("HBBI", 0x06, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(program))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    words = (ctypes.c_ulong(word) for word in (1, 0, 0, 0))
    assert libc.prctl(38, *words) == 0
    assert libc.prctl(22, ctypes.c_ulong(2), filter_, ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0
