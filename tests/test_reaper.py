"""Orphans of tenants are found and ended, and nobody else is ever touched."""

import contextlib
import dataclasses
import itertools
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from user_wsgi_wrapper.emperor_hook import orphans, reaper
from user_wsgi_wrapper.layout import Layout

Identity = namedtuple("Identity", "username uid gid")
counter = itertools.count()
NONE = frozenset()


def wait_for(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.01)


def processes_of(uid):
    found = []
    for process in psutil.process_iter():
        try:
            if process.uids().real == uid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass
    return found


@pytest.fixture(autouse=True)
def no_descriptor_is_left():
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.run_dir.mkdir(parents=True)
    layout.chroots_dir.mkdir(parents=True)
    layout.vassals_dir.mkdir(parents=True)
    return layout


@pytest.fixture
def tenant():
    """An identity that nobody else has; all of its processes end with the test."""
    uid = 1_500_000_000 + os.getpid() * 100 + next(counter) % 100
    yield Identity("Alice", uid, uid)
    while left := processes_of(uid):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()


def as_tenant(tenant, *command):
    return ["setpriv", "--reuid", str(tenant.uid), "--regid", str(tenant.gid), "--clear-groups", *command]


def start_orphan(tenant, script="exec sleep 1000", env=None, program="sleep"):
    """A process whose parent is gone: the shell that started it ends at once."""
    command = as_tenant(tenant, "sh", "-c", f"({script}) >/dev/null 2>&1 </dev/null & echo $!")
    pid = int(subprocess.run(command, capture_output=True, check=True, env=env, timeout=10).stdout)
    wait_for(lambda: psutil.Process(pid).name() == program)
    return pid


def is_over(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids(found):
    return sorted(one.pid for one in found)


# -- finding


def test_an_orphan_is_found_with_all_that_is_known_of_it(tenant, layout):
    pid = start_orphan(tenant, env={**os.environ, "SITE_DOMAIN": "One.example.com"})
    (found,) = reaper.find_orphans([tenant], NONE, layout)
    process = psutil.Process(pid)
    assert found == reaper.Orphan(
        pid, process.create_time(), tenant.uid, "Alice", "one.example.com", "sleep 1000", "running", process.ppid()
    )
    assert "Alice one.example.com: sleep 1000 (running)" in str(found)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["pid"] == pid
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.pid = 1


def test_other_peoples_processes_are_never_found(tenant, layout):
    start_orphan(tenant)
    assert reaper.find_orphans([], NONE, layout) == []
    assert reaper.find_orphans([Identity("other", tenant.uid + 50, 1), Identity("root", 0, 0)], NONE, layout) == []


def test_what_a_living_emperor_has_started_is_left_alone(tenant, layout):
    inner = " ".join(as_tenant(tenant, "sh", "-c", "'sleep 1001 & wait'"))
    with subprocess.Popen(["sh", "-c", f"{inner} & wait"]) as emperor:
        try:
            wait_for(lambda: len(processes_of(tenant.uid)) == 2)
            family = pids(processes_of(tenant.uid))
            assert reaper.find_orphans([tenant], frozenset({emperor.pid}), layout) == []
            assert reaper.find_orphans([tenant], frozenset({os.getpid()}), layout) == []
            assert pids(reaper.find_orphans([tenant], NONE, layout)) == family
        finally:
            emperor.kill()
    # the same pid, and nobody has it any more
    assert pids(reaper.find_orphans([tenant], frozenset({emperor.pid}), layout)) == family


def test_a_dead_emperor_that_nobody_collected_owns_nothing(tenant, layout):
    pid = start_orphan(tenant)
    with subprocess.Popen(["true"]) as dead:
        wait_for(lambda: psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE)
        assert pids(reaper.find_orphans([tenant], frozenset({dead.pid}), layout)) == [pid]


def test_a_process_that_has_roots_power_is_never_found(tenant, layout):
    code = f"import os, time; os.setresuid({tenant.uid}, 0, 0); print(flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            assert psutil.Process(child.pid).uids().real == tenant.uid
            assert reaper.find_orphans([tenant], NONE, layout) == []
        finally:
            child.kill()


def test_people_who_are_logged_in_are_left_alone_outside_the_chroots(tenant, layout):
    outside = start_orphan(tenant)
    chroot = layout.chroot("Alice")
    chroot.mkdir()
    code = (
        f"import os, time; os.chroot({str(chroot)!r}); os.chdir('/'); os.setresgid(*[{tenant.gid}] * 3);"
        f"os.setresuid(*[{tenant.uid}] * 3); print(flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            both = sorted([outside, child.pid])
            assert pids(reaper.find_orphans([tenant], NONE, layout)) == both
            assert pids(reaper.find_orphans([tenant], NONE, layout, frozenset({tenant.uid}))) == [child.pid]
            elsewhere = Layout(layout.root / "elsewhere")
            assert reaper.find_orphans([tenant], NONE, elsewhere, frozenset({tenant.uid})) == []
        finally:
            child.kill()


def test_accounts_of_the_machine_are_taken_for_people(tenant, layout, monkeypatch):
    pid = start_orphan(tenant)
    assert pids(reaper.find_orphans([tenant], NONE, layout)) == [pid]
    entry = pwd.struct_passwd(("Alice", "x", tenant.uid, tenant.gid, "", "/home/Alice", "/bin/sh"))
    monkeypatch.setattr(orphans.pwd, "getpwall", lambda: [entry])
    assert reaper.find_orphans([tenant], NONE, layout) == []


def test_a_command_line_cannot_write_to_the_terminal(tenant, layout):
    start_orphan(tenant, "exec tail -f /dev/null '\033[2J\n' " + "x" * 500, program="tail")
    (found,) = reaper.find_orphans([tenant], NONE, layout)
    assert found.command.isprintable()
    assert len(found.command) <= 200


def test_a_domain_that_a_tenant_made_up_is_not_believed_to_be_one(tenant, layout):
    start_orphan(tenant, env={**os.environ, "SITE_DOMAIN": "../../etc\n"})
    (found,) = reaper.find_orphans([tenant], NONE, layout)
    assert found.domain is None


def test_processes_that_come_and_go_disturb_no_search(tenant, layout):
    start_orphan(tenant, "while :; do true & /bin/true; (/bin/true); done", program="sh")
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert len(reaper.find_orphans([tenant], NONE, layout)) >= 1
        assert reaper.find_orphans([tenant], frozenset({1}), layout) == []


# -- ending


def test_term_is_enough_for_most(tenant, layout):
    pid = start_orphan(tenant)
    (reaped,) = reaper.reap(reaper.find_orphans([tenant], NONE, layout))
    assert (reaped.orphan.pid, reaped.outcome) == (pid, "terminated")
    assert "terminated" in str(reaped)
    assert processes_of(tenant.uid) == []


def test_who_ignores_term_is_killed_after_the_grace_and_all_wait_together(tenant, layout):
    for _ in range(3):
        start_orphan(tenant, 'trap "" TERM; exec sleep 1000')
    start_orphan(tenant)
    started = time.monotonic()
    outcomes = reaper.reap(reaper.find_orphans([tenant], NONE, layout), grace=0.3)
    assert 0.3 <= time.monotonic() - started < 0.8
    assert sorted(reaped.outcome for reaped in outcomes) == ["killed"] * 3 + ["terminated"]
    assert processes_of(tenant.uid) == []


def test_more_orphans_than_one_batch_holds_all_end(tenant, layout, monkeypatch):
    monkeypatch.setattr(reaper, "_BATCH", 2)
    for _ in range(5):
        start_orphan(tenant)
    found = reaper.find_orphans([tenant], NONE, layout)
    outcomes = reaper.reap(found)
    assert [reaped.orphan for reaped in outcomes] == found
    assert [reaped.outcome for reaped in outcomes] == ["terminated"] * 5


def test_a_zombie_is_told_apart_with_its_parent_and_never_signalled(tenant, layout, monkeypatch):
    with subprocess.Popen(as_tenant(tenant, "true")) as child:
        wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        (found,) = reaper.find_orphans([tenant], NONE, layout)
        assert (found.pid, found.status, found.parent_pid) == (child.pid, "zombie", os.getpid())
        assert f"not collected by its parent {os.getpid()}" in str(found)
        monkeypatch.setattr(signal, "pidfd_send_signal", None)
        assert [reaped.outcome for reaped in reaper.reap([found])] == ["zombie"]


def test_a_zombie_of_an_emperors_own_child_is_no_orphan(tenant, layout):
    with subprocess.Popen(as_tenant(tenant, "true")) as child:
        wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        assert reaper.find_orphans([tenant], frozenset({os.getpid()}), layout) == []


def test_a_reused_pid_is_never_signalled(tenant, layout):
    pid = start_orphan(tenant)
    (found,) = reaper.find_orphans([tenant], NONE, layout)
    earlier = dataclasses.replace(found, create_time=found.create_time - 0.01)
    another = dataclasses.replace(found, uid=tenant.uid + 50)
    assert [reaped.outcome for reaped in reaper.reap([earlier, another])] == ["gone", "gone"]
    assert psutil.Process(pid).status() == psutil.STATUS_SLEEPING


def test_a_process_that_ends_between_find_and_reap_is_no_error(tenant, layout):
    pid = start_orphan(tenant)
    found = reaper.find_orphans([tenant], NONE, layout)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_over(pid))
    assert [reaped.outcome for reaped in reaper.reap(found)] == ["gone"]


def test_a_process_that_ends_between_the_check_and_the_signal_is_no_error(tenant, layout, monkeypatch):
    pid = start_orphan(tenant)
    found = reaper.find_orphans([tenant], NONE, layout)
    send = signal.pidfd_send_signal

    def end_first(descriptor, number):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: is_over(pid))
        send(descriptor, number)

    monkeypatch.setattr(signal, "pidfd_send_signal", end_first)
    assert [reaped.outcome for reaped in reaper.reap(found)] in (["gone"], ["terminated"])


@pytest.mark.parametrize("pid", [0, 1, os.getpid()], ids=["0", "1", "own"])
def test_init_and_oneself_are_never_signalled(pid, monkeypatch):
    monkeypatch.setattr(signal, "pidfd_send_signal", None)
    me = psutil.Process(pid or 1)
    one = reaper.Orphan(pid, me.create_time(), 0, "root", None, "x", "running", 0)
    for uid in (0, 1234):
        assert [reaped.outcome for reaped in reaper.reap([dataclasses.replace(one, uid=uid)])] == ["refused"]


def test_a_process_of_roots_is_never_signalled():
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            created = psutil.Process(child.pid).create_time()
            as_root = reaper.Orphan(child.pid, created, 0, "root", None, "sleep", "running", os.getpid())
            as_tenants = dataclasses.replace(as_root, uid=1234)
            assert [reaped.outcome for reaped in reaper.reap([as_root, as_tenants])] == ["refused", "gone"]
            assert child.poll() is None
        finally:
            child.kill()


def test_who_is_born_meanwhile_is_stopped_before_anybody_of_them_is_killed(tenant, layout, monkeypatch):
    reap, seen = reaper.reap, []

    def late(found, grace):
        if not seen:  # the first round misses them
            start_orphan(tenant)
            start_orphan(tenant, 'trap "" TERM; exec sleep 1000')
        seen.append([psutil.Process(one.pid).status() for one in found])
        return reap(found, grace)

    monkeypatch.setattr(reaper, "reap", late)
    outcomes = reaper.reap_all([tenant], NONE, layout)
    assert seen == [[], [psutil.STATUS_STOPPED] * 2]
    assert [reaped.outcome for reaped in outcomes] == ["killed"] * 2


def test_what_multiplies_faster_than_it_is_killed_ends_all_the_same(tenant, layout):
    """A fork bomb that ignores TERM, as large as its limit lets it grow."""
    code = (
        "import os, resource, signal, time\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (60, 60))\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "while True:\n"
        "    try:\n"
        "        os.fork()\n"
        "    except OSError:\n"
        "        time.sleep(0.001)\n"
    )
    signal_file = layout.root / "bomb.py"
    layout.root.chmod(0o755)
    signal_file.write_text(code)
    command = as_tenant(tenant, sys.executable, "-c", code)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_for(lambda: len(processes_of(tenant.uid)) > 40)
        outcomes = reaper.reap_all([tenant], NONE, layout, grace=0.1)
        assert processes_of(tenant.uid) == []
    assert sum(reaped.outcome == "killed" for reaped in outcomes) > 40


# -- a real Emperor


@pytest.fixture
def emperor(layout, tenant):
    (layout.vassals_dir / "one.example.com.ini").write_text(
        f"[uwsgi]\nuid = {tenant.uid}\ngid = {tenant.gid}\nmaster = true\nprocesses = 1\nsocket = 127.0.0.1:0\n"
        "procname-prefix-spaced = one.example.com\ndie-on-term = true\n"
    )
    configuration = layout.run_dir / "anything.ini"
    configuration.write_text(
        f"[uwsgi]\nemperor = {layout.vassals_dir}\nemperor-pidfile = {layout.emperor_pidfile}\nmaster = true\n"
        "die-on-term = true\n"
    )
    with (
        (layout.root / "uwsgi.log").open("wb") as log,
        subprocess.Popen(["uwsgi", "--ini", str(configuration)], stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(lambda: [title(one) for one in processes_of(tenant.uid)] == ["one.example.com"] * 2)
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in psutil.Process(process.pid).children(recursive=True):
                    one.kill()
            process.kill()


def title(process):
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).partition(" ")[0]


def test_the_emperor_of_this_layout_is_known_and_owns_its_vassals(emperor, layout, tenant):
    found = reaper.emperor_pids(layout)
    assert found in ({emperor.pid}, {child.pid for child in psutil.Process(emperor.pid).children()})
    assert reaper.find_orphans([tenant], found, layout) == []
    assert reaper.find_orphans([tenant], frozenset({emperor.pid}), layout) == []
    # its pid file lost: root's uWSGI is above them all the same
    assert reaper.find_orphans([tenant], NONE, layout) == []
    elsewhere = Layout(layout.root / "elsewhere")
    elsewhere.run_dir.mkdir(parents=True)
    elsewhere.emperor_pidfile.write_text(layout.emperor_pidfile.read_text())
    assert reaper.emperor_pids(elsewhere) == NONE


def test_vassals_of_a_killed_emperor_are_orphans_with_their_domain(emperor, layout, tenant):
    """Stuck ones, that is: uWSGI's vassals end by themselves when they see that their Emperor is gone."""
    for process in processes_of(tenant.uid):
        process.suspend()
    inner = psutil.Process(emperor.pid).children()
    emperor.kill()
    for process in inner:
        process.kill()
    emperor.wait()
    wait_for(lambda: not reaper.emperor_pids(layout))
    found = reaper.find_orphans([tenant], NONE, layout)
    assert [(one.domain, one.status) for one in found] == [("one.example.com", "running")] * 2
    outcomes = reaper.reap_all([tenant], NONE, layout, grace=0.1)
    assert {reaped.outcome for reaped in outcomes} == {"killed"}
    assert processes_of(tenant.uid) == []


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "99999999999999999999", "\0", "{own}\n", "1\n"])
def test_a_pid_file_that_names_no_emperor_names_nobody(layout, text):
    layout.emperor_pidfile.write_text(text.format(own=os.getpid()))
    assert reaper.emperor_pids(layout) == NONE
    layout.emperor_pidfile.unlink()
    assert reaper.emperor_pids(layout) == NONE


def test_the_modules_hold_no_path_of_their_own():
    """Everything they know of the disk comes from the layout or from /proc."""
    for module in (reaper, orphans):
        assert "/run" not in Path(module.__file__).read_text()
