"""The command line's grammar and its help."""

from __future__ import annotations

import argparse
import grp
import pwd
import re
from collections.abc import Callable

from log_splitter.batch import FORMATS
from log_splitter.errors import shorten
from user_wsgi_wrapper import __version__

_DESCRIPTION = """\
Deal one stream of access lines out to a file a domain. Lines come from standard input,
from a socket that nginx's syslog logging writes to, or from a file that is followed."""

_EPILOG = """\
formats:
  pipe    key|line           the key and the bar are taken off
  vhost   key[:port] line    Apache's %v or Debian's vhost_combined; the first word is taken off
  json    {"host": "key", …} one object a line, kept as it is
A key is a domain name. Lines whose key is none, or isn't known, go whole to the catch-all.

signals:
  HUP   open every log anew     USR1  report the counters on standard error
  TERM  write what was read, report, end
  USR2  write nothing for ten seconds or until HUP (before logrotate's copytruncate)

exit status: 0 done, 1 failed, 2 wrong usage or a value that breaks a rule

examples:
  CustomLog "|/usr/local/bin/log-splitter --directory /var/log/sites" combined-vhost
  log-splitter --directory /var/log/sites --listen unix:/run/log-splitter/socket
  log-splitter --directory /var/log/sites --format vhost \\
      --follow /var/log/apache2/other_vhosts_access.log --checkpoint /var/lib/log-splitter/checkpoint"""

TYPE_CHECKING = False  # typing costs milliseconds
if TYPE_CHECKING:
    from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        text = " ".join(message.split())
        self.exit(2, f"{self.prog}: {text} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        "log-splitter",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--directory", required=True, metavar="DIR", help="where the logs are; must exist")
    _add_input(top.add_argument_group("input"))
    _add_output(top.add_argument_group("output"))
    _add_bounds(top.add_argument_group("bounds"))
    return top


def _add_input(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--format", choices=FORMATS, default="pipe", help="what lines look like (default: pipe)")
    group.add_argument("--field", default="host", metavar="NAME", help="json: the key's field (default: host)")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--listen", type=_socket_path, metavar="unix:PATH", help="read datagrams from this socket")
    where.add_argument("--follow", metavar="FILE", help="read this file and what is added, also rotated")
    group.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="--follow: how far it was read, kept here (default: FILE.checkpoint beside the followed one)",
    )
    group.add_argument("--socket-mode", type=_mode, default=0o660, metavar="MODE", help="--listen: (default: 660)")
    group.add_argument("--socket-owner", type=_owner, default=(None, None), metavar="USER[:GROUP]", help="--listen:")


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--name",
        default="{key}/{key}.access.log",
        metavar="PATTERN",
        help="a log's path below DIR (default: {key}/{key}.access.log)",
    )
    group.add_argument(
        "--catch-all",
        default="_unknown.access.log",
        metavar="PATH",
        help="the log of all lines without a log, below DIR (default: _unknown.access.log)",
    )
    group.add_argument(
        "--known",
        metavar="FILE",
        help="only these keys have logs: a domain a line, or the registry's sites.db; read again when it changes",
    )
    group.add_argument(
        "--folders",
        choices=("required", "make"),
        default="required",
        help="where a folder is missing: lines go to the catch-all, or it is made (default: required)",
    )
    group.add_argument("--mode", type=_mode, default=0o640, metavar="MODE", help="of new logs (default: 640)")
    group.add_argument("--folder-mode", type=_mode, default=0o755, metavar="MODE", help="(default: 755)")
    group.add_argument(
        "--owner",
        type=_owner_or_folder,
        default=(None, None),
        metavar="USER[:GROUP]|folder",
        help="of new logs and folders; folder: a log's as its folder's (default: who runs this)",
    )
    group.add_argument(
        "--statistics",
        action="store_true",
        help="a line of JSON a key and hour in NAME.hourly.json: requests, bytes, status classes, response times",
    )
    group.add_argument(
        "--counters", metavar="FILE", help="keep the counters in FILE as JSON, written anew every five seconds"
    )
    group.add_argument("--json", action="store_true", help="report the counters as JSON")


def _add_bounds(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-open",
        type=_number(1, 1 << 20),
        metavar="N",
        help="log files open at once (default: what the system allows, at most 16384)",
    )
    group.add_argument(
        "--flush-interval",
        type=_seconds,
        default=0.1,
        metavar="S",
        help="a line can be read after that time (default: 0.1)",
    )
    group.add_argument(
        "--memory",
        type=_number(1, 1 << 16),
        default=64,
        metavar="MIB",
        help="for lines not yet written (default: 64)",
    )
    group.add_argument(
        "--stall",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="a write that takes longer is left to itself, and its log's lines held (default: 1)",
    )


def _socket_path(text: str) -> str:
    kind, _, path = text.partition(":")
    if kind != "unix" or not path:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: unix:PATH is needed")
    if len(path.encode()) > 107:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: a socket's path has at most 107 bytes")
    return path


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise argparse.ArgumentTypeError(f"{shorten(text)}: three octal digits are needed")
    return int(text, 8)


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{shorten(text)}: a number from {least} to {most} is needed")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) or not 0.01 <= float(text) <= 60:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: seconds from 0.01 to 60 are needed")
    return float(text)


def _owner(text: str) -> tuple[int | None, int | None]:
    user, colon, group = text.partition(":")
    if colon and not group:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: USER or USER:GROUP is needed")
    return (_look_up(user, "user") if user else None, _look_up(group, "group") if group else None)


def _owner_or_folder(text: str) -> tuple[int | None, int | None] | None:
    """None stands for the folder's owner."""
    return None if text == "folder" else _owner(text)


def _look_up(name: str, kind: str) -> int:
    if re.fullmatch("[0-9]{1,10}", name) and int(name) < (1 << 32) - 1:
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise argparse.ArgumentTypeError(f"{shorten(name)}: no such {kind} on this machine") from None
