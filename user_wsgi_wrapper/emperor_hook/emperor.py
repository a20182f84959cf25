"""The Emperor from outside: its configuration, and how it is told to look at its vassals at once."""

from __future__ import annotations

import errno
import os

from user_wsgi_wrapper.emperor_hook import templates, vassal
from user_wsgi_wrapper.layout import Layout

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
        stats_socket=layout.run_dir / "emperor-stats.socket",
        backlog=BACKLOG,
        log_date=vassal.LOG_DATE,
    )


def kick(layout: Layout) -> None:
    """Have the Emperor scan now. Raises EmperorDownError if no Emperor reads its fifo."""
    try:
        descriptor = os.open(layout.emperor_fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            raise EmperorDownError(f"no Emperor reads {layout.emperor_fifo}") from None
        raise
    try:
        os.write(descriptor, b"E")
    except BlockingIOError:
        pass  # so many requests for a scan are waiting already that one more would change nothing
    finally:
        os.close(descriptor)
