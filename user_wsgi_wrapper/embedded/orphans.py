"""Processes that the application has started: they end with what served it, wherever they hid."""

from __future__ import annotations

import contextlib
import ctypes

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 2.0  # seconds between asking them to end and ending them


def adopt() -> None:
    """Have processes whose parents end become our children (prctl(2)), so that none is lost sight of."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_all() -> None:
    """End every process that descends from this one, and wait for it."""
    left = psutil.Process().children(recursive=True)
    for one in left:
        _send(one, "terminate")
    for one in psutil.wait_procs(left, timeout=_PATIENCE)[1]:
        _send(one, "kill")
    psutil.wait_procs(left, timeout=_PATIENCE)


def _send(process: psutil.Process, how: str) -> None:
    with contextlib.suppress(psutil.Error):
        getattr(process, how)()
