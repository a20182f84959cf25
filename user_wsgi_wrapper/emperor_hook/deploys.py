"""What became of a site's versions: which serves, which was refused and why. The site's workers write it down.

The file is the tenant's: it is opened without following a link, read up to a bound, and its text is made harmless.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.layout import Layout

_NAME = "deploy"
_MOST = 64 * 1024  # bytes
_VERDICTS = ("refused", "broken")


@dataclass(frozen=True)
class Version:
    """One state of a wsgi.py: its inode, size and mtime (ns), and when that was decided on (ns since the epoch)."""

    inode: int
    size: int
    mtime: int
    at: int


@dataclass(frozen=True)
class Deploys:
    """`good` is the version that works, `bad` a later one that can't be loaded, for `reason`; None if there is none.

    `verdict` is `refused`, if the good one goes on serving, or `broken`: visitors get the error page.
    """

    good: Version | None = None
    bad: Version | None = None
    verdict: str = ""
    reason: str = ""


def parse(text: str) -> Deploys:
    """What the text of such a file says; nothing, if it isn't one."""
    head, _, reason = text.partition("\n\n")
    good = bad = None
    verdict = ""
    for line in head.splitlines():
        what, *numbers = line.split() or [""]
        if len(numbers) != 4 or not all(number.isascii() and number.isdigit() for number in numbers):
            return Deploys()
        version = Version(*(int(number[:20]) for number in numbers))
        if what == "good":
            good = version
        elif what in _VERDICTS:
            bad, verdict = version, what
    return Deploys(good, bad, verdict, harmless(reason).strip() if bad else "")


def harmless(text: str) -> str:
    """Text without what a terminal obeys: control characters but line ends and tabs are shown as escapes."""
    return "".join(
        one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text.replace("\r\n", "\n")
    )


def read(layout: Layout, username: str, domain: str, uid: int) -> Deploys:
    """What the workers of the site, which run as `uid`, have written down; nothing, if that can't be had."""
    home = layout.home(username)
    path = (layout.keep_folder(username, domain) / _NAME).relative_to(home)
    try:
        base = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = mounts.open_beneath(base, str(path), flags)
        finally:
            os.close(base)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != uid:
                return Deploys()
            return parse(file.read(_MOST).decode("utf-8", "replace"))
    except OSError:
        return Deploys()
