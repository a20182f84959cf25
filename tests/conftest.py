"""Fixtures that several test modules share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveStack


@pytest.fixture
def stack() -> Iterator[LiveStack]:
    """A running stack with no site; everything it made must be gone in the end."""
    live = LiveStack(Path(tempfile.mkdtemp(prefix="uww-")))
    live.root.chmod(0o755)
    live.start()
    try:
        yield live
    finally:
        live.close()
