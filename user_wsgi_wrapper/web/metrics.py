"""What a monitoring system is told, in Prometheus's text format.

Every number is looked up when it is asked for: states and memory of the processes that there are, cold starts and
reaped orphans of the tally, lines and events of the logs as they grow, log-splitter's of the file it reports to.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from user_wsgi_wrapper import __version__
from user_wsgi_wrapper.emperor_hook import processes, reaper, tally
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.web.log_lines import LogLines

Values = Mapping[tuple[str, ...], float]  # by the labels' values
STATES = ("cold", "idle", "running", "broken", "broken deploy", "idle, broken deploy")
_FRESH = 4.0  # seconds that an answer is good for, however often it is asked for
_LONGEST = 1 << 20  # bytes of log-splitter's report


class Metrics:
    """The whole answer."""

    def __init__(self, machine: Machine) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(MachineCollector(machine))
        self._lock = threading.Lock()
        self._answer: tuple[float, bytes] = (float("-inf"), b"")

    def render(self) -> tuple[bytes, str]:
        """The text and its Content-Type. Raises RegistryDownError."""
        with self._lock:
            when, text = self._answer
            if time.monotonic() - when > _FRESH:
                text = generate_latest(self._registry)
                self._answer = time.monotonic(), text
            return text, CONTENT_TYPE_PLAIN_0_0_4


class MachineCollector(Collector):
    """Looks everything up anew at each call of collect()."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._logs = LogLines(machine.layout)

    def describe(self) -> Iterator[Metric]:
        """Nothing is asked of the machine before the first scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics; raises RegistryDownError."""
        yield _gauge("user_wsgi_build_info", "1, with the version as a label.", ["version"], {(__version__,): 1})
        yield from self._sites()
        yield from self._tally()
        yield from self._log_metrics()
        yield from _splitter(self._machine.layout.root / self._machine.config.web.splitter_counters.lstrip("/"))

    def _sites(self) -> Iterator[Metric]:
        registry, layout = self._machine.registry, self._machine.layout
        uids = {one.username: one.uid for one in registry.identities()}
        titles = processes.by_title()
        states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        memory: dict[tuple[str, ...], float] = {}
        number: dict[tuple[str, ...], float] = {}
        domains = []
        for site in registry.sites():
            domains.append(site.domain)
            status = processes.status(layout, site, uids.get(site.username, -1), titles)
            states[status.state] += 1
            if status.pids:
                memory[site.domain, site.username] = status.memory
                number[site.domain, site.username] = len(status.pids)
        self._logs.look(domains)
        yield _gauge(
            "user_wsgi_sites", "Sites by their state, as `status` tells it.", ["state"], _with_one_label(states)
        )
        labels = ["domain", "user"]
        yield _gauge("user_wsgi_site_memory_bytes", "Resident memory of a site's processes.", labels, memory)
        yield _gauge("user_wsgi_site_processes", "Processes of a site.", labels, number)
        yield _gauge(
            "user_wsgi_emperor_up", "Whether an Emperor runs.", [], {(): len(reaper.emperor_pids(layout)) > 0}
        )

    def _tally(self) -> Iterator[Metric]:
        sums = tally.read(self._machine.layout)
        buckets, total = [], 0.0
        for bound in (*tally.BOUNDS, "more"):
            total += sums.get(f"{tally.SECONDS}_{bound}", 0)
            buckets.append(("+Inf" if bound == "more" else str(bound), total))
        name, text = "user_wsgi_cold_start_seconds", "From a cold site's first request to a worker's answer."
        yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=sums.get(tally.SECONDS, 0))
        yield _counter(
            "user_wsgi_cold_starts_failed", "Cold sites no worker of which answered in time.", [],
            {(): sums.get(tally.FAILED_STARTS, 0)},
        )  # fmt: skip
        yield _counter(
            "user_wsgi_reaped_orphans", "Processes of tenants that no Emperor owned, ended.", [],
            {(): sums.get(tally.REAPED, 0)},
        )  # fmt: skip

    def _log_metrics(self) -> Iterator[Metric]:
        logs = self._logs
        yield _counter(
            "user_wsgi_log_lines", "Lines that the sites' logs got.", ["kind"], _with_one_label(logs.lines)
        )
        yield _counter("user_wsgi_log_records_lost", "Records that error logs say they lost.", [], {(): logs.lost})
        events = _with_one_label(logs.events)
        yield _counter(
            "user_wsgi_site_events", "What server logs tell of sites; refused: a reload whose code can't be loaded.",
            ["event"], events,
        )  # fmt: skip


def _splitter(path: Path) -> Iterator[Metric]:
    """What log-splitter last reported with --counters; nothing, if it doesn't run here."""
    try:
        with path.open("rb") as file:
            counters = json.loads(file.read(_LONGEST))
        written = int(counters["written_lines"])
        dropped: Values = {(str(cause),): int(lines) for cause, lines in counters["dropped"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return
    yield _counter("user_wsgi_splitter_lines", "Access lines that log-splitter wrote.", [], {(): written})
    yield _counter("user_wsgi_splitter_dropped_lines", "Access lines that it could not keep.", ["cause"], dropped)


def _with_one_label(numbers: Counter[str]) -> Values:
    return {(name,): number for name, number in numbers.items()}


def _gauge(name: str, text: str, labels: list[str], values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), float(value))
    return family


def _counter(name: str, text: str, labels: list[str], values: Values) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), float(value))
    return family
