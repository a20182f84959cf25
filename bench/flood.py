"""Known sites while domains that nobody has are asked for by the thousand a second."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.many_sites import ManySites
from bench.turns import table, turns
from tests.live import free_port, wait_for

SCRIPT = Path(__file__).with_name("paced.lua")
RATE = 5000  # requests a second of the flood
KNOWN = 8  # sites that go on meanwhile
SECONDS = 8  # of one measurement
# whoever floods comes from many addresses: the stack takes 127.0.0.1 for a load balancer
_BEHIND_A_BALANCER = '[front]\nreal_ip_from = ["127.0.0.1/32"]\n'
_FLOOR = """\
daemon off;
worker_processes auto;
pid {folder}/pid;
error_log {folder}/log;
events {{}}
http {{
    access_log off;
    server {{ listen 127.0.0.1:{port}; return 404; }}
}}
"""
Answer = dict[str, float]


class Floor:
    """An nginx that says 404 to everything: a flood of it costs what no server can avoid, its client included."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="uww-floor-"))
        self.port = free_port()
        configuration = self.folder / "nginx.conf"
        configuration.write_text(_FLOOR.format(folder=self.folder, port=self.port))
        command = ["/usr/sbin/nginx", "-e", str(self.folder / "log"), "-c", str(configuration)]
        self._process = subprocess.Popen(command)
        wait_for((self.folder / "pid").exists, "nginx runs")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.folder)


class Flood:
    """A stack with known sites; `floods` is what each flood came to."""

    def __init__(self) -> None:
        self.floor = Floor()
        self.many = ManySites(KNOWN + 400, configuration=_BEHIND_A_BALANCER)
        self.many.start()
        for domain in self.many.never_seen(KNOWN):
            self.many.ask(domain)
        self.floods: list[Answer] = []
        self.ports = {"quiet": 0, "flood of a bare nginx": self.floor.port, "flood": self.many.stack.port}

    def steady(self) -> Answer:
        """About 1,000 requests a second to the known sites, eight connections."""
        return _result(self._wrk(self.many.stack.port, 8, 8, "site", KNOWN, SECONDS, "0"))

    def hard(self) -> Answer:
        """As fast as they answer, four connections."""
        return _result(self._wrk(self.many.stack.port, 4, 0, "site", KNOWN, SECONDS, "0"))

    def cold(self) -> Answer:
        """The first visitors of sites that were never seen, one after another."""
        times = [self.many.first_request() for _ in range(10)]
        return {"p50": statistics.median(times), "most": max(times)}

    def beside(self, name: str, ask: Callable[[], Answer]) -> Answer:
        """The answer of `ask` while the flood of that name is on."""
        if not self.ports[name]:
            return ask()
        # each connection waits 20 ms after an answer
        process = self._wrk(self.ports[name], RATE // 50, 20, f"nobody{len(self.floods)}", 0, SECONDS + 4, "1")
        time.sleep(2)  # the burst that is let through is over
        answer = ask()
        self.floods.append(_result(process))
        return answer

    @staticmethod
    def _wrk(port: int, *arguments: object) -> subprocess.Popen[str]:
        connections, pause, host, hosts, seconds, spread = map(str, arguments)
        words = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
        command = ["wrk", *words, f"http://127.0.0.1:{port}/", "--", pause, host, hosts, spread]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def left(self) -> str:
        """What all the names that were made up have left."""
        layout = self.many.stack.layout
        size = sum(path.stat().st_size for path in layout.own_logs_dir.iterdir())
        return f"{size / 2**20:.1f} MiB of the stack's own logs, {len(list(layout.locks_dir.iterdir()))} lock files"

    def close(self) -> None:
        self.floor.close()
        self.many.close()


def _result(process: subprocess.Popen[str]) -> Answer:
    output, _ = process.communicate(timeout=120)
    return dict(json.loads(output.splitlines()[-1]))


def measure(rounds: int) -> dict[str, object]:
    """Prints the tables of known sites without and with the floods; gives all that was measured."""
    kept: dict[str, list[Answer]] = {}
    flood = Flood()
    try:
        for title, ask, field, unit, factor in (
            ("steady", flood.steady, "p50", "p50, ms", 1000.0),
            ("as fast as can be", flood.hard, "requests", "requests a second", 1 / SECONDS),
            ("first requests", flood.cold, "p50", "p50, ms", 1000.0),
        ):

            def row(name: str, title: str, ask: Callable[[], Answer], field: str, factor: float) -> float:
                answer = flood.beside(name, ask)
                kept.setdefault(f"{title}, {name}", []).append(answer)
                return factor * answer[field]

            rows = {name: partial(row, name, title, ask, field, factor) for name in flood.ports}
            print(table(title, unit, turns(rows, rounds, title), "quiet", 2))
            for name in rows:
                print(f"{name}: {_tail(kept[f'{title}, {name}'])}")
            print()
        rate = statistics.median(one["requests"] / one["seconds"] for one in flood.floods)
        seconds = sum(one["seconds"] for one in flood.floods)
        print(f"{len(flood.floods)} floods of {rate:,.0f} requests a second, {seconds:.0f} s in all")
        print(f"left by them: {flood.left()}")
    finally:
        flood.close()
    return {"known": kept, "floods": flood.floods}


def _tail(answers: list[Answer]) -> str:
    """The medians of what says more about a tail."""
    names = [name for name in ("p99", "most") if name in answers[0]]
    return ", ".join(f"{name} {1000 * statistics.median(one[name] for one in answers):.1f} ms" for name in names)
