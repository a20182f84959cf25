"""conf/shipping: the real rsyslog reads sites' logs and sends them on, through rotation and its own restarts."""

from __future__ import annotations

import collections
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack, free_port, wait_for
from tests.test_rotation import Rotation, have_nginx_look_each_second

CONF = Path(__file__).parents[1] / "conf/shipping/rsyslog.conf"
APP = """\
import logging, sys
def application(environ, start_response):
    number = environ["QUERY_STRING"]
    print("out", number)
    print("err", number, file=sys.stderr)
    if environ["PATH_INFO"] == "/raise":
        raise ValueError(f"quotes \\" and \\\\ and a line\\nmore of {number}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
JSON, TEXT = "json.test", "text.test"


class Collector:
    """Whoever the logs are sent to: `got` are the objects that have come."""

    def __init__(self) -> None:
        self.port = free_port()
        self.got: list[dict[str, Any]] = []
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self._readers: list[threading.Thread] = []

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            reader = threading.Thread(target=self._read, args=(connection,))
            reader.start()
            self._readers.append(reader)

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                self.got.append(json.loads(line))

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in (self._thread, *self._readers):
            thread.join(10)

    def of(self, site: str, log: str) -> list[Any]:
        """What a site's log has sent, records or lines."""
        return [one.get("record", one.get("text")) for one in self.got if (one["site"], one["log"]) == (site, log)]


class Rsyslog:
    """rsyslogd in the foreground with the example, and a folder of its own for what it remembers."""

    def __init__(self, stack: LiveStack, port: int) -> None:
        self._folder = stack.root / "rsyslog"
        self._folder.mkdir()
        text = CONF.read_text().replace("/var/log/nginx/user_logs", str(stack.layout.user_logs_dir))
        text = text.replace("LOGHOST", "127.0.0.1").replace("5140", str(port))
        self._conf = self._folder / "rsyslog.conf"
        self._conf.write_text(f'global(workDirectory="{self._folder}")\n{text}')
        self.process: subprocess.Popen[bytes] | None = None
        done = subprocess.run(
            ["/usr/sbin/rsyslogd", "-N1", "-f", self._conf], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        command = ["/usr/sbin/rsyslogd", "-n", "-f", self._conf, "-i", self._folder / "pid"]
        with (self._folder / "output").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        said = (self._folder / "output").read_text()
        assert "error" not in said.lower(), said


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """A site that logs JSON, and one that logs text."""
    with live_stack() as live:
        live.site(JSON, "Jason", APP, "--log-format", "json")
        live.site(TEXT, "Tex", APP)
        have_nginx_look_each_second(live)
        yield live


def test_every_line_arrives_through_rotation_and_a_restart(stack: LiveStack) -> None:
    """JSON records as objects, all else as text, each under the site whose file it stood in."""
    rotation, collector = Rotation(stack), Collector()
    rsyslog = Rsyslog(stack, collector.port)
    numbers = iter(range(1, 10_000))
    asked: dict[str, list[int]] = {JSON: [], TEXT: []}
    failed = {JSON: [0], TEXT: []}

    def visit(count: int) -> None:
        for number in (next(numbers) for _ in range(count)):
            for site, done in asked.items():
                assert stack.request(site, f"/?{number}").status == 200
                done.append(number)

    rsyslog.start()
    try:
        visit(20)
        wait_for(lambda: len(collector.of(TEXT, "access")) >= 20, "the first lines arrive", 10)
        for _ in range(2):
            visit(20)
            rotation.run("--force")
            visit(20)  # nginx still writes to the file that was rotated
            time.sleep(1.5)
        rsyslog.stop()
        visit(20)
        rsyslog.start()
        assert stack.request(JSON, "/raise?0").status == 500
        visit(1)
        forged = stack.layout.log_file(TEXT, "error")
        with forged.open("a") as file:
            file.write(json.dumps({"domain": JSON, "site": JSON, "log": "access", "message": "forged"}) + "\n")
            file.write('\x1b[31m no "JSON" {\n' + "\x01" * 200_000 + "\n")
        wait_for(lambda: len(collector.of(JSON, "error")) > len(asked[JSON]), "the last lines arrive", 10)
        wait_for(lambda: any('no "JSON"' in one for one in collector.of(TEXT, "error")), "the forged ones", 10)
        wait_for(lambda: any("\x01\x01" in one for one in collector.of(TEXT, "error")), "the long one", 10)
    finally:
        rsyslog.stop()
        collector.close()
    records = collector.of(JSON, "error")
    for site, done in asked.items():
        arrived_well(r"GET /\?(\d+) HTTP", collector.of(site, "access"), done)
        arrived_well(r"^out (\d+)$", collector.of(site, "server"), [*done, *failed[site]])
    arrived_well(r"^err (\d+)$", [one["message"] for one in records], [*asked[JSON], 0])
    arrived_well(r"\] err (\d+)$", collector.of(TEXT, "error"), asked[TEXT])
    (failure,) = [one for one in records if one["level"] == "ERROR"]
    assert (failure["domain"], failure["path"]) == (JSON, "/raise")
    assert 'ValueError: quotes " and \\ and a line\nmore of 0' in failure["exc_info"]
    assert not any("forged" in str(one) for one in collector.of(JSON, "access"))
    assert any(isinstance(one, dict) and one["message"] == "forged" for one in collector.of(TEXT, "error"))


def arrived_well(pattern: str, lines: list[Any], expected: list[int]) -> None:
    """Each number stands in a line that is text; few do in two: those of the moment of a rotation."""
    found = (re.search(pattern, line) for line in lines if isinstance(line, str))
    counted = collections.Counter(int(match[1]) for match in found if match)
    assert sorted(counted) == sorted(expected), pattern
    assert max(counted.values()) <= 2
    assert counted.total() - len(expected) <= 40, f"{pattern}: twice {counted.most_common(50)}"
