"""The command line: put the parts together, run, report."""

# ruff: noqa: E402 - signals are held back before anything that takes time

from __future__ import annotations

import gc
import signal

gc.disable()  # nothing here makes cycles, and looking for them would cost a tenth of the time
SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
# First of all: an Apache that restarts ends us when lines are already in the pipe. Service lets them through.
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from log_splitter import arguments
from log_splitter.batch import make_batch
from log_splitter.counters import Counters
from log_splitter.errors import BadValueError
from log_splitter.placement import Placement, parse_catch_all, parse_name
from log_splitter.service import Pace, Service
from log_splitter.sources import Source, StandardInput
from log_splitter.splitter import Splitter
from log_splitter.writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from log_splitter.counters_file import CountersFile
    from log_splitter.known import Known

_MOST_OPEN = 16_384
_SPARE = 64  # descriptors for all else
_QUIET = 60.0  # seconds until the same is said again
_MOST_SAID = 1_000  # different things remembered


class Voice:
    """Says things on standard error, none of them twice a minute."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One line. What differs in numbers alone is the same."""
        subject = text.rpartition(": ")[0] or text
        now = time.monotonic()
        if now - self._said.get(subject, float("-inf")) < _QUIET:
            return
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[subject] = now
        self.write(f"log-splitter: {text}")

    def write(self, text: str) -> None:
        """One line, whatever was said before. Nobody who listens is no reason to stop."""
        with suppress(OSError):
            os.write(2, text.encode(errors="replace") + b"\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run; the exit status: 0 done, 1 failed, 2 usage."""
    options = arguments.parser().parse_args(argv)
    voice = Voice()
    try:
        return _run(options, voice)
    except BadValueError as error:
        voice.write(f"log-splitter: {error}")
        return 2
    except OSError as error:
        voice.write(f"log-splitter: {error}")
        return 1


def _run(options: argparse.Namespace, voice: Voice) -> int:
    counters = Counters()
    batch = make_batch(options.format, options.field, counters)
    known = _known(options.known)
    splitter = Splitter(
        options.directory, _placement(options), batch, counters, voice.say, _allow_open(options.max_open)
    )
    splitter.known = known.keys if known else None
    if options.statistics:
        from log_splitter.hourly import Hourly

        splitter.hourly = Hourly(options.format == "json")
    source = _source(options, counters, voice.say)

    def fill_in() -> None:
        splitter.fill_in()
        counters.bytes_behind = source.behind

    def as_json() -> str:
        fill_in()
        return counters.as_json()

    def report() -> None:
        fill_in()
        voice.write(counters.as_json() if options.json else f"log-splitter: {counters.as_text()}")

    kept = _counters_file(options.counters, as_json, voice.say)
    os.umask(0)  # modes are as the options say
    try:
        writer = Writer(splitter, counters, voice.say, options.stall, source.is_patient)
        pace = Pace(options.flush_interval, options.memory << 20)
        refresh = None if kept is None else kept.refresh
        Service(source, batch, splitter, writer, counters, pace, known, voice.say, report, refresh).run()
    finally:
        report()
        if kept is not None:
            kept.refresh(at_once=True)
        source.close()
    return 0


def _placement(options: argparse.Namespace) -> Placement:
    name = parse_name(options.name)
    return Placement(
        name=name,
        catch_all=parse_catch_all(options.catch_all, name),
        make_folders=options.folders == "make",
        mode=options.mode,
        folder_mode=options.folder_mode,
        owner=options.owner or (None, None),
        as_folder=options.owner is None,
    )


# What only some need is imported late: see errors.py.
def _known(path: str | None) -> Known | None:
    if path is None:
        return None
    from log_splitter.known import Known

    return Known(path)


def _counters_file(path: str | None, text: Callable[[], str], say: Callable[[str], None]) -> CountersFile | None:
    if path is None:
        return None
    from log_splitter.counters_file import CountersFile

    return CountersFile(path, text, say)


def _source(options: argparse.Namespace, counters: Counters, say: Callable[[str], None]) -> Source:
    if options.listen:
        from log_splitter.datagrams import Datagrams

        return Datagrams(options.listen, counters, options.socket_mode, options.socket_owner)
    if options.follow:
        from log_splitter.follow import Followed

        saved = options.checkpoint or options.follow + ".checkpoint"
        return Followed(options.follow, saved, say)
    return StandardInput()


def _allow_open(wanted: int | None) -> int:
    """How many logs may be open: as many as are wanted, if the system lets us have them. Raises BadValueError."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(1, hard - _SPARE) if hard != resource.RLIM_INFINITY else _MOST_OPEN
    if wanted is not None and wanted > most:
        raise BadValueError(f"max-open {wanted}: the limit of open files (ulimit -Hn) is {hard}, {most} can be had")
    number = wanted or min(most, _MOST_OPEN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number + _SPARE, most + _SPARE), hard))
    return number


def program() -> NoReturn:
    """main() as a program, which doesn't wait for threads that wait for a file system."""
    status = main()
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    program()
