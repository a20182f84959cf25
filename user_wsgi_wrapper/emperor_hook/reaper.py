"""Orphaned processes of tenants, ended: politely first, for certain then, and never the wrong one.

What is signalled is signalled through a descriptor of the process (pidfd_open(2)), opened before pid and create time
are compared once more, so a pid that was reused meanwhile is never hit.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psutil

from user_wsgi_wrapper.emperor_hook.orphans import (
    RUNNING,
    ZOMBIE,
    Identity,
    Orphan,
    emperor_pids,
    find_orphans,
    tenant_uid,
)
from user_wsgi_wrapper.layout import Layout

__all__ = ["RUNNING", "Orphan", "Reaped", "emperor_pids", "find_orphans", "reap", "reap_all"]

KILL_PATIENCE = 5.0  # seconds that the kernel has for ending a process after KILL
_ROUNDS = 5  # of finding what was born meanwhile
_SWEEPS = 50  # of stopping what is born, until nothing is left that could give birth
_BATCH = 256  # descriptors held at once


@dataclass(frozen=True)
class Reaped:
    """What became of an orphan.

    `outcome` is terminated (TERM was enough), killed, gone (it had ended before), zombie (dead already, nothing to
    signal), unkillable (it outlived KILL: it waits for a disk, say) or refused (it isn't a tenant's).
    """

    orphan: Orphan
    outcome: str

    def __str__(self) -> str:
        return f"{self.orphan}: {self.outcome}"


def reap(orphans: Sequence[Orphan], grace: float = 5.0) -> list[Reaped]:
    """End them: TERM to all, `grace` seconds for all together, KILL. What became of each, in the order given.

    More than _BATCH of them are taken in turns.
    """
    outcomes: list[Reaped] = []
    for start in range(0, len(orphans), _BATCH):
        outcomes += _reap_batch(orphans[start : start + _BATCH], grace)
    return outcomes


def _reap_batch(orphans: Sequence[Orphan], grace: float) -> list[Reaped]:
    outcomes: dict[Orphan, str] = {}
    held: dict[int, Orphan] = {}
    with ExitStack() as stack:
        for orphan in orphans:
            descriptor = stack.enter_context(_hold(orphan))
            if isinstance(descriptor, str):
                outcomes[orphan] = descriptor
            else:
                held[descriptor] = orphan
        signalled = _send(held, signal.SIGTERM)
        outcomes |= {orphan: "gone" for descriptor, orphan in held.items() if descriptor not in signalled}
        stubborn = _wait(signalled, grace)
        outcomes |= {held[descriptor]: "terminated" for descriptor in signalled - stubborn}
        _send(stubborn, signal.SIGKILL)
        unkillable = _wait(stubborn, KILL_PATIENCE)
        outcomes |= {held[descriptor]: "killed" for descriptor in stubborn - unkillable}
        outcomes |= {held[descriptor]: "unkillable" for descriptor in unkillable}
    return [Reaped(orphan, outcomes[orphan]) for orphan in orphans]


@contextmanager
def _hold(orphan: Orphan) -> Iterator[int | str]:
    """A descriptor of the very process, or the outcome that makes one needless."""
    if orphan.status == ZOMBIE:
        yield ZOMBIE
        return
    if orphan.uid == 0 or orphan.pid in (0, 1, os.getpid()):
        yield "refused"
        return
    try:
        descriptor = os.pidfd_open(orphan.pid)
    except OSError:  # no such process, or the pid is that of a thread now
        yield "gone"
        return
    try:
        yield descriptor if _is_still(orphan) else "gone"
    finally:
        os.close(descriptor)


def _is_still(orphan: Orphan) -> bool:
    try:
        process = psutil.Process(orphan.pid)
        same = process.create_time() == orphan.create_time and tenant_uid(process) == orphan.uid
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(descriptors: Iterable[int], number: signal.Signals) -> set[int]:
    """Signal each; those that were still there."""
    there = set()
    for descriptor in descriptors:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
            there.add(descriptor)
    return there


def _wait(descriptors: Iterable[int], seconds: float) -> set[int]:
    """Those that are alive after `seconds`; a descriptor becomes readable when its process ends."""
    poller = select.poll()
    left = set(descriptors)
    for descriptor in left:
        poller.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while left:
        ready = poller.poll(max(deadline - time.monotonic(), 0) * 1000)
        if not ready:
            break
        for descriptor, _ in ready:
            poller.unregister(descriptor)
            left.discard(descriptor)
    return left


def reap_all(
    identities: Iterable[Identity],
    emperor_pids: frozenset[int],
    layout: Layout,
    login_uids: frozenset[int] | None = None,
    grace: float = 5.0,
) -> list[Reaped]:
    """Find and reap until none is left that can be ended, also if they multiply.

    After the first round nobody gets a grace any more: all are stopped before the first is killed, as a place that a
    dead one leaves would be taken by a new one.
    """
    identities = tuple(identities)
    hopeless: set[Orphan] = set()

    def find() -> list[Orphan]:
        found = find_orphans(identities, emperor_pids, layout, login_uids)
        return [orphan for orphan in found if orphan not in hopeless]

    outcomes = reap(find(), grace)
    for _ in range(_ROUNDS):
        hopeless.update(reaped.orphan for reaped in outcomes if reaped.outcome == "unkillable")
        born = _stop_all(find)
        if not born:
            break
        outcomes += reap(born, grace=0)
    return outcomes


def _stop_all(find: Callable[[], Iterable[Orphan]]) -> list[Orphan]:
    stopped: dict[tuple[int, float], Orphan] = {}
    for _ in range(_SWEEPS):
        new = [
            orphan
            for orphan in find()
            if orphan.status == RUNNING and (orphan.pid, orphan.create_time) not in stopped
        ]
        if not new:
            break
        for orphan in new:
            stopped[orphan.pid, orphan.create_time] = orphan
            with _hold(orphan) as descriptor:
                if isinstance(descriptor, int):
                    _send([descriptor], signal.SIGSTOP)
    return list(stopped.values())
