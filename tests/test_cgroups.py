"""Control groups: which hierarchies there are, what is written where, entering one, ending all that is in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import cgroups, limit_watch, limits
from user_wsgi_wrapper.emperor_hook.cgroups import CgroupError, Hierarchy
from user_wsgi_wrapper.emperor_hook.config import LimitDefaults
from user_wsgi_wrapper.emperor_hook.limits import Limits
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

ALL = frozenset(cgroups.CONTROLLERS)
MOUNT = "{number} 1 0:{number} / {folder} rw,relatime shared:1 - {kind} {kind} rw{options}\n"
V2 = Hierarchy(Path("/sys/fs/cgroup"), 2, ALL)


def mount(folder: str, kind: str, options: str = "", number: int = 30) -> bytes:
    return MOUNT.format(number=number, folder=folder, kind=kind, options=options).encode()


def test_version_2_has_everything_where_it_is_alone():
    assert cgroups.parse_mounts(mount("/", "ext4") + mount("/sys/fs/cgroup", "cgroup2", ",nsdelegate")) == (V2,)


def test_version_1_has_a_hierarchy_for_each_or_one_for_several():
    text = mount("/c/cpu,cpuacct", "cgroup", ",cpu,cpuacct") + mount("/c/memory", "cgroup", ",memory")
    found = cgroups.parse_mounts(text + mount("/c/systemd", "cgroup", ",name=systemd"))
    assert found == (
        Hierarchy(Path("/c/cpu,cpuacct"), 1, frozenset({"cpu"})),
        Hierarchy(Path("/c/memory"), 1, frozenset({"memory"})),
    )


def test_both_at_once_have_each_controller_once():
    text = mount("/u", "cgroup2") + mount("/c/pids", "cgroup", ",pids") + mount("/again", "cgroup", ",pids")
    assert cgroups.parse_mounts(text) == (
        Hierarchy(Path("/c/pids"), 1, frozenset({"pids"})),
        Hierarchy(Path("/u"), 2, frozenset({"cpu", "memory"})),
    )


def test_a_folder_with_a_space_is_found():
    assert cgroups.parse_mounts(mount(r"/c\040d", "cgroup", ",pids"))[0].folder == Path("/c d")


def test_what_stands_in_the_files():
    """In the words of each version; no limit is one, too, so that a changed site loses its old one."""
    some = Limits(tasks=20, memory=64, cpu=150)
    assert dict(cgroups.contents(V2, some)) == {
        "pids.max": "20", "memory.max": str(64 << 20), "memory.swap.max": "0", "cpu.max": "150000 100000",
    }  # fmt: skip
    assert dict(cgroups.contents(V2, Limits())) == {
        "pids.max": "max", "memory.max": "max", "memory.swap.max": "0", "cpu.max": "max 100000",
    }  # fmt: skip
    first = Hierarchy(Path("/c"), 1, ALL)
    assert dict(cgroups.contents(first, some)) == {
        "pids.max": "20", "memory.limit_in_bytes": str(64 << 20), "memory.memsw.limit_in_bytes": str(64 << 20),
        "cpu.cfs_quota_us": "150000",
    }  # fmt: skip
    assert dict(cgroups.contents(first, Limits()))["cpu.cfs_quota_us"] == "-1"


def test_a_site_without_limits_of_its_own_has_the_configurations():
    """Those of its memory for each of its processes, those of its tasks beside what it needs itself."""
    defaults = LimitDefaults(tasks_max=100, memory_max=500, cpu_quota=80, open_files=300, log_rate=9)
    site = Site("a.test", "A", processes=2, threads=3)
    assert limits.of(site, defaults) == Limits(100 + limits.serving(site), 1000, 80, 300, 9)
    own = Site("a.test", "A", tasks_max=1, memory_max=64, cpu_quota=5, open_files=200, log_rate=2)
    assert limits.of(own, defaults) == Limits(1 + limits.serving(own), 64, 5, 200, 2)
    none = LimitDefaults(tasks_max=0, memory_max=0, cpu_quota=0, open_files=0, log_rate=0)
    assert limits.of(site, none) == Limits()


@pytest.fixture
def layout(tmp_path):
    """A root of the test's own, whose groups are gone in the end."""
    layout = Layout(tmp_path / uuid.uuid4().hex)
    yield layout
    cgroups.remove_all(layout)
    assert not cgroups.group_of(layout, "a.test")


def enter(groups: dict[str, Path], program: str) -> subprocess.Popen[bytes]:
    """A process that entered as a vassal does, by writing 0."""
    enters = "".join(f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n" for group in set(groups.values()))
    return subprocess.Popen([sys.executable, "-c", f"import os, time\n{enters}{program}"])


def test_what_was_made_holds_what_entered_and_ends_with_it(layout):
    """It is made once more with other limits, counted, emptied by force and taken away."""
    groups = cgroups.make(layout, "a.test", Limits(tasks=3, memory=64, cpu=50))
    assert groups.keys() == ALL, "a machine without control groups can't run this test"
    assert cgroups.make(layout, "a.test", Limits(tasks=4, memory=128)) == groups == cgroups.group_of(layout, "a.test")
    assert (groups["pids"] / "pids.max").read_text() == "4\n"
    program = """
for _ in range(20):
    try:
        os.fork() or time.sleep(60)
    except OSError:
        pass
time.sleep(60)
"""
    process = enter(groups, program)
    inside = groups["pids"] / "cgroup.procs"
    try:
        wait_for(lambda: limit_watch.count(groups["pids"], "pids") >= 10, "forks are refused")
        assert len(inside.read_text().split()) == 4
        cgroups.remove(layout, "a.test")
        assert cgroups.group_of(layout, "a.test") == groups, "what is in use stays"
        cgroups.kill(layout, "a.test")
        assert process.wait(10) == -signal.SIGKILL
        wait_for(lambda: not inside.read_text(), "all are gone")
    finally:
        process.kill()
        process.wait()
    cgroups.remove(layout, "a.test")
    wait_for(lambda: not cgroups.group_of(layout, "a.test"), "the groups are gone")


def test_version_2_is_entered_and_emptied_by_its_own_files(layout, monkeypatch):
    """Whichever controllers it has here: they are handed down to the group, and cgroup.kill ends what is in it."""
    text = Path("/proc/self/mountinfo").read_text()
    folder = next(Path(line.split(" ")[4]) for line in text.splitlines() if " - cgroup2 " in line)
    there = (folder / "cgroup.controllers").read_text().split()
    assert there, f"{folder} has no controller at all"
    monkeypatch.setattr(cgroups, "mounted", lambda: (Hierarchy(folder, 2, frozenset(there[:1])),))
    group = cgroups.make(layout, "a.test", Limits())[there[0]]
    assert there[0] in (group / "cgroup.controllers").read_text().split()
    assert cgroups.make(layout, "a.test", Limits())[there[0]] == group
    process = enter({"any": group}, "os.fork(); time.sleep(60)")
    try:
        wait_for(lambda: len((group / "cgroup.procs").read_text().split()) == 2, "both are in the group")
        cgroups.kill(layout, "a.test")
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: "populated 0" in (group / "cgroup.events").read_text(), "all are gone")
    cgroups.remove(layout, "a.test")
    assert not group.exists()
    cgroups.remove_all(layout)
    assert not group.parent.exists()


def test_a_limit_below_what_is_held_is_refused_or_taken(layout):
    """Whatever the kernel thinks of it, never anything but the one line of a CgroupError."""
    groups = cgroups.make(layout, "a.test", Limits(memory=128))
    process = enter(groups, "kept = bytearray(os.urandom(1)) * (60 << 20)\nprint(flush=True)\ntime.sleep(60)")
    try:
        wait_for(lambda: held(groups["memory"]) > 60 << 20, "it holds its memory")
        try:
            cgroups.make(layout, "a.test", Limits(memory=32))
        except CgroupError as error:
            assert "holds more memory" in str(error)
        cgroups.make(layout, "a.test", Limits(memory=256))
    finally:
        process.kill()
        process.wait()


def held(group: Path) -> int:
    for name in ("memory.current", "memory.usage_in_bytes"):
        if (group / name).exists():
            return int((group / name).read_text())
    raise AssertionError(group)


def test_where_none_can_be_made_it_is_told_or_refused(layout, monkeypatch, caplog, tmp_path):
    """`auto` goes on with what there is and says so once, `required` refuses, `off` doesn't even look."""
    monkeypatch.setattr(cgroups, "mounted", lambda: (Hierarchy(tmp_path / "none" / "such", 1, frozenset({"pids"})),))
    cgroups._tell.cache_clear()
    for _ in range(3):
        assert cgroups.make(layout, "a.test", Limits()) == {}
    assert len(caplog.records) == 1
    assert "no control groups for cpu, memory, pids" in caplog.text
    for _ in range(2):
        with pytest.raises(CgroupError, match="no control groups for cpu, memory, pids"):
            cgroups.make(layout, "a.test", Limits(), "required")
    monkeypatch.setattr(cgroups, "mounted", lambda: pytest.fail("it was looked for"))
    assert cgroups.make(layout, "a.test", Limits(), "off") == {}
    monkeypatch.undo()


def test_the_kernels_counts_are_read():
    assert limit_watch.parse_count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill") == 3
    assert limit_watch.parse_count("max 12\n", "max") == 12
    assert limit_watch.parse_count("", "max") == 0


def test_a_log_that_grew_too_large_keeps_its_last_lines(tmp_path, monkeypatch):
    """And whoever has it open appends to the rest; what is no plain file is left alone."""
    monkeypatch.setattr(limit_watch, "KEPT", 1000)
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(10_000)))
    with path.open("a") as writer:
        size = path.stat().st_size
        assert limit_watch.cut_log(path, size) == 0
        assert limit_watch.cut_log(path, size - 1) == size
        writer.write("the next\n")
    lines = path.read_text().splitlines()
    assert lines[-2:] == ["line 9999", "the next"]
    assert all(line.startswith("line ") for line in lines[:-1])
    assert len(lines) < 110
    link = tmp_path / "link"
    link.symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    assert limit_watch.cut_log(link, 1) == limit_watch.cut_log(tmp_path / "fifo", 1) == 0
