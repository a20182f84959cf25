"""Two machines behind one nginx, as in conf/several-machines: a network namespace each, one registry, one storage."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.databases import PostgreSQL
from tests.live import LiveStack, free_port, wait_for

CONF = Path(__file__).parents[1] / "conf/several-machines/nginx.conf"
DOMAINS = [f"site{number}.test" for number in range(6)]
VISITORS = 3
GOOD = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REMOTE_ADDR"].encode()]
"""
NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {conf}
}}
"""


def ip(*arguments: str, within: Sequence[str] = ()) -> None:
    subprocess.run([*within, "ip", *arguments], check=True)


class Machine(LiveStack):
    """A stack in a network namespace of its own, reachable from here over a wire."""

    def __init__(self, number: int, registry: str) -> None:
        root = Path(tempfile.mkdtemp(prefix="uww-"))
        root.chmod(0o755)
        self.namespace = f"uww-{os.getpid()}-{number}"
        # not `ip -n`: that wants / to be a mount point
        self.within = ("/usr/bin/nsenter", f"--net=/run/netns/{self.namespace}")
        self.wire = f"uww{os.getpid() % 100_000}.{number}"
        net = f"10.{os.getpid() >> 8 & 255}.{os.getpid() & 255}."
        self.address, here = f"{net}{4 * number + 2}", f"{net}{4 * number + 1}"
        super().__init__(
            root,
            f'[registry]\nurl = "{registry}"\n'
            f'[front]\nlisten = ["{self.address}:8080"]\nreal_ip_from = ["{here}/32"]\n',
        )
        ip("netns", "add", self.namespace)
        ip("link", "add", self.wire, "type", "veth", "peer", "name", "front", "netns", self.namespace)
        ip("addr", "add", f"{here}/30", "dev", self.wire)
        ip("link", "set", self.wire, "up")
        for arguments in (("addr", "add", f"{self.address}/30", "dev", "front"), ("link", "set", "front", "up")):
            ip(*arguments, within=self.within)

    def up(self) -> list[str]:
        command = [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(self.root), "up"]
        return [*self.within, *command]

    def unplug(self) -> None:
        """Nobody hears of it any more, and nobody is told."""
        ip("link", "set", "front", "down", within=self.within)

    def plug_in(self) -> None:
        ip("link", "set", "front", "up", within=self.within)

    def served(self) -> dict[str, int]:
        """How many requests it has answered, by domain."""
        paths = {domain: self.layout.log_file(domain, "access") for domain in DOMAINS}
        return {domain: len(path.read_text().splitlines()) if path.exists() else 0 for domain, path in paths.items()}

    def remove(self) -> None:
        ip("netns", "delete", self.namespace)


class Front:
    """The nginx in front of both, with the configuration that is copied by operators."""

    def __init__(self, machines: list[Machine]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="uww-front-"))
        self.port = free_port()
        text = CONF.read_text().replace("listen 80 ", f"listen 127.0.0.1:{self.port} ")
        for number, machine in enumerate(machines, 1):
            text, changes = re.subn(rf"(server )10\.0\.0\.{number}:", rf"\g<1>{machine.address}:", text)
            assert changes == 1
        (self.folder / "nginx.conf").write_text(NGINX.format(folder=self.folder, conf=text))
        command = ["/usr/sbin/nginx", "-e", str(self.folder / "nginx.errors"), "-c", str(self.folder / "nginx.conf")]
        self.process = subprocess.Popen(command)
        wait_for((self.folder / "nginx.pid").exists, "the front runs")

    def ask(self, domain: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/", headers={"Host": domain, "X-Forwarded-For": "192.0.2.66"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    with PostgreSQL() as server:
        url = server.new_url()
        machines = [Machine(number, url) for number in range(2)]
        shared = machines[0].layout.storage_dir
        shared.mkdir(parents=True)
        machines[1].layout.storage_dir.mkdir(parents=True)
        subprocess.run(["mount", "--bind", shared, machines[1].layout.storage_dir], check=True)
        try:
            for machine in machines:
                machine.start()
            for domain in DOMAINS:
                machines[0].site(domain, f"u{domain[4]}", GOOD)
            yield machines
        finally:
            for machine in machines:
                if machine.process is not None:
                    machine.stop()
            subprocess.run(["umount", machines[1].layout.storage_dir], check=True)
            for machine in machines:
                machine.close()
                machine.remove()


@pytest.fixture
def front(machines: list[Machine]) -> Iterator[Front]:
    front = Front(machines)
    yield front
    front.close()


class Visitors:
    """Each asks for all sites in turns until `stop`. `asked` is how often, `failed` are the answers but 200."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._enough = threading.Event()
        self.asked = 0
        self.failed: list[tuple[int, str]] = []
        self._pool = ThreadPoolExecutor(VISITORS)
        self._all = [self._pool.submit(self._visit, first) for first in range(VISITORS)]

    def _visit(self, number: int) -> None:
        while not self._enough.is_set():
            number += 1
            answer = self._front.ask(DOMAINS[number % len(DOMAINS)])
            self.asked += 1
            if answer[0] != 200:
                self.failed.append(answer)

    def stop(self) -> None:
        self._enough.set()
        for one in self._all:
            one.result()


def test_a_site_has_its_machine_and_moves_when_that_stops(machines: list[Machine], front: Front) -> None:
    for domain in DOMAINS:
        assert front.ask(domain) == (200, "127.0.0.1"), "the visitor's own address, whatever he says"
    homes = {domain: machines[0] if machines[0].served()[domain] else machines[1] for domain in DOMAINS}
    assert all(sum(bool(machine.served()[domain]) for machine in machines) == 1 for domain in DOMAINS)
    assert len(set(homes.values())) == 2, "both have sites"
    visitors = Visitors(front)
    wait_for(lambda: visitors.asked > 100, "they are under way")
    machines[0].stop()
    asked = visitors.asked
    wait_for(lambda: visitors.asked > asked + 100, "they go on")
    visitors.stop()
    assert len(visitors.failed) <= VISITORS, "at most those in flight"
    assert all(machines[1].served().values()), "the other machine serves all of them"
    machines[0].start()
    before = machines[0].served()
    moved = [domain for domain in DOMAINS if homes[domain] is machines[0]]
    wait_for(
        lambda: all(
            front.ask(domain)[0] == 200 and machines[0].served()[domain] > before[domain] for domain in moved
        ),
        "they are back home",
    )


def test_a_machine_that_vanishes_without_a_word_costs_a_second(machines: list[Machine], front: Front) -> None:
    for domain in DOMAINS:
        assert front.ask(domain)[0] == 200
    machines[0].unplug()
    try:
        began = time.monotonic()
        for domain in DOMAINS:
            assert front.ask(domain)[0] == 200
        assert time.monotonic() - began < 30
    finally:
        machines[0].plug_in()
