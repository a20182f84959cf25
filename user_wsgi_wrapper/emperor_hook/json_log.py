"""The logs of our services, initialize's two and the pages: one object a line, on standard error."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def begin(log: logging.Logger) -> None:
    """Have a logger write `timestamp`, `level`, `message` and what is given as `extra`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter("{asctime}{levelname}{message}", style="{", rename_fields={"asctime": "timestamp"})
    )
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
