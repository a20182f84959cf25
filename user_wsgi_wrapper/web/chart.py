"""Bars as numbers that a template draws in SVG."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from user_wsgi_wrapper.web.traffic import DAY, Span

WIDTH = 720
_HEIGHTS = {"requests": 120}
_LOW = 60
_GAP = 0.25  # of a bar's room
_LABELS = 6


@dataclass(frozen=True)
class Bar:
    """A bar in the units of the drawing, and what it stands for in words."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Label:
    """A word below the bars, in the middle of its bar; the last one's end is that of the drawing."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """One row of bars; `most` is what the highest stands for, `height` its own."""

    bars: tuple[Bar, ...]
    labels: tuple[Label, ...]
    most: int
    total: int
    height: int


def draw(spans: Sequence[Span], length: int, value: str) -> Chart:
    """Bars of `value`, which is requests, refused or failed; each span is `length` seconds long."""
    numbers = [int(getattr(span, value)) for span in spans]
    most = max([*numbers, 1])
    full = _HEIGHTS.get(value, _LOW)
    room = WIDTH / len(spans)
    step = max(len(spans) // _LABELS, 1)
    bars = []
    labels = []
    for place, (span, number) in enumerate(zip(spans, numbers, strict=True)):
        height = max(number / most * full, 2.0) if number else 0.0
        bars.append(
            Bar(
                round(place * room + room * _GAP / 2, 2),
                round(full - height, 2),
                round(room * (1 - _GAP), 2),
                round(height, 2),
                f"{name(span.start, length)}: {number}",
            )
        )
        if (len(spans) - 1 - place) % step == 0:
            is_last = place == len(spans) - 1  # its word ends where the drawing does
            labels.append(Label(round((place + (1.0 if is_last else 0.5)) * room, 2), short_name(span.start, length)))
    return Chart(tuple(bars), tuple(labels), most if any(numbers) else 0, sum(numbers), full)


def name(start: int, length: int) -> str:
    """A span in words, UTC."""
    return time.strftime("%Y-%m-%d" if length == DAY else "%Y-%m-%d %H:00", time.gmtime(start))


def short_name(start: int, length: int) -> str:
    """A span in as few letters as tell it from its neighbors."""
    return time.strftime("%d %b" if length == DAY else "%H:00", time.gmtime(start))
