"""The tables and plots of bench/percentiles.py, from its raw numbers, for bench/README.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plot
from bench.ab import ROWS, percentiles
from bench.servers import SERVERS
from bench.servers.behind_nginx import BareUwsgi
from bench.servers.fcgid import FcgidMany
from bench.servers.this_project import ThisProject

README = Path(__file__).with_name("README.md")
PLOTS = Path(__file__).with_name("plots")
_BEGIN, _END = "<!-- percentiles: begin -->", "<!-- percentiles: end -->"
_OURS = ThisProject.name
_BARE = BareUwsgi.name
_MANY = FcgidMany.name
_COLORS = ("#0b62c4", "#00875a", "#b8860b", "#a63d8f", "#d1490e", "#6e7781", "#424a53")
_DASHES = ("", "7 4", "2 3")

Visits = Sequence[Mapping[str, Any]]


class Table:
    """Everything about one number of domains: the visits of each server, rounds together."""

    def __init__(self, visits: Visits, domains: int) -> None:
        self.domains = domains
        self._visits = {
            kind.name: found
            for kind in SERVERS
            if (found := [each for each in visits if each["domains"] == domains and each["server"] == kind.name])
        }
        self.names = list(self._visits)

    def warm(self) -> dict[str, list[float]]:
        """Milliseconds at ROWS, a row a server."""
        return {
            name: percentiles(time for each in self._visits[name] for time in each["warm"]) for name in self.names
        }

    def cold(self) -> dict[str, list[float]]:
        """The same for first requests, a row for each state that a server has."""
        rows = {}
        for name in self.names:
            for state, label in self._states(name):
                rows[label] = percentiles(time for each in self._visits[name] for time in each["cold"][state])
        return rows

    def first_requests(self) -> dict[str, int]:
        """How many `cold` is made of."""
        counts = {}
        for name in self.names:
            for state, label in self._states(name):
                counts[label] = sum(len(each["cold"][state]) for each in self._visits[name])
        return counts

    def tails(self) -> dict[str, float]:
        """p99 over median of the warm requests."""
        return {name: row[ROWS.index(99)] / row[0] for name, row in self.warm().items()}

    def _states(self, name: str) -> list[tuple[str, str]]:
        """A server's cold states, and what each is called among those of others."""
        states = list(self._visits[name][0]["cold"])
        return [(state, name if len(states) == 1 else f"{name}, {state}") for state in states]

    def costs(self) -> dict[str, dict[str, float]]:
        """Medians over the rounds, by quantity and server."""
        quantities = {
            "requests/s": lambda each: each["asked"] / each["asking"],
            "CPU µs a request": lambda each: 1e6 * each["cpu"] / each["asked"],
            "MiB a site": lambda each: each["memory_of_sites"] / 1024 / each["domains"],
            "MiB in all": lambda each: each["memory"] / 1024,
            "s to start": lambda each: each["start"],
        }
        return {
            quantity: {name: statistics.median(map(measure, self._visits[name])) for name in self.names}
            for quantity, measure in quantities.items()
        }

    def failures(self) -> dict[str, tuple[int, int]]:
        """Failed requests and all, of the servers that had any."""
        sums = {
            name: (sum(each["failed"] for each in visits), sum(each["requests"] for each in visits))
            for name, visits in self._visits.items()
        }
        return {name: counts for name, counts in sums.items() if counts[0]}


def tables_of(raw: Mapping[str, Any]) -> list[Table]:
    """One for each number of domains, the smallest first."""
    return [Table(raw["visits"], domains) for domains in sorted({each["domains"] for each in raw["visits"]})]


def text(raw: Mapping[str, Any], plots: str | None = None) -> str:
    """Markdown; `plots` is the folder that links to the plots begin with."""
    tables = tables_of(raw)
    parts = [_state(raw), *_verdict(tables)]
    for table in tables:
        many = f"{table.domains} domain{'s' * (table.domains > 1)}"
        sections = {
            "warm": (f"Warm, {many}", _percentile_table(table.warm(), table.tails(), "p99 / median")),
            "cold": (
                f"The first request, {many}",
                _percentile_table(table.cold(), table.first_requests(), "requests"),
            ),
            "costs": (f"What it costs, {many}", _cost_table(table.costs())),
        }
        for kind, (title, body) in sections.items():
            parts.append(f"### {title}\n")
            if plots is not None:
                parts.append(f"![{title}]({plots}/percentiles_{kind}_{table.domains}.svg)\n")
            parts.append(body)
        parts += [
            f"{name}: {failed:,} of {requests:,} requests failed.\n"
            for name, (failed, requests) in table.failures().items()
        ]
    return "\n".join(parts)


def render(raw: Mapping[str, Any], readme: Path = README, plots: Path = PLOTS) -> None:
    """Put the tables between the marks in the README, and the plots beside it."""
    page = readme.read_text()
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{readme} has no place between {_BEGIN} and {_END}")
    plots.mkdir(exist_ok=True)
    for name, svg in pictures(raw):
        (plots / name).write_text(svg)
    readme.write_text(f"{before}{_BEGIN}\n\n{text(raw, plots.name)}\n{_END}{after}")


def pictures(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each plot's file name and its SVG."""
    columns = [str(row) for row in ROWS]
    for table in tables_of(raw):
        many = f"{table.domains} domain{'s' * (table.domains > 1)}"
        for kind, title, rows in (
            ("warm", f"A warm request, {many}, milliseconds", table.warm()),
            ("cold", f"The first request to a site without processes, {many}, milliseconds", table.cold()),
        ):
            if rows:
                svg = plot.lines(title, columns, rows, _styles(rows))
                yield f"percentiles_{kind}_{table.domains}.svg", svg
        panels = {name: row for name, row in table.costs().items() if name in _PANELS}
        yield (
            f"percentiles_costs_{table.domains}.svg",
            plot.bars(f"What it costs, {many}", panels, _styles(table.names)),
        )


_PANELS = ("requests/s", "CPU µs a request", "MiB a site")


def _styles(names: Mapping[str, Any] | Sequence[str]) -> dict[str, plot.Style]:
    """Ours is thick; its states differ in their dashes."""
    order = [kind.name for kind in SERVERS]
    styles, states = {}, iter(_DASHES)
    for name in names:
        server = next(one for one in sorted(order, key=len, reverse=True) if name.startswith(one))
        dashes = next(states) if name.startswith(f"{_OURS},") else "6 4" if server == _MANY else ""
        styles[name] = plot.Style(_COLORS[order.index(server)], 3.2 if server == _OURS else 1.8, dashes)
    return styles


def _percentile_table(rows: Mapping[str, Sequence[float]], last: Mapping[str, float], what: str) -> str:
    if not rows:
        return "None of them has a state without processes.\n"
    lines = [_row(["milliseconds", *rows]), _row([":---"] + ["---:"] * len(rows))]
    for number, row in enumerate(ROWS):
        name = "100 % (the slowest)" if row == 100 else f"{row} %"
        lines.append(_row([name, *(_milliseconds(values[number]) for values in rows.values())]))
    lines.append(_row([f"*{what}*", *(f"{last[name]:,.3g}" for name in rows)]))
    return "\n".join(lines) + "\n"


def _cost_table(costs: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(costs.values())))
    lines = [_row(["", *costs]), _row([":---"] + ["---:"] * len(costs))]
    for name in names:
        cells = [f"{row[name]:,.0f}" if row[name] >= 100 else f"{row[name]:.1f}" for row in costs.values()]
        lines.append(_row([name, *cells]))
    return "\n".join(lines) + "\n"


def _verdict(tables: Sequence[Table]) -> list[str]:
    """What was aimed at and what came out: ours beside the best of the others, or nothing where one is missing."""
    if not all(_OURS in table.names and len(table.names) > 1 for table in tables):
        return []
    lines = [_row(["", "aim", "this project", "the best of the others", ""]), _row([":---"] * 5)]
    for table in tables:
        at = f"{table.domains} domain{'s' * (table.domains > 1)}"
        lines.append(_aim(f"p99 over median, warm, {at}", "least", table.tails(), "", 1))
        slow = {name: row[ROWS.index(99)] for name, row in table.warm().items()}
        lines.append(_aim(f"p99, warm, {at}", "", slow, " ms", 2))
        tops = {name: row[0] for name, row in table.cold().items()}
        for state in [name for name in tops if name.startswith(_OURS)]:
            others = {name: value for name, value in tops.items() if not name.startswith(_OURS)}
            what = f"first request, median, {at}, {state.partition(', ')[2] or 'cold'}"
            if others:
                lines.append(_aim(what, "least", {_OURS: tops[state], **others}, " ms", 1))
        costs = table.costs()
        if _BARE in table.names:
            ours, bare = costs["requests/s"][_OURS], costs["requests/s"][_BARE]
            kept = "kept" if ours >= 0.97 * bare else f"**missed**: {100 * (1 - ours / bare):.0f} % less"
            cells = [f"{ours:,.0f}", f"{bare:,.0f} ({_BARE})", kept]
            lines.append(_row([f"requests/s, {at}", f"within 3 % of {_BARE}", *cells]))
        lines.append(_aim(f"memory a site, {at}", "least", costs["MiB a site"], " MiB", 1))
    return ["\n".join(lines) + "\n"]


def _aim(what: str, aim: str, values: Mapping[str, float], unit: str, digits: int) -> str:
    best = min((name for name in values if name != _OURS), key=values.__getitem__)
    times = values[_OURS] / values[best]
    kept = f"{times:.2f} times" if not aim else "kept" if times <= 1 else f"**missed**: {times:.2f} times"
    return _row([what, aim, f"{values[_OURS]:.{digits}f}{unit}", f"{values[best]:.{digits}f}{unit} ({best})", kept])


def _state(raw: Mapping[str, Any]) -> str:
    """What the numbers are of, in a sentence."""
    versions, machine, visits = raw["versions"], raw["machine"], raw["visits"]
    rounds = 1 + max(each["round"] for each in visits)
    loads = [each["load"] for each in visits]
    numbers = {name: found[0] for name, said in versions.items() if (found := re.findall(r"\d+[.\d]+\d", said))}
    names = ("apache2", "nginx", "uwsgi", "gunicorn", "mariadb", "python")
    packages = {
        name: said.partition(":")[2] or said for name, said in versions.items() if name.startswith("libapache2")
    }
    said = [f"{name} {numbers[name]}" for name in names] + [f"{name} {number}" for name, number in packages.items()]
    return (
        f"{rounds} round{'s' * (rounds > 1)}, {raw['effort']['requests']:,} requests of ab and"
        f" {raw['effort']['seconds']:g} s of wrk each; {', '.join(said)}; Linux {machine['kernel']},"
        f" {machine['cpus']} processors; the machine's load when a server's turn began was {min(loads):.1f} to"
        f" {max(loads):.1f}, what the turn before had left included.\n"
    )


def _milliseconds(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
