"""Which living processes are a site's, and what they show it to be."""

import subprocess
import sys
import time

import psutil
import pytest

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import processes, vassal
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

UID, STRANGER = 1_900_001, 1_900_002
# Sets the title as uWSGI does: by writing over its arguments.
SLEEPER = "import sys, time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def start():
    """Start a process that has a title and a uid; none outlives its test."""
    started = []

    def run(title, uid=UID):
        words = title.split(" ")
        process = subprocess.Popen(
            [words[0], "-c", SLEEPER, *words[1:]], executable="/usr/bin/python3", stdout=subprocess.PIPE,
            user=uid, group=uid, extra_groups=[], cwd="/",
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def status(layout, domain="mine.test"):
    return processes.status(layout, Site(domain, "Alice"), UID, processes.by_title())


def test_a_sites_processes_are_those_of_its_title_and_its_uid(start, layout):
    """Another site's, another tenant's under the same title, and names that only begin alike, are not."""
    own = [start("mine.test uWSGI master"), start("mine.test uWSGI worker 1")]
    start("other.test uWSGI master")
    start("mine.test.example uWSGI master")
    start("mine.test uWSGI master", STRANGER)
    vassal.write(layout, "mine.test", "x")
    found = status(layout)
    assert found.pids == tuple(sorted(process.pid for process in own))
    assert (found.state, found.domain, found.username) == ("running", "mine.test", "Alice")
    assert found.memory == pytest.approx(sum(psutil.Process(pid).memory_info().rss for pid in found.pids), rel=0.2)
    assert {process.pid for process in processes.of_site("mine.test", UID)} == set(found.pids)


def test_a_site_that_was_never_asked_for_is_cold(layout):
    """It has no vassal."""
    assert status(layout) == processes.Status("mine.test", "Alice", "cold", (), 0)


def test_a_site_with_a_vassal_and_no_process_is_idle(layout):
    vassal.write(layout, "mine.test", "x")
    assert status(layout).state == "idle"


def test_a_site_whose_worker_says_so_is_broken(start, layout):
    """Only at the title's end, and only the tenant's own: nobody calls another's site broken."""
    vassal.write(layout, "mine.test", "x")
    start("mine.test uWSGI worker 1")
    start("mine.test uWSGI worker 1 broken", STRANGER)
    assert status(layout).state == "running"
    start("mine.test uWSGI worker 2 broken")
    assert status(layout).state == "broken"


def test_a_process_that_ends_while_it_is_looked_at_is_no_error(start, layout):
    """Dead and waited for, or dead and not: neither has memory, a title or a state."""
    vassal.write(layout, "mine.test", "x")
    gone, zombie = start("mine.test uWSGI worker 1"), start("mine.test uWSGI worker 2")
    titles = processes.by_title()
    gone.kill()
    gone.wait()
    zombie.kill()
    wait_for(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE, "a zombie", 10)
    found = processes.status(layout, Site("mine.test", "Alice"), UID, titles)
    assert found.memory == 0
    assert gone.pid not in found.pids
    assert status(layout).state == "idle"


def test_looking_is_quick(layout):
    """One pass over the machine's processes serves any number of sites."""
    titles = processes.by_title()
    began = time.monotonic()
    for number in range(1000):
        processes.status(layout, Site(f"site{number}.test", "Alice"), UID, titles)
    assert time.monotonic() - began < 1
    assert any(process.pid == psutil.Process().pid for found in titles.values() for process in found), sys.argv
