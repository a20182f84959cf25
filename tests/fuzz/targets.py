"""The targets by name, and the seeds that are kept of each."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.conditions import check_conditions
from tests.fuzz.names import check_domain, check_key, check_line
from tests.fuzz.paths import check_static
from tests.fuzz.records import check_record
from tests.fuzz.wire import check_answer, check_question

TARGETS: dict[str, Callable[[bytes], None]] = {
    "line": check_line,
    "key": check_key,
    "domain": check_domain,
    "static": check_static,
    "conditions": check_conditions,
    "record": check_record,
    "question": check_question,
    "answer": check_answer,
}
SEEDS = Path(__file__).with_name("seeds")


def read_seeds(name: str) -> list[bytes]:
    """The inputs kept for a target: one a line, as Python writes bytes."""
    return [ast.literal_eval(line) for line in (SEEDS / f"{name}.txt").read_text().splitlines()]


def write_seeds(name: str, seeds: list[bytes]) -> None:
    """Keep these, in order."""
    (SEEDS / f"{name}.txt").write_text("".join(f"{seed!r}\n" for seed in sorted(set(seeds))))
