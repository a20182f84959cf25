"""Locks hold between processes and never outlive their holder."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook.locks import LockedError, locked
from user_wsgi_wrapper.layout import Layout

HOLDER = """
import sys, time
from pathlib import Path
from user_wsgi_wrapper.emperor_hook.locks import locked
from user_wsgi_wrapper.layout import Layout
with locked(Layout(Path(sys.argv[1])), "domain", "one.test"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def is_free(layout, kind="domain", name="one.test"):
    try:
        with locked(layout, kind, name, wait=False):
            return True
    except LockedError:
        return False


def test_a_lock_is_held_once(layout):
    """Until its holder leaves, however it leaves; another name or kind is another lock."""
    with pytest.raises(RuntimeError, match="in the middle"), locked(layout, "domain", "one.test"):
        assert not is_free(layout)
        assert is_free(layout, "domain", "two.test")
        assert is_free(layout, "user", "one.test")
        raise RuntimeError("in the middle")
    assert is_free(layout)


def test_the_error_names_the_lock(layout):
    with (
        locked(layout, "domain", "one.test"),
        pytest.raises(LockedError, match=r"domain-one\.test\.lock is held"),
        locked(layout, "domain", "one.test", wait=False),
    ):
        pass


def test_who_waits_gets_it_in_the_end(layout):
    """Ten threads, and never two of them inside."""
    inside, most, order = [], [], []

    def enter(number):
        with locked(layout, "domain", "one.test"):
            inside.append(number)
            most.append(len(inside))
            order.append(number)
            inside.remove(number)

    with locked(layout, "domain", "one.test"):
        threads = [threading.Thread(target=enter, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        assert order == []
    for thread in threads:
        thread.join(10)
    assert sorted(order) == list(range(10))
    assert max(most) == 1


def test_a_holder_that_is_killed_holds_nothing(layout):
    """The kernel frees it; nobody deletes a file by hand."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(layout.root)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert not is_free(layout)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        holder.stdout.close()
    wait_for(lambda: is_free(layout), "the lock is free", 5)


def test_a_program_that_the_holder_starts_holds_nothing(layout):
    """The descriptor isn't inherited: a daemon started meanwhile must not keep the lock."""
    with locked(layout, "domain", "one.test"):
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        assert is_free(layout)
    finally:
        child.kill()
        child.wait()


def test_locks_leave_no_descriptor_and_are_roots_alone(layout):
    """Also one that wasn't got."""
    before = len(os.listdir("/proc/self/fd"))
    with locked(layout, "domain", "one.test"):
        assert not is_free(layout)
    assert len(os.listdir("/proc/self/fd")) == before
    assert layout.locks_dir.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in layout.locks_dir.iterdir()] == [0o600]


def test_a_link_in_a_locks_place_is_refused(layout):
    """Nothing is opened, let alone made, through it."""
    layout.locks_dir.mkdir(parents=True)
    (layout.locks_dir / "domain-one.test.lock").symlink_to(layout.root / "made")
    with pytest.raises(OSError, match="symbolic links"), locked(layout, "domain", "one.test"):
        pass
    assert not (layout.root / "made").exists()
