"""Privileges, dropped for good: what a tenant's processes have, and what becomes of a start where dropping fails."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.attacks.refusal import refuse
from tests.attacks.tenants import ATTACKER, VICTIM, Tenants, tenants  # noqa: F401 - a fixture
from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import privileges, vassal
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

NOTHING = "0000000000000000"


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def is_without_privileges(status: dict[str, str], uid: int) -> bool:
    """One uid and one gid in all four places, no group beside, no capability in any set, none to be had by exec."""
    return (
        set(status["Uid"].split()) == {str(uid)}
        and set(status["Gid"].split()) == {str(uid)}
        and status["Groups"] == ""
        and all(status[f"Cap{name}"] == NOTHING for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
        and status["NoNewPrivs"] == "1"
    )


def test_no_process_of_a_site_has_a_privilege_left(tenants: Tenants) -> None:  # noqa: F811
    """Master and workers alike, and what the tenant's code starts."""
    uid = tenants.attack("result = os.getuid()")
    pids = tenants.pids(ATTACKER)
    assert len(pids) >= 2
    for pid in pids:
        assert is_without_privileges(status_of(pid), uid), status_of(pid)
    child = tenants.attack(
        """
        import subprocess
        result = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True).stdout
        """
    )
    lines = dict(line.split(":", 1) for line in child.splitlines())
    assert is_without_privileges({name: value.strip() for name, value in lines.items()}, uid)


def test_no_way_back(tenants: Tenants) -> None:  # noqa: F811
    """Every call that changes who one is, to root and to the victim."""
    victim = tenants.victim("result = os.getuid()")
    result = tenants.attack(
        """
        calls = [(name, number) for number in (0, victim) for name in ("setuid", "setgid", "seteuid", "setegid")]
        result = {f"{name} {number}": refused(getattr(os, name), number) for name, number in calls}
        result["setresuid"] = refused(os.setresuid, 0, 0, 0)
        result["setgroups"] = refused(os.setgroups, [0])
        result["keep"] = call("prctl", 47, 2, 21, 0, 0)  # PR_CAP_AMBIENT_RAISE
        result["bound"] = call("prctl", 24, 21, 0, 0, 0)  # PR_CAPBSET_DROP, which takes a capability
        result["new privileges"] = call("prctl", 38, 0, 0, 0, 0).replace("EINVAL", "EPERM")
        """,
        victim=victim,
    )
    assert result == dict.fromkeys(result, "EPERM")


def test_no_terminal_and_no_session_of_roots(tenants: Tenants) -> None:  # noqa: F811
    """A terminal would take what is typed into it (TIOCSTI) for root's; in one's session SIGCONT is free."""
    sessions = []
    for domain in (ATTACKER, VICTIM):
        fields = Path(f"/proc/{tenants.master(domain)}/stat").read_text().rpartition(")")[2].split()
        assert fields[4] == "0", "the master has a controlling terminal"
        sessions.append(int(fields[3]))
    assert len({os.getsid(0), os.getsid(tenants.emperor()), *sessions}) == 4


def test_the_environment_is_the_sites_alone(tenants: Tenants) -> None:  # noqa: F811
    """Nothing of the shell that started the stack, of the Emperor or of another tenant."""
    names = tenants.attack("result = sorted(os.environ)")
    known = r"HOME|USER|LOGNAME|PATH|LANG|SITE_[A-Z_]+|UWSGI_[A-Z_]+"
    assert [name for name in names if not re.fullmatch(known, name)] == []
    initial = "".join(Path(f"/proc/{pid}/environ").read_text("utf-8", "replace") for pid in tenants.pids(ATTACKER))
    for name, value in os.environ.items():
        if name not in ("PATH", "LANG", "HOME", "USER", "LOGNAME") and len(value) > 3:
            assert f"{name}={value}" not in initial


# --- failing closed

_STEPS = ("chroot", "setgid", "setgroups", "setuid", "unshare", "capbset")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are this machine's")
@pytest.mark.parametrize("name", [None, *_STEPS])
def test_where_a_step_fails_no_code_of_the_tenants_runs(tenants: Tenants, name: str | None) -> None:  # noqa: F811
    """setuid(2) fails with EAGAIN at RLIMIT_NPROC, each of the others for its reasons: uWSGI ends instead."""
    layout = tenants.layout
    text = layout.vassal(ATTACKER).read_text()
    ini = layout.run_dir / "fails-closed.ini"
    mark = layout.home("Attacker") / "ran"
    www = layout.www("Attacker") / "marks.py"
    www.write_text("open('/home/Attacker/ran', 'a').write('x')\n" + "def application(e, s): pass\n")
    ini.write_text(
        re.sub(r"(?m)^(master-fifo|hook-touch|logto2|hook-emperor-\w+) = .*\n", "", text)
        .replace("SITE_WSGI_FILE=/var/www/wsgi.py", "SITE_WSGI_FILE=/var/www/marks.py")
        .replace("SITE_KEEP_FOLDER=", "SITE_KEEP_FOLDER=/tmp/unused")
        + "socket = /dev/shm/fails-closed.socket\n"
    )
    mark.unlink(missing_ok=True)
    process = subprocess.Popen(
        ["/usr/bin/uwsgi", "--ini", str(ini)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=(lambda: refuse(name, 11)) if name else None,
        start_new_session=True,
    )
    try:
        if name is None:  # the same start with nothing refused: so the mark would be found
            wait_for(mark.exists, "the tenant's code runs")
            return
        output = process.communicate(timeout=20)[0].decode()
        assert process.returncode not in (0, None), output
        assert ("cap_drop_bound" if name == "capbset" else f"{name}(): Resource temporarily unavailable") in output
        assert not mark.exists()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate()


def test_giving_up_fails_closed() -> None:
    """A program that can't be started without privileges isn't started at all."""

    def before() -> None:
        _refuse_prctl()
        privileges.give_up()

    with pytest.raises(subprocess.SubprocessError):
        subprocess.run(["/bin/true"], preexec_fn=before, check=False)
    assert subprocess.run(["/bin/true"], preexec_fn=privileges.give_up, check=False).returncode == 0


def _refuse_prctl() -> None:
    privileges._libc = type("Refusing", (), {"prctl": staticmethod(lambda *_words: -1)})()


def test_every_capability_that_the_kernel_knows_is_dropped(tmp_path: Path) -> None:
    """Not only those that were known when this was written."""
    identity = type("Identity", (), {"username": "Arthur", "uid": 61001, "gid": 61002})()
    text = vassal.render(Site("one.example.com", "Arthur"), identity, Layout(tmp_path))
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    dropped = re.findall(r"(?m)^hook-as-root = callintret:cap_drop_bound (\d+)$", text)
    assert dropped == [str(number) for number in range(last + 1)]
