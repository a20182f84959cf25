"""What a worker tells its supervisor, a message a packet: which requests it is at, and when its file has changed."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

READY = "ready"  # the application's file was loaded, well or not
CHANGED = "changed"  # another save of it is on the disk; this worker takes no further request
BEGIN = "begin"  # id, method, path: of a request
END = "end"  # id, access line
SILENT = "silent"  # said by nobody: the worker's end of the channel is closed
_LIMIT = 1 << 20  # bytes of a packet; the kernel's own limit for one is lower
_SHORT = 4096  # characters of each part of one that was too long


def send(channel: socket.socket, kind: str, *parts: str) -> None:
    """Tell the supervisor. One that is gone is no reason for a request to fail: never raises."""
    try:
        channel.send(json.dumps([kind, *parts]).encode())
    except OSError:
        with contextlib.suppress(OSError):
            channel.send(json.dumps([kind, *(part[:_SHORT] for part in parts)]).encode())


def receive(channel: socket.socket) -> Iterator[list[str]]:
    """The messages that are there now, each its kind and its parts; SILENT if there will be no more."""
    while True:
        try:
            packet = channel.recv(_LIMIT, socket.MSG_DONTWAIT)
        except OSError:
            return
        if not packet:
            yield [SILENT]
            return
        yield json.loads(packet)
