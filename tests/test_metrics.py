"""What a monitoring system is told: the numbers of a real stack, and what the dashboard in conf/ makes of them.

The pages run under the capabilities that their unit leaves them.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import live_stack
from tests.live import PATIENCE, LiveStack, free_port, wait_for
from tests.test_units import bounded
from tests.web_visitor import Visitor, new_token
from user_wsgi_wrapper.emperor_hook import tally
from user_wsgi_wrapper.emperor_hook.locks import locked
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.web.log_lines import LogLines
from user_wsgi_wrapper.web.metrics import STATES

CONF = Path(__file__).parents[1] / "conf"
APP = """\
import subprocess, sys
def application(environ, start_response):
    if environ["PATH_INFO"] == "/orphan":
        subprocess.run(["/bin/sh", "-c", "setsid sleep 3600 >/dev/null 2>&1 &"])
    print("a line", file=sys.stderr)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
Sample = tuple[str, tuple[tuple[str, str], ...]]


class Scraper:
    """A monitoring system, or somebody who poses as one."""

    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", "/metrics", headers=self.headers)
            with closing(connection.getresponse()) as response:
                return response.status, response.read().decode()

    def scrape(self) -> dict[Sample, float]:
        """Every sample by its name and labels, as Prometheus's own parser reads them."""
        status, text = self.ask()
        assert status == 200
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    with live_stack() as live:
        yield live


@pytest.fixture(scope="module")
def port(stack: LiveStack) -> Iterator[int]:
    number = free_port()
    argv = (sys.executable, "-m", "user_wsgi_wrapper", "--root", str(stack.root), "web", "--port", str(number))
    process = subprocess.Popen(
        bounded("user-wsgi-wrapper-web.service", *argv),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath},
    )

    def answers() -> bool:
        try:
            return Scraper(number).ask()[0] == 401
        except OSError:
            return False

    wait_for(answers, "the pages are up")
    yield number
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)


def test_the_numbers_are_those_of_the_stack(stack: LiveStack, port: int) -> None:
    scraper = Scraper(port, new_token(stack, "--metrics"))
    stack.site("runs.test", "Rita", APP)
    stack.site("broken.test", "Bob", "import nothing_there\n")
    stack.site("cold.test", "Carl", APP)
    before = scraper.scrape()
    assert before["user_wsgi_sites", (("state", "cold"),)] == 3
    assert before["user_wsgi_cold_start_seconds_count", ()] == 0
    assert stack.request("runs.test").status == 200
    assert stack.request("broken.test").status == 500
    stack.request("runs.test", "/orphan")
    stack.write("Rita", "wsgi.py", "def f(:\n")
    assert stack.run("reload", "runs.test").returncode == 1
    wait_for(lambda: "terminated" in stack.command("reap"), "the orphan is reaped")

    def is_told() -> dict[Sample, float] | None:
        now = scraper.scrape()
        return now if now["user_wsgi_site_events_total", (("event", "refused"),)] else None

    now = wait_for(is_told, "the refused reload is told of")
    assert {state: now["user_wsgi_sites", (("state", state),)] for state in STATES} == {
        **dict.fromkeys(STATES, 0),
        "cold": 1,
        "broken deploy": 1,
        "broken": 1,
    }
    assert now["user_wsgi_emperor_up", ()] == 1
    labels = (("domain", "runs.test"), ("user", "Rita"))
    assert now["user_wsgi_site_memory_bytes", labels] > 1 << 20
    assert now["user_wsgi_site_processes", labels] >= 2
    assert ("user_wsgi_site_memory_bytes", (("domain", "cold.test"), ("user", "Carl"))) not in now
    assert now["user_wsgi_cold_start_seconds_count", ()] == 2
    assert 0 < now["user_wsgi_cold_start_seconds_sum", ()] < 60
    assert now["user_wsgi_cold_start_seconds_bucket", (("le", "+Inf"),)] == 2
    assert now["user_wsgi_reaped_orphans_total", ()] >= 1
    assert now["user_wsgi_log_lines_total", (("kind", "access"),)] == 3
    assert now["user_wsgi_log_lines_total", (("kind", "error"),)] >= 3
    for (name, labels), value in before.items():
        if name.endswith("_total"):
            assert now[name, labels] >= value, name


def test_the_pages_do_all_they_do_with_the_capabilities_of_their_unit(stack: LiveStack, port: int) -> None:
    stack.site("unit.test", "Uma", APP)
    assert stack.request("unit.test").status == 200
    visitor = Visitor(stack, port=port)
    assert visitor.log_in(new_token(stack, "--site", "unit.test")).status == 303
    for page in ("/", "/sites/unit.test", "/sites/unit.test/errors", "/sites/unit.test/logs?kind=server"):
        assert visitor.get(page).status == 200
    fields = visitor.fields("/sites/unit.test/settings")
    assert visitor.post("/sites/unit.test/settings", {**fields, "env": "A=b"}).status == 303
    assert stack.request("unit.test").status == 200
    assert visitor.post("/sites/unit.test/reload", fields).status == 303
    outcome: dict[str, str] = wait_for(
        lambda: (told := json.loads(visitor.get("/sites/unit.test/reload").text))["state"] != "running" and told,
        "there is an outcome",
    )
    assert outcome["state"] == "done", outcome
    assert "reloaded in" in outcome["text"]


def test_nobody_is_told_without_a_token_for_it(stack: LiveStack, port: int) -> None:
    """Not from this machine's own addresses either: tenants' code has them, too."""
    stack.command("site", "add", "theirs.test", "--user", "Tina")
    for other in ("", "uww_wrong", new_token(stack, "--user", "Tina"), new_token(stack, "--site", "theirs.test")):
        status, text = Scraper(port, other).ask()
        assert status == 401
        assert "user_wsgi_" not in text
    assert Scraper(port, new_token(stack, "--operator")).ask()[0] == 200


def test_the_dashboard_shows_what_is_told_and_nothing_else(stack: LiveStack, port: int) -> None:
    """Each name in its queries is exported, each exported name is in one, each label is there."""
    splitter = stack.root / "run/log-splitter/counters.json"
    splitter.parent.mkdir(parents=True, exist_ok=True)
    lines = b"one.test|first\n" * 3 + b"two.test|x\n"
    (stack.root / "one.test").mkdir()
    argv = [Path(sys.executable).with_name("log-splitter"), "--directory", stack.root, "--counters", splitter]
    subprocess.run(argv, input=lines, check=True, stderr=subprocess.DEVNULL)
    assert json.loads(splitter.read_text())["written_lines"] == 4
    counters = {**json.loads(splitter.read_text()), "dropped": {"full": 7}}
    splitter.write_text(json.dumps(counters))

    def told() -> dict[Sample, float] | None:
        now = Scraper(port, token).scrape()
        return now if ("user_wsgi_splitter_lines_total", ()) in now else None

    token = new_token(stack, "--metrics")
    samples = wait_for(told, "log-splitter's counters are told")
    assert samples["user_wsgi_splitter_lines_total", ()] == 4
    assert samples["user_wsgi_splitter_dropped_lines_total", (("cause", "full"),)] == 7
    exported = {name for name, _ in samples}
    dashboard = json.loads((CONF / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = set(re.findall(r"\buser_wsgi_\w+", " ".join(queries)))
    assert used <= exported
    families = {re.sub("_(bucket|sum|count|created)$", "", name) for name in exported}
    assert families == {re.sub("_(bucket|sum|count)$", "", name) for name in used}
    known = {label for _, labels in samples for label, _ in labels}
    named = re.findall(r"\{(\w+)=", " ".join(queries))
    legends = " ".join(target["legendFormat"] for panel in dashboard["panels"] for target in panel["targets"])
    assert {*named, *re.findall(r"\{\{(\w+)\}\}", legends)} <= known
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_a_tally_adds_up_over_processes_and_never_raises(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    code = (
        "import pathlib, sys; from user_wsgi_wrapper.emperor_hook import tally, orphans\n"
        "for _ in range(50): tally.add(orphans.Layout(pathlib.Path(sys.argv[1])), {'x': 1, 'y': 0.5})"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [one.wait(PATIENCE) for one in running] == [0, 0, 0]
    assert tally.read(layout) == {"x": 150, "y": 75}
    tally.add_cold_start(layout, 0.07)
    tally.add_cold_start(layout, 1000)
    tally.add_cold_start(layout, 5, failed=True)
    sums = tally.read(layout)
    assert (sums["cold_starts"], sums["cold_starts_failed"]) == (2, 1)
    assert (sums["cold_start_seconds_0.1"], sums["cold_start_seconds_more"]) == (1, 1)
    layout.tally.write_text("[no tally]")
    tally.add(layout, {"x": 1})
    assert tally.read(layout) == {"x": 1}
    tally.add(Layout(Path("/dev/null")), {"x": 1})
    with locked(layout, "tally", "all"):  # as one that was stopped holds it
        began = time.monotonic()
        tally.add(layout, {"x": 1})
    assert time.monotonic() - began < 5
    assert tally.read(layout) == {"x": 1}


def test_log_lines_count_once_over_rotation_and_nothing_of_before(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    server, error = layout.log_file("a.test", "server"), layout.log_file("a.test", "error")
    server.parent.mkdir(parents=True)
    stamp = "2026-11-25 10:00:00,000 [-]"
    server.write_text(f"{stamp} site refused: old\n")
    error.write_text("old\n")
    logs = LogLines(layout)
    logs.look(["a.test"])
    assert logs.lines.total() == logs.events.total() == 0
    with server.open("a") as file:
        file.write(f"{stamp} site refused: new\n{stamp} - spawned uWSGI worker 1\n")
        file.write(f"{stamp} site killed: x\nsite refused: half")
    with error.open("a") as file:
        file.write(f"{stamp} 12 records were lost before this one: this log could not be written\n")
    logs.look(["a.test"])
    logs.look(["a.test"])
    assert (logs.lines["server"], logs.lines["error"], logs.lost) == (3, 1, 12)
    assert (logs.events["refused"], logs.events["killed"]) == (1, 1)
    with server.open("a") as file:
        file.write("\nlast of the old\n")
    server.rename(server.with_name(f"{server.name}.1"))
    server.write_text(f"{stamp} site started: first of the new\n")
    layout.log_file("new.test", "error").parent.mkdir()
    layout.log_file("new.test", "error").write_text("first\n")
    error.unlink()
    os.mkfifo(error)
    logs.look(["a.test", "new.test"])
    assert (logs.lines["server"], logs.lines["error"], logs.events["started"]) == (6, 2, 1)
