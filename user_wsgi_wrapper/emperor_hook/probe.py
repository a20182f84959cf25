"""Asking a site's socket whether somebody listens, and whether its application is loaded."""

from __future__ import annotations

import socket
import time
from pathlib import Path

# A uwsgi packet of modifier1 100 is a ping: uWSGI's ping plugin answers it from a worker, so only once the
# application is loaded, and without calling it (uwsgi protocol, modifier1 table).
_PING = bytes((100, 0, 0, 0))
_KNOCK_AGAIN = 0.05  # seconds


def listens(path: Path) -> bool:
    """Whether a connection to the unix socket is accepted or queued.

    Note that to knock at a sleeping site's door is to wake it.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except BlockingIOError:
            return True  # the queue is full: there is one
        except OSError:
            return False
    return True


def ping(path: Path, timeout: float) -> bool:
    """Whether a worker of the site behind `path` answers within `timeout` seconds; wakes the site.

    False at once if nobody holds the socket. It is asked again where the queue is full or a worker dies over it.
    """
    deadline = time.monotonic() + timeout
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                client.connect(str(path))
                client.sendall(_PING)
                if _read(client, len(_PING)):
                    return True
            except (BlockingIOError, ConnectionResetError, BrokenPipeError):
                pass
            except OSError:
                return False
        if time.monotonic() + _KNOCK_AGAIN > deadline:
            return False
        time.sleep(_KNOCK_AGAIN)


def _read(client: socket.socket, size: int) -> bool:
    """Whether so many bytes come before the end."""
    while size:
        got = len(client.recv(size))
        if not got:
            return False
        size -= got
    return True
