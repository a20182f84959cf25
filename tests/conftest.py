"""Fixtures that several test modules share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.live import LiveStack

# a machine that is busy with a database or a server is no reason to fail a property
hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")


@contextlib.contextmanager
def live_stack(config: str = "") -> Iterator[LiveStack]:
    """A running stack with no site; everything it made must be gone in the end."""
    live = LiveStack(Path(tempfile.mkdtemp(prefix="uww-")), config)
    live.root.chmod(0o755)
    live.start()
    try:
        yield live
    finally:
        live.close()


@pytest.fixture
def stack() -> Iterator[LiveStack]:
    """A stack as it comes, without configuration."""
    with live_stack() as live:
        yield live


@pytest.fixture
def impatient_stack() -> Iterator[LiveStack]:
    """A stack that shows its waiting page soon and gives up soon."""
    with live_stack("[warm]\npage_after = 0.5\ngive_up_after = 4.0\n") as live:
        yield live
