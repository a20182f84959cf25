"""What `logs` does: choose the records, then write them, for a pipe as they are and for a terminal harmless."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from user_wsgi_wrapper.emperor_hook import tail
from user_wsgi_wrapper.emperor_hook.deploys import harmless
from user_wsgi_wrapper.emperor_hook.logs import records, when
from user_wsgi_wrapper.emperor_hook.logs.paint import paint, wants_color
from user_wsgi_wrapper.emperor_hook.logs.records import Record, Wanted
from user_wsgi_wrapper.emperor_hook.logs.sources import Source, closing_all
from user_wsgi_wrapper.emperor_hook.logs.stamps import ID_LENGTH
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, shorten

ALL = "all"
_LINES, _LINES_BEFORE = 50, 10  # by default: to be shown, and before those that are waited for
_LEASE_PATIENCE = 50.0  # seconds; who doesn't let go of a lease is made to after 45 (fs.lease-break-time)
_REQUEST = re.compile("[0-9a-f]{4,64}")
# of what was written in one second the access line comes last: it is written when the request is done
_ORDER = ("error", "server", "access")


@dataclass(frozen=True)
class Choice:
    """What is to be shown of which logs; `lines` is None for all that is wanted."""

    kinds: tuple[str, ...]
    wanted: Wanted
    lines: int | None
    follow: bool


def choose(arguments: argparse.Namespace, now: float) -> Choice:
    """The choice that the command line makes. Raises BadValueError."""
    kinds = arguments.kind or (["error", "access"] if arguments.request else ["error"])
    pattern = None
    if arguments.grep is not None:
        try:
            pattern = re.compile(os.fsencode(arguments.grep))
        except re.error as error:
            raise BadValueError(f"grep {shorten(arguments.grep)}: not a regular expression ({error})") from None
    request_id = arguments.request
    if request_id is not None and not _REQUEST.fullmatch(request_id):
        raise BadValueError(f"request {shorten(request_id)}: an id is 12 hex digits, of which 4 or more are needed")
    wanted = Wanted(
        request_id and request_id[:ID_LENGTH],
        pattern,
        None if arguments.since is None else when.parse(arguments.since, now),
    )
    lines = arguments.lines
    if lines is None and wanted.is_everything:
        lines = _LINES_BEFORE if arguments.follow else _LINES
    return Choice(tuple(kind for kind in _ORDER if kind in kinds or ALL in kinds), wanted, lines, arguments.follow)


def run(layout: Layout, domain: str, choice: Choice) -> bool:
    """Write what is chosen to standard output; False if none of the logs is there yet. Raises OSError."""
    paths = {kind: layout.log_file(domain, kind) for kind in choice.kinds}
    there = [kind for kind, path in paths.items() if path.exists()]
    followers = {kind: tail.Follower(paths[kind], _LEASE_PATIENCE) for kind in there if choice.follow}
    with closing_all(
        [Source(kind, paths[kind], _warn, followers.get(kind), _LEASE_PATIENCE) for kind in there]
    ) as sources:
        _write(_chosen(sources, followers, choice))
    for follower in followers.values():
        follower.close()
    return bool(there)


def _warn(text: str) -> None:
    print(f"user-wsgi-wrapper: {text}", file=sys.stderr)


def _chosen(sources: list[Source], followers: dict[str, tail.Follower], choice: Choice) -> Iterator[Record]:
    if choice.lines is None:
        yield from records.merged(source.forwards(choice.wanted) for source in sources)
    else:
        # where times are the same, what comes last in _ORDER is the newest
        newest_first = records.merged_backwards(source.backwards(choice.wanted) for source in reversed(sources))
        yield from records.last(newest_first, choice.lines, choice.wanted)
    if followers:
        yield from _followed(followers, choice.wanted)


def _followed(followers: dict[str, tail.Follower], wanted: Wanted) -> Iterator[Record]:
    for follower in followers.values():
        follower.file.seek(follower.begin)
    while True:
        come = [list(records.grouped(kind, follower.read())) for kind, follower in followers.items()]
        yield from filter(wanted.has, records.merged(come))
        time.sleep(tail.LOOK_AGAIN)


def _write(chosen: Iterable[Record]) -> None:
    # a terminal obeys what a tenant has written; a pipe gets it as it is
    is_shown = sys.stdout.isatty()
    is_painted = wants_color(is_shown, os.environ)
    output = sys.stdout.buffer
    is_cut = False
    try:
        for record in chosen:
            for line in record.lines:
                if is_cut:
                    output.write(b"\n")
                # an unfinished line is the last of its file; a piece of an endless one is longer
                is_cut = not line.endswith(b"\n") and len(line) < tail.LONGEST
                output.write(_shown(record.kind, line, is_painted) if is_shown else line)
            output.flush()
    except (BrokenPipeError, KeyboardInterrupt):
        # whoever read has had enough; nothing more must be written at exit
        sys.stdout = None


def _shown(kind: str, line: bytes, is_painted: bool) -> bytes:
    text = harmless(line.decode(errors="backslashreplace"))
    if is_painted:
        body = text.removesuffix("\n")
        text = paint(kind, body) + text[len(body) :]
    return text.encode()
