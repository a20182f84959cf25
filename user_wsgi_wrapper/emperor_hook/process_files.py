"""Files of /proc/PID whose content its process chooses, read up to a bound.

A process may say that its command line and its environment are gigabytes long (prctl(2), PR_SET_MM_MAP), and psutil
reads them whole; its name() too, for names of 15 letters.
"""

from __future__ import annotations

import os

_MOST = 32 * 1024  # bytes


def _read(pid: int, name: str) -> bytes:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while len(content) < _MOST and (block := os.read(descriptor, _MOST - len(content))):
            content += block
        return content
    finally:
        os.close(descriptor)


def command_line(pid: int) -> str:
    """The words of the command line with spaces between, or what the process has put in its place as a title.

    Raises OSError, as all here, if there is no such process.
    """
    return os.fsdecode(_read(pid, "cmdline").replace(b"\0", b" ")).strip()


def variable(pid: int, name: str) -> str:
    """A variable of the environment that the process was started with; empty if it isn't there."""
    start = os.fsencode(name) + b"="
    for one in _read(pid, "environ").split(b"\0"):
        if one.startswith(start):
            return os.fsdecode(one[len(start) :])
    return ""


def name(pid: int) -> str:
    """The process's name, of 15 letters at most (proc(5), comm)."""
    return os.fsdecode(_read(pid, "comm")).rstrip("\n")


def program(pid: int) -> str:
    """The name of the file that it executes; empty for a thread of the kernel and for a process that has ended."""
    try:
        return os.readlink(f"/proc/{pid}/exe").rpartition("/")[2]  # noqa: PTH115
    except PermissionError:  # a container's init may hide it even from root
        return name(pid)
    except OSError:
        return ""
