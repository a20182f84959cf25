"""Break off a response whose first bytes are out, so that nobody takes it for a whole one. uWSGI only.

Where the response has a Content-Length, its early end shows by itself. Without one the end of the connection is
the end of the body, so the connection has to end in an error:

- TCP: a reset (SO_LINGER of 0 seconds, socket(7)).
- A unix socket ends in a reset only if part of the request (a body) is unread, which is then left so. Otherwise
  the front is left waiting: a duplicate keeps the connection open after uWSGI has closed its own descriptor, until
  the front gives up (nginx's `uwsgi_read_timeout`) and cuts its client off. The worker serves on meanwhile.
"""

from __future__ import annotations

import os
import select
import sys
import threading

from user_wsgi_wrapper.runtime import late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELD_CONNECTIONS = 32  # at most, each with a sleeping thread
HELD_SECONDS = 600  # a front that waits longer sees the end of the connection

# The module that uWSGI builds into its interpreter, None elsewhere. A tenant's own uwsgi.py isn't loaded yet.
UWSGI: Any = sys.modules.get("uwsgi")


def option(name: str) -> str | None:
    """The value of an option that uWSGI was started with; None if it wasn't given, or there is no uWSGI."""
    options = getattr(UWSGI, "opt", {})
    value = options.get(name, options.get(name.encode()))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


# struct linger {1, 0}, without a module that only this would need
_RESET = (1).to_bytes(4, sys.byteorder) + bytes(4)
_held = threading.BoundedSemaphore(HELD_CONNECTIONS)


def cut(has_length: bool) -> None:
    """Make the current request's connection end in an error. Never raises."""
    try:
        fd = os.dup(UWSGI.connection_fd())
    except (OSError, ValueError):
        return  # there is no connection any more
    try:
        if not _ends_in_reset(fd) and not has_length and _held.acquire(blocking=False):
            held, fd = fd, -1
            threading.Thread(target=_hold, args=(held,), name="cut-response", daemon=True).start()
    except (OSError, RuntimeError, ImportError):
        pass
    finally:
        if fd >= 0:
            os.close(fd)


def _ends_in_reset(fd: int) -> bool:
    """Have the connection reset when it is closed; False if that can't be had and the other end still listens."""
    sockets = late.load("_socket")
    connection = sockets.socket(fileno=os.dup(fd))
    try:
        if connection.family in (sockets.AF_INET, sockets.AF_INET6):
            connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _RESET)
            return True
        connection.recv(1, sockets.MSG_PEEK | sockets.MSG_DONTWAIT)
        return True  # unread bytes, or the other end is gone
    except BlockingIOError:
        return False
    finally:
        connection.close()


def _hold(fd: int) -> None:
    try:
        poll = select.poll()
        poll.register(fd, select.POLLRDHUP)
        poll.poll(HELD_SECONDS * 1000)
    finally:
        os.close(fd)
        _held.release()
