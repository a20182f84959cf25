"""A warm-up or a removal that is killed before any of its steps: whoever comes next finds all that is needed."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack, mounts_beneath
from tests.test_chroot import before_changes, killed
from user_wsgi_wrapper.emperor_hook import cgroups, sites, spinup
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError, open_registry
from user_wsgi_wrapper.emperor_hook.spinup import Machine

GOOD = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
_numbers = itertools.count()


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """One stack for all of them."""
    with live_stack() as live:
        yield live


@pytest.fixture(scope="module")
def machine(stack: LiveStack) -> Machine:
    """What initialize works with, in this process."""
    config = configuration.load(stack.layout, None)
    return Machine(stack.layout, config, open_registry(config, stack.layout))


def add(machine: Machine, stack: LiveStack, user: str) -> str:
    """A new site of a tenant's."""
    domain = f"cut{next(_numbers)}.test"
    sites.add(machine, machine.config.sites.site(domain, user))
    if not (stack.layout.www(user) / "wsgi.py").exists():
        stack.write(user, "wsgi.py", GOOD)
    return domain


def before_writes(act: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have act(name) called before each change of a chroot, each write and each renaming."""

    def write(descriptor: int, data: bytes) -> int:
        act("write")
        return real_write(descriptor, data)

    def replace(source: str, target: str) -> None:
        act("replace")
        real_replace(source, target)

    real_write, real_replace = os.write, os.replace
    before_changes(act, monkeypatch)
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "replace", replace)


class Watcher:
    """Reads every vassal again and again, as the Emperor may at any moment."""

    def __init__(self, stack: LiveStack) -> None:
        self.folder, self.seen, self._stop = stack.layout.vassals_dir, set[tuple[str, str]](), False
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop:
            for name in os.listdir(self.folder):
                if name.endswith(".ini"):
                    try:
                        self.seen.add((name.removesuffix(".ini"), (self.folder / name).read_text()))
                    except FileNotFoundError:
                        continue

    def end(self) -> set[tuple[str, str]]:
        """All that was seen: domains and texts."""
        self._stop = True
        self._thread.join()
        return self.seen


def test_a_warm_up_killed_before_any_step_is_healed_by_the_next_request(stack: LiveStack, machine: Machine) -> None:
    """Whether it was the tenant's first site or one more; and no vassal is ever there that isn't whole."""
    watcher = Watcher(stack)
    domains, rounds = {}, {"first": 0, "one more": 0}
    try:
        for kind, stride in (("one more", 1), ("first", 13)):
            after, went_on = 1, True
            user = "Cut"
            while went_on:
                if kind == "first":
                    user = f"Cut{after}"
                domain = add(machine, stack, user)
                domains[domain] = user
                went_on = killed(lambda domain=domain: spinup.warm(machine, domain), after, before_writes)
                reply = stack.request(domain)
                assert (reply.status, reply.text) == (200, "here"), f"{kind} site, killed before step {after}"
                rounds[kind] += 1
                after += stride
    finally:
        seen = watcher.end()
    print("killed before so many steps:", rounds)
    assert rounds["one more"] > 12
    assert rounds["first"] > 8
    for domain, text in seen:
        site, groups = machine.registry.get(domain), cgroups.group_of(stack.layout, domain)
        assert text == spinup.vassal_text(machine, site, machine.registry.identity(site.username), groups), domain
    assert {domain for domain, _ in seen} == set(domains)
    for domain in domains:
        sites.remove(machine, domain, purge=True)


def test_a_removal_killed_before_any_step_can_be_done_again(stack: LiveStack, machine: Machine) -> None:
    """Until all is gone the site is there to be removed; then nothing of it is."""
    after, went_on = 1, True
    while went_on:
        user = f"Gone{after}"
        domain = add(machine, stack, user)
        spinup.warm(machine, domain) if after % 5 == 1 else spinup.build_chroot(
            machine, machine.registry.get(domain), machine.registry.identity(user)
        )
        went_on = killed(lambda domain=domain: sites.remove(machine, domain, purge=True), after, before_writes)
        if went_on and machine.registry.find(domain) is not None:
            sites.remove(machine, domain, purge=True)
        with pytest.raises(NoSuchSiteError):
            machine.registry.get(domain)
        assert not any(
            path.exists()
            for path in (
                stack.layout.storage(user), stack.layout.log_dir(domain), stack.layout.chroot(user),
                stack.layout.vassal(domain), stack.layout.awake_mark(domain),
            )
        )  # fmt: skip
        assert mounts_beneath(stack.layout.chroot(user)) == []
        assert stack.request(domain).status == 404
        after += 7
    assert after > 50
