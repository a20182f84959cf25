"""A psycopg connection whose every answer is bounded in time.

PostgreSQL's own statement_timeout is kept by the server, so it says nothing when the server is the one that hangs,
and libpq has no time-out for reading.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

_Result = TypeVar("_Result")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up, and closes itself, when an answer takes longer than `answer_timeout` seconds."""

    answer_timeout = 3.0

    def wait(self, gen: Generator[Any, Any, _Result], *args: Any, **kwargs: Any) -> _Result:
        """Wait as psycopg does; it looks in at least every 0.1 s. Raises psycopg.OperationalError when time is up."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
        deadline = time.monotonic() + self.answer_timeout
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"no answer within {self.answer_timeout:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result
