"""An attacker and a victim on one machine: two tenants of a real stack."""

from __future__ import annotations

import contextlib
import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack

HOSTILE = (Path(__file__).parent / "apps" / "hostile.py").read_text()
ATTACKER, VICTIM = "attacker.test", "victim.test"
SECRET = "the victim's own words"


class Tenants:
    """The stack with both sites; `attack` runs code as the attacker, `victim` as the victim."""

    def __init__(self, stack: LiveStack) -> None:
        self.stack = stack
        self.layout = stack.layout
        stack.site(ATTACKER, "Attacker", HOSTILE)
        stack.site(VICTIM, "Victim", HOSTILE, "--env", f"PASSWORD={SECRET}")
        for domain in (ATTACKER, VICTIM):
            self._run(domain, "result = os.getuid()")

    def attack(self, code: str, **values: Any) -> Any:
        """What `result` holds after the attacker ran the code, in which `values` are names."""
        return self._run(ATTACKER, code, values)

    def victim(self, code: str, **values: Any) -> Any:
        """The same, as the victim."""
        return self._run(VICTIM, code, values)

    def _run(self, domain: str, code: str, values: dict[str, Any] | None = None) -> Any:
        names = "".join(f"{name} = {value!r}\n" for name, value in (values or {}).items())
        body = (names + textwrap.dedent(code)).encode()
        reply = self.stack.request(domain, "/", "POST", body)
        assert reply.status == 200, reply.text + self.stack.log(domain)[-3000:] + self.stack.own_logs()
        return json.loads(reply.body)

    def pids(self, domain: str) -> list[int]:
        """All processes of a site."""
        return [int(pid) for pid in self.stack.status(domain)["pids"]]

    def master(self, domain: str) -> int:
        """The pid of a site's master: the one that is no child of another of its processes."""
        pids = self.pids(domain)
        (found,) = [pid for pid in pids if _parent(pid) not in pids]
        return found

    def emperor(self) -> int:
        """The Emperor's process: the parent of the masters."""
        return _parent(self.master(ATTACKER))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descriptors(pid: int) -> dict[int, str]:
    """What a process has open."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


@contextlib.contextmanager
def running_tenants() -> Iterator[Tenants]:
    """Both tenants awake, on a stack of their own."""
    with live_stack() as stack:
        yield Tenants(stack)


@pytest.fixture(scope="module")
def tenants() -> Iterator[Tenants]:
    """Both tenants awake, for all tests of a module."""
    with running_tenants() as both:
        yield both
