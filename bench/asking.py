"""One visitor of one site of a real stack."""

from __future__ import annotations

import time

from tests.live import LiveStack


def timed(stack: LiveStack, domain: str) -> float:
    """The seconds of one request; SystemExit unless it is answered with 200."""
    began = time.perf_counter()
    reply = stack.request(domain)
    took = time.perf_counter() - began
    if reply.status != 200:
        raise SystemExit(f"{domain}: {reply.status}: {reply.text}{stack.own_logs()}")
    return took
