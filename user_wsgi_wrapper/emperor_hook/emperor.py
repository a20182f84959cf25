"""The Emperor from outside: its configuration, and how it is told to look at its vassals at once."""

from __future__ import annotations

import errno
import os
import time

from user_wsgi_wrapper.emperor_hook import templates, vassal
from user_wsgi_wrapper.layout import Layout

_LOOK_AGAIN = 0.005  # seconds
BACKLOG = 1024  # connections that may wait at a sleeping site's socket; the kernel caps it at somaxconn


class EmperorDownError(Exception):
    """No Emperor reads its fifo, or it doesn't take up a vassal: sites can't be woken now."""


def render(layout: Layout) -> str:
    """The Emperor's uWSGI configuration."""
    return templates.fill(
        "emperor.ini.template",
        vassal.carry,
        vassals=layout.vassals_dir,
        sockets=layout.sockets_dir,
        pidfile=layout.emperor_pidfile,
        fifo=layout.emperor_fifo,
        stats_socket=layout.emperor_stats_socket,
        backlog=BACKLOG,
        log_date=vassal.LOG_DATE,
    )


def kick(layout: Layout, patience: float = 1.0) -> None:
    """Have the Emperor scan now. Raises EmperorDownError if none reads its fifo within `patience` seconds.

    uWSGI makes its fifo anew after each command, so for a moment there is none, or nobody reads it.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            descriptor = os.open(layout.emperor_fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            break
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.ENOENT):
                raise
        if time.monotonic() >= deadline:
            raise EmperorDownError(f"no Emperor reads {layout.emperor_fifo}")
        time.sleep(_LOOK_AGAIN)
    try:
        os.write(descriptor, b"E")
    except (BlockingIOError, BrokenPipeError):
        pass  # many requests for a scan are waiting; or the fifo is being made anew, and whoever waits asks again
    finally:
        os.close(descriptor)
