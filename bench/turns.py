"""Measure several things in turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path


def turns(rows: Mapping[str, Callable[[], float]], rounds: int, what: str) -> dict[str, list[float]]:
    """Every value of every row; each round begins one row later than the one before."""
    names = list(rows)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        print(f"{what}: round {number + 1} of {rounds}", file=sys.stderr)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(rows[name]())
    return values


class Child:
    """A process of bench/in_process.py for one peer."""

    def __init__(self, python: Path, peer: str) -> None:
        program = Path(__file__).with_name("in_process.py")
        self._process = subprocess.Popen(
            [str(python), str(program), peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
        )

    def measure(self, case: str, count: int) -> float:
        """Nanoseconds of one round. Raises SystemExit if the process has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{case} {count}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args} has ended")
        return int(answer) / count

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()


def table(title: str, unit: str, values: Mapping[str, list[float]], base: str, digits: int = 0) -> str:
    """Markdown: each row's median, its spread, what it is above the base row and its ratio to it."""
    zero = statistics.median(values[base])
    lines = [f"| {title} | {unit} | least - most | above {base} | ratio |", "| :--- | ---: | ---: | ---: | ---: |"]
    for name, taken in values.items():
        median = statistics.median(taken)
        spread = f"{min(taken):,.{digits}f} - {max(taken):,.{digits}f}"
        above = "" if name == base else f"{median - zero:+,.{digits}f}"
        lines.append(f"| {name} | {median:,.{digits}f} | {spread} | {above} | {median / zero:.3f} |")
    return "\n".join(lines) + "\n"
