"""Plots as SVG: lines over percentiles on a logarithmic scale, and bars. Nothing here touches a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 400
_TOP, _BOTTOM, _LEFT = 44, 40, 72
_RIGHT = 250  # for the lines' names
_FONT = 'font-family="system-ui, sans-serif"'
_GREY, _DARK = "#d8dee4", "#24292f"


@dataclass(frozen=True)
class Style:
    """How one line or bar looks: a color, a width, and SVG's dashes."""

    color: str
    width: float = 2.0
    dashes: str = ""


def lines(
    title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float]], styles: Mapping[str, Style]
) -> str:
    """A line a row, named at its right end; values are milliseconds above 0."""
    least = min(min(values) for values in rows.values())
    most = max(max(values) for values in rows.values())
    low, high = math.log10(_round_down(least)), math.log10(_round_up(most))
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def x(place: int) -> float:
        return _LEFT + 14 + (right - _LEFT - 28) * place / (len(columns) - 1)

    def y(value: float) -> float:
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - _TOP)

    parts = [_text(_LEFT, 24, title, size=15, weight="600")]
    for tick in _ticks(low, high):
        parts.append(_line(_LEFT, y(tick), right, y(tick), _GREY, 1))
        parts.append(_text(_LEFT - 8, y(tick) + 4, f"{tick:,g} ms", anchor="end"))
    for place, column in enumerate(columns):
        parts.append(_text(x(place), bottom + 20, f"{column} %", anchor="middle"))
    for name, values in rows.items():
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(values))
        style = styles[name]
        dashes = f' stroke-dasharray="{style.dashes}"' if style.dashes else ""
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{style.color}" stroke-width="{style.width:g}"'
            f' stroke-linejoin="round"{dashes}/>'
        )
    ends = {name: y(values[-1]) for name, values in rows.items()}
    for name, place in _apart(ends, 16, _TOP, bottom).items():
        style = styles[name]
        weight = "600" if style.width > 2 else "400"
        parts.append(_line(x(len(columns) - 1), ends[name], right + 16, place, style.color, 0.8))
        parts.append(_text(right + 20, place + 4, name, color=style.color, weight=weight))
    return _svg(HEIGHT, parts)


def bars(title: str, panels: Mapping[str, Mapping[str, float]], styles: Mapping[str, Style]) -> str:
    """A panel a quantity beside each other, a bar a row; the rows' names stand at the left of the first."""
    names = list(next(iter(panels.values())))
    room, step, left = 26, 24, 225
    width = (WIDTH - left) / len(panels)
    height = _TOP + room + step * len(names) + 8
    parts = [_text(12, 24, title, size=15, weight="600")]
    for row, name in enumerate(names):
        weight = "600" if styles[name].width > 2 else "400"
        parts.append(_text(left - 12, _TOP + room + step * row + 13, name, anchor="end", weight=weight))
    for number, (panel, values) in enumerate(panels.items()):
        start = left + width * number
        parts.append(_text(start, _TOP + 12, panel, weight="600"))
        for row, name in enumerate(names):
            length = (width - 80) * values[name] / max(values.values())
            top = _TOP + room + step * row
            parts.append(
                f'<rect x="{start:.1f}" y="{top}" width="{max(length, 1):.1f}" height="17" rx="2"'
                f' fill="{styles[name].color}"/>'
            )
            parts.append(_text(start + length + 5, top + 13, _short(values[name])))
    return _svg(height, parts)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return min(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, … between two powers of ten, or 1, 10, 100, … if that are too many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    fine = [float(f"{step}e{power}") for power in powers for step in (1, 2, 5)]
    inside = [tick for tick in fine if 10**low * 0.999 <= tick <= 10**high * 1.001]
    return inside if len(inside) <= 9 else [tick for tick in inside if f"{tick:e}".startswith("1.000000e")]


def _apart(places: Mapping[str, float], gap: float, top: float, bottom: float) -> dict[str, float]:
    """The same places in the same order, moved until they are a gap apart."""
    order = sorted(places, key=places.__getitem__)
    moved: list[float] = []
    for name in order:
        moved.append(max(places[name], moved[-1] + gap if moved else top))
    moved[-1] = min(moved[-1], bottom)
    for index in range(len(moved) - 2, -1, -1):
        moved[index] = min(moved[index], moved[index + 1] - gap)
    return dict(zip(order, moved))


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width:g}"/>'
    )


def _text(
    x: float, y: float, text: str, size: int = 12, anchor: str = "start", color: str = _DARK, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}"'
        f' font-weight="{weight}">{escape(text)}</text>'
    )


def _svg(height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" {_FONT}>'
    # a background, for pages that are dark
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"
