"""The lines of an Apache configuration file, with where they stand. Pure.

Grammar: https://httpd.apache.org/docs/2.4/configuring.html. A directive a line, a backslash at the end goes on, `#`
begins a comment at a line's start only, arguments are divided by spaces and may be quoted, sections nest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\S+)')
_SECTION = re.compile(r"<\s*(/?)\s*([A-Za-z]+)\s*([^>]*)>\s*$")


class ApacheFileError(ValueError):
    """The file isn't such a one; str() has the line's number."""


@dataclass(frozen=True)
class Directive:
    """One line. `name` is in lower case; `within` are the sections around it, the outermost first."""

    line: int
    name: str
    words: tuple[str, ...]
    within: tuple[Section, ...]
    text: str


@dataclass(frozen=True)
class Section:
    """`<VirtualHost *:80>` and its like, told from others of the same words by its line."""

    line: int
    name: str
    argument: str


def read(text: str) -> Iterator[Directive]:
    """The directives in order. Raises ApacheFileError for sections that don't close."""
    open_sections: list[Section] = []
    for number, line in _logical_lines(text):
        if line.startswith("<"):
            _turn(open_sections, number, line)
        elif line and not line.startswith("#"):
            name, _, rest = line.partition(" ") if " " in line else line.partition("\t")
            yield Directive(number, name.strip().lower(), _words(rest), tuple(open_sections), line)
    if open_sections:
        last = open_sections[-1]
        raise ApacheFileError(f"{last.line}: <{last.name}> isn't closed")


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    start, kept = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        if not kept:
            start = number
        line = line.rstrip("\r")
        if line.endswith("\\"):
            kept += line[:-1] + " "
            continue
        yield start, (kept + line).strip()
        kept = ""
    if kept:
        yield start, kept.strip()


def _turn(open_sections: list[Section], number: int, line: str) -> None:
    found = _SECTION.match(line)
    if found is None:
        raise ApacheFileError(f"{number}: {line!r} is no section")
    name = found[2].lower()
    if not found[1]:
        open_sections.append(Section(number, name, found[3].strip()))
    elif not open_sections or open_sections[-1].name != name:
        raise ApacheFileError(f"{number}: {line!r} closes what isn't open")
    else:
        open_sections.pop()


def _words(text: str) -> tuple[str, ...]:
    words = []
    for found in _WORD.finditer(text):
        quoted = found[1] if found[1] is not None else found[2]
        words.append(found[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    return tuple(words)
