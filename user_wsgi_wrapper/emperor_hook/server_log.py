"""A line of the operator's side in a site's server log, of the shape that the site's own lines have."""

from __future__ import annotations

import os
import stat
import time

from user_wsgi_wrapper.layout import Layout


def say(layout: Layout, domain: str, code: str, text: str) -> None:
    """Append `site CODE: text`. The file is the tenant's, in a folder of root's: only a plain one is written to."""
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))},{int(now % 1 * 1000):03d}"
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(layout.log_file(domain, "server"), flags)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.write(descriptor, f"{stamp} [-] site {code}: {text}\n".encode())
    except OSError:
        pass  # the disk is full: the line is lost
    finally:
        os.close(descriptor)
