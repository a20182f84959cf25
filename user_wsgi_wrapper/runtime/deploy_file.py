"""What became of a site's versions, in a small file that outlives its processes: which was good, which refused.

Text, a line a version and then the reason of the refusal, so that the operator's side can read it too. In place of
`refused` stands `broken` where visitors get the error page for that version:

    good INODE SIZE MTIME_NS SINCE_NS
    refused INODE SIZE MTIME_NS AT_NS

    ZeroDivisionError: division by zero
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    File = tuple[int, int, int]

NAME = "deploy"
MOST = 64 * 1024  # bytes
NOTHING = (0, 0, 0)


class Deploys:
    """The file's content: versions as black_box.file_state gives them, NOTHING if there was none; times in ns.

    `bad` is the last version that could not be loaded, for `reason`; `is_served` says that it has replaced the good
    one nevertheless.
    """

    __slots__ = ("bad", "bad_at", "good", "is_served", "reason", "since")

    def __init__(self) -> None:
        self.good: File = NOTHING
        self.since = 0
        self.bad: File = NOTHING
        self.bad_at = 0
        self.reason = ""
        self.is_served = False

    @property
    def refused(self) -> File:
        """The version that no worker need try again."""
        return NOTHING if self.is_served else self.bad


def read(folder: str) -> Deploys:
    """What the file in `folder` says; nothing, if it isn't there or isn't what was written."""
    deploys = Deploys()
    try:
        with open(f"{folder}/{NAME}", "rb") as file:
            head, _, reason = file.read(MOST).decode("utf-8", "replace").partition("\n\n")
        for line in head.splitlines():
            what, *numbers = line.split()
            inode, size, mtime, when = map(int, numbers)
            if what == "good":
                deploys.good, deploys.since = (inode, size, mtime), when
            elif what in ("refused", "broken"):
                deploys.bad, deploys.bad_at, deploys.reason = (inode, size, mtime), when, reason
                deploys.is_served = what == "broken"
    except (OSError, ValueError):
        pass
    return deploys


def write(folder: str, deploys: Deploys) -> None:
    """Have the file in `folder` say this, at once or not at all. Raises OSError."""
    lines = []
    if deploys.good != NOTHING:
        lines.append("good {} {} {} {}".format(*deploys.good, deploys.since))
    if deploys.bad != NOTHING:
        what = "broken" if deploys.is_served else "refused"
        lines.append("{} {} {} {} {}".format(what, *deploys.bad, deploys.bad_at))
    text = "\n".join(lines) + "\n\n" + (deploys.reason if deploys.bad != NOTHING else "")
    os.makedirs(folder, 0o700, exist_ok=True)
    replace(f"{folder}/{NAME}", text.encode("utf-8", "backslashreplace")[:MOST])


def replace(path: str, content: bytes) -> None:
    """Give the file at `path` this content, at once or not at all. Raises OSError."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
