"""Does a worker's memory stay flat, however many requests it serves and however they end?

    python bench/memory_flat.py [--requests N] [--threads N]

Real uWSGI; requests of every kind in turns: a list, a generator, an object with close(), write(), an unfinished line,
an exception in the call and one in the body. Anonymous memory after each tenth of them.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bare_uwsgi import APPS, BareUwsgi, packet, read

KINDS = ("list", "generator", "object", "writes", "prints", "raises", "iteration")
CLIENTS = 4


def measure(requests: int, threads: int = 1) -> list[int]:
    """The worker's anonymous memory in KiB after each tenth of the requests, the first tenth left out as warm-up."""
    found = []
    with BareUwsgi(APPS / "every_way", threads) as server:
        for _ in range(10):
            _ask(server, requests // 10)
            found.append(_anonymous(server))
            os.truncate(server.error_log, 0)
        if server.server_log.read_text().count("spawned uWSGI worker") != 1:
            raise RuntimeError("a worker died")
    return found[1:]


def _ask(server: BareUwsgi, count: int) -> None:
    packets = [packet("/" + "x" * 200 + "?" + kind) for kind in KINDS]

    def client() -> None:
        for number in range(count // CLIENTS):
            with server.connect() as connection:
                connection.sendall(packets[number % len(packets)])
                read(connection)

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()


def _anonymous(server: BareUwsgi) -> int:
    pid = re.findall(r"WSGI app 0 .* pid: (\d+)", server.server_log.read_text())[-1]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    found = measure(arguments.requests, arguments.threads)
    print(f"{arguments.requests} requests, {arguments.threads} threads")
    print("KiB after 20 %, 30 %, … 100 %:", *found)
    print(
        "growth from the first to the last, bytes a request:",
        (found[-1] - found[0]) * 1024 / (0.8 * arguments.requests),
    )


if __name__ == "__main__":
    main()
