"""Sites as CSV (RFC 4180, a heading first) and as JSON lines: what `site export` writes and `site import` reads."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from user_wsgi_wrapper.emperor_hook import site_fields
from user_wsgi_wrapper.emperor_hook.carried import Carried, Entry
from user_wsgi_wrapper.site import BadValueError, Site, shorten

csv.field_size_limit(1 << 24)


def write_csv(sites: Iterable[Site]) -> Iterator[str]:
    """The lines of the table."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(site_fields.NAMES)
    for site in sites:
        writer.writerow([site_fields.to_cell(site, name) for name in site_fields.NAMES])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def write_json_lines(sites: Iterable[Site]) -> Iterator[str]:
    """A line for each site, an object of all fields."""
    return (json.dumps(dataclasses.asdict(site), ensure_ascii=False) + "\n" for site in sites)


def read_csv(file: str, text: str, defaults: Site) -> Carried:
    """The sites of a table. Columns may be missing, but for domain and username, and stand in any order."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = _rows(reader)
    try:
        _, heading = next(rows, (1, []))
        names = [name.strip().lower() for name in heading]
        _check_heading(names)
    except (BadValueError, csv.Error) as error:
        return Carried((), (), (f"{file}:1: {error}",))

    def build(cells: list[str]) -> Site:
        if len(cells) != len(names):
            raise BadValueError(f"{len(cells)} cells, the heading has {len(names)}")
        found = [(name, site_fields.from_cell(name, cell)) for name, cell in zip(names, cells, strict=True)]
        # an empty cell of what can't be empty says nothing: the operator's own default counts
        values = {name: value for name, value in found if value is not None or site_fields.may_be_none(name)}
        return site_fields.build(values, defaults)

    return _carry(file, rows, build)


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        if row:
            yield line, row


def _check_heading(names: list[str]) -> None:
    for number, name in enumerate(names):
        if name not in site_fields.NAMES:
            raise BadValueError(f"column {shorten(name)}: {', '.join(site_fields.NAMES)} are known")
        if name in names[:number]:
            raise BadValueError(f"column {shorten(name)}: it stands there twice")
    for name in ("domain", "username"):
        if name not in names:
            raise BadValueError(f"there is no column {name}; the first line must name the columns")


def read_json_lines(file: str, text: str, defaults: Site) -> Carried:
    """The sites of a file that has an object a line."""
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    return _carry(file, lines, lambda line: _from_json(line, defaults))


def _from_json(line: str, defaults: Site) -> Site:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadValueError(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadValueError("it is no JSON object")
    for name in document:
        if name not in site_fields.NAMES:
            raise BadValueError(f"key {shorten(name)}: {', '.join(site_fields.NAMES)} are known")
    values = {name: site_fields.from_json(name, value) for name, value in document.items()}
    return site_fields.build(values, defaults)


def _carry(file: str, rows: Iterator[tuple[int, Any]], build: Callable[[Any], Site]) -> Carried:
    entries: list[Entry] = []
    errors: list[str] = []
    try:
        for line, row in rows:
            try:
                entries.append(Entry(f"{file}:{line}", build(row)))
            except BadValueError as error:
                errors.append(f"{file}:{line}: {error}")
    except csv.Error as error:
        errors.append(f"{file}: it is not CSV: {error}")
    return Carried(tuple(entries), (), tuple(errors))
