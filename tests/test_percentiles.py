"""bench/percentiles.py: every server hosts each domain's own application; what is measured is what was asked for."""

import os
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import psutil
import pytest

from bench import ab, percentile_tables, plot, wrk
from bench.servers import SERVERS, BareUwsgi, Passenger, ThisProject
from bench.servers.site import ask, make_sites
from bench.visit import Effort, visit
from tests.live import mounts_beneath, wait_for

ROOT = Path(__file__).parents[1]
HEAD = "Percentage served,Time in ms\n"


@pytest.fixture
def folder():
    """Not pytest's own: a unix socket's path is short, and the servers' accounts have to pass."""
    path = Path(f"/tmp/pc-{os.getpid()}")
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    yield path
    assert not mounts_beneath(path)
    subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)


def hosted(kind, folder, count=2):
    """A server that hosts, and its sites."""
    sites = make_sites(folder / "sites", count)
    own = folder / "own"
    own.mkdir()
    server = kind(own)
    server.prepare(sites)
    return server, sites


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
def test_each_domain_is_served_by_its_own_application_as_its_own_account(kind, folder):
    server, sites = hosted(kind, folder)
    try:
        server.start(sites)
        for site in sites:
            assert ask(server.port, site.domain) == (200, site.body)
        assert ask(server.port, "nobody.invalid")[0] != 200
        owners = {process.uids().real for process in server.alive(of_sites=True)}
        assert len(owners - {0, 33}) >= len(sites), "sites share an account"
        assert not any(process.uids().real == 0 for process in server.alive(of_sites=True))
        for site in sites:
            log = server.access_log(site)
            wait_for(lambda log=log: log.exists() and "GET /" in log.read_text(), f"{log} has a line")
        assert psutil.Process().pid not in {process.pid for process in server.processes()}
    finally:
        server.stop()
        left = server.processes()
        server.close()
    assert not left


@pytest.mark.parametrize("kind", [ThisProject, Passenger, BareUwsgi], ids=lambda kind: kind.name)
def test_a_visit_measures_every_quantity_and_no_request_fails(kind, folder, monkeypatch):
    monkeypatch.setattr("bench.servers.this_project.IDLE", 2)
    server, sites = hosted(kind, folder)
    try:
        seen = visit(server, sites, Effort(requests=40, seconds=1, firsts=1))
    finally:
        server.close()
    assert seen.failed == 0
    assert len(seen.warm) == 40 and min(seen.warm) > 0
    assert set(seen.cold) == set(kind.colds) and all(len(times) == 2 for times in seen.cold.values())
    # a start takes longer than an answer: these requests did find their sites without a process
    assert all(min(times) > min(seen.warm) for times in seen.cold.values())
    assert 1000 < seen.memory_of_sites < seen.memory
    assert seen.asked > 40 and 0.9 < seen.asking < 9 and seen.cpu > 0


@pytest.mark.parametrize("requests", [1, 7, 49, 100, 101, 250])
def test_what_ab_says_is_read_to_the_microsecond(requests, folder):
    """Below 50 requests its CSV ends with what lies beyond its array: none of that may be taken for a time."""
    server, sites = hosted(BareUwsgi, folder, count=1)
    try:
        server.start(sites)
        began = time.monotonic()
        served = ab.run(server.port, sites[0].domain, requests)
        took = 1000 * (time.monotonic() - began)
        missing = ab.run(server.port, "nobody.invalid", 3)
    finally:
        server.stop()
    assert (served.requests, served.failed) == (requests, 0)
    assert len(served.milliseconds) == min(requests, 101)
    assert list(served.milliseconds) == sorted(served.milliseconds)
    assert 0 < served.milliseconds[0] <= served.milliseconds[-1] < took
    assert missing.failed == 3


@pytest.mark.parametrize(
    ("report", "table"),
    [
        ("", ""),
        ("Complete requests: 1\nFailed requests: 0\n", HEAD),
        ("Complete requests: 1\nFailed requests: 0\n", "a,b\n" + "".join(f"{row},1.0\n" for row in range(101))),
        ("nothing\n", HEAD + "".join(f"{row},1.0\n" for row in range(101))),
    ],
)
def test_what_is_not_abs_is_refused(report, table):
    with pytest.raises(ab.NotAbError):
        ab.read(report, table)


def test_percentiles_are_those_that_ab_would_print():
    assert ab.percentiles(range(100)) == [50, 66, 75, 80, 90, 95, 98, 99, 99]
    assert ab.percentiles([3.0]) == [3.0] * 9
    assert ab.percentiles([*range(101), *range(101)]) == [50, 66, 75, 80, 90, 95, 98, 99, 100]


def test_wrks_result_is_read_and_nothing_else_is():
    assert wrk.read("Running…\nBENCH 1200 2000000 3\n") == wrk.Throughput(1200, 2.0, 3)
    with pytest.raises(wrk.NotWrkError):
        wrk.read("unable to connect to 127.0.0.1\n")


def raw_numbers():
    visits = [
        {
            "round": number, "server": kind.name, "domains": domains, "load": 0.1, "start": 1.0 + place,
            "cold": {state: [30.0 * (1 + place), 90.0] for state in kind.colds},
            "warm": [0.1 + 0.01 * place * percent for percent in range(1, 101)], "requests": 300,
            "failed": place == 3,
            "memory_of_sites": 8192.0 * domains, "memory": 9000.0 * domains, "asked": 1000 * (9 - place),
            "asking": 1.0, "cpu": 1.0,
        }
        for number in range(2) for domains in (1, 20) for place, kind in enumerate(SERVERS)
    ]  # fmt: skip
    versions = dict.fromkeys(("apache2", "nginx", "uwsgi", "gunicorn", "mariadb", "python"), "x 1.2.3")
    machine = {"kernel": "6.1", "cpus": 2}
    return {"visits": visits, "versions": versions, "machine": machine, "effort": {"requests": 100, "seconds": 1.0}}


def test_rendering_replaces_what_stands_between_the_marks_alone(tmp_path):
    readme, plots = tmp_path / "README.md", tmp_path / "plots"
    readme.write_text("before\n<!-- percentiles: begin -->whatever stood here<!-- percentiles: end -->\nafter\n")
    for _ in range(2):
        percentile_tables.render(raw_numbers(), readme, plots)
    page = readme.read_text()
    assert page.startswith("before\n") and page.endswith("\nafter\n") and "whatever" not in page
    assert page.count("### Warm, 1 domain\n") == page.count("### The first request, 20 domains\n") == 1
    assert "mod_wsgi daemon: 2 of 600 requests failed." in page
    for picture in plots.iterdir():
        assert f"(plots/{picture.name})" in page
        ElementTree.parse(picture)
    assert len(list(plots.iterdir())) == 6
    readme.write_text("no marks\n")
    with pytest.raises(SystemExit, match="has no place"):
        percentile_tables.render(raw_numbers(), readme, plots)


def test_a_loss_is_called_one():
    """Ours is made the fastest above; now it is made the slowest."""
    raw = raw_numbers()
    assert "requests/s, 1 domain | within 3 % of uWSGI behind nginx | 9,000 | 8,000 (uWSGI behind nginx) | kept" in (
        percentile_tables.text(raw)
    )
    for each in raw["visits"]:
        if each["server"] == ThisProject.name:
            each["asked"] = 4000
    assert "4,000 | 8,000 (uWSGI behind nginx) | **missed**: 50 % less" in percentile_tables.text(raw)


def test_lines_that_end_together_keep_their_names_apart():
    rows = {f"line {number}": [1.0, 2.0] for number in range(8)}
    root = ElementTree.fromstring(plot.lines("t", ["50", "100"], rows, {n: plot.Style("#000000") for n in rows}))
    places = sorted(float(one.get("y")) for one in root.iter() if (one.text or "").startswith("line "))
    assert all(below - above > 12 for above, below in zip(places, places[1:]))
