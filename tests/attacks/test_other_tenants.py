"""Other tenants' data and the servers' own doors: nothing of the victim's is read, changed, stopped or posed as."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import pty
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.attacks.tenants import ATTACKER, SECRET, VICTIM, Tenants, tenants  # noqa: F401 - a fixture
from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import privileges

# pytest gives the fixture by its name
# ruff: noqa: F811


def test_the_victims_files_are_nowhere(tenants: Tenants) -> None:
    """His home, logs, tmp and socket, the registry and the Emperor's places: by host path and by path inside."""
    layout = tenants.layout
    paths = [
        "/home/Victim", f"/var/log/{VICTIM}", f"/dev/shm/{VICTIM}.commands", "/var/lib/user_wsgi_wrapper",
        "/run/user_wsgi_wrapper", "/etc/uwsgi", "/etc/shadow", "/var/www/socket",
        *(str(path) for path in (
            layout.root, layout.storage("Victim"), layout.log_dir(VICTIM), layout.socket(VICTIM), layout.sites_db,
            layout.vassal(VICTIM), layout.emperor_fifo, layout.initialize_socket, layout.chroot("Victim"),
        )),
    ]  # fmt: skip
    result = tenants.attack("result = [refused(os.stat, path) for path in paths]", paths=paths)
    assert result == ["ENOENT"] * len(paths)
    assert tenants.victim("result = refused(os.stat, '/home/Victim')") is None


def test_no_process_but_ones_own_is_listed(tenants: Tenants) -> None:
    """Not by /proc, nor what it says of one: arguments, environment, files."""
    others = [*tenants.pids(VICTIM), tenants.emperor(), 1]
    result = tenants.attack(
        """
        listed = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in listed}
        names = ("environ", "cmdline", "maps", "mem", "status", "fd")
        tried = [refused(open, f"/proc/{pid}/{name}") for pid in others for name in names]
        result = [sorted(set(listed) & set(others)), owners <= {os.getuid(), 0}, tried]
        """,
        others=others,
    )
    assert result[:2] == [[], True]
    assert set(result[2]) == {"ENOENT"}


def test_the_victims_processes_can_be_neither_signalled_nor_traced_nor_slowed(tenants: Tenants) -> None:
    """SIGCONT is the one signal that a shared session would let through."""
    others = [*tenants.pids(VICTIM), tenants.emperor()]
    result = tenants.attack(
        """
        import signal
        buffer = ctypes.create_string_buffer(64)
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
        result = {}
        for pid in others:
            for number in (0, signal.SIGCONT, signal.SIGSTOP, signal.SIGHUP, signal.SIGURG, signal.SIGKILL):
                result[f"signal {number} {pid}"] = refused(os.kill, pid, number)
            result[f"ptrace {pid}"] = call("ptrace", 0x4206, pid, 0, 0)
            result[f"read {pid}"] = call("process_vm_readv", pid, vector, 1, vector, 1, 0)
            result[f"write {pid}"] = call("process_vm_writev", pid, vector, 1, vector, 1, 0)
            result[f"affinity {pid}"] = refused(os.sched_setaffinity, pid, [0])
            result[f"priority {pid}"] = refused(os.setpriority, os.PRIO_PROCESS, pid, 19)
            result[f"limit {pid}"] = call("prlimit", pid, 7, (ctypes.c_uint64 * 2)(1, 1), None)
            pidfd = os.pidfd_open(pid)
            result[f"descriptor {pid}"] = call(438, pidfd, 0, 0)
            os.close(pidfd)
        """,
        others=others,
    )
    assert {name: error for name, error in result.items() if error not in ("EPERM", "EACCES")} == {}
    assert tenants.victim("result = 'alive'") == "alive"


def test_no_ipc_is_shared(tenants: Tenants) -> None:
    """System V's memory and queues and POSIX's queues, open to everyone by their modes: still the victim's alone."""
    made = """
        result = [
            call("shmget", 4711, 4096, 0o1666) != "ENOSPC",
            call("msgget", 4711, 0o1666) != "ENOSPC",
            call("semget", 4711, 1, 0o1666) != "ENOSPC",
            call("mq_open", b"/queue", os.O_CREAT | os.O_RDWR, 0o666, None) != "ENOSPC",
        ]
        """
    assert tenants.victim(made) == [True] * 4
    found = """
        result = [
            call("shmget", 4711, 0, 0), call("msgget", 4711, 0), call("semget", 4711, 0, 0),
            call("mq_open", b"/queue", os.O_RDONLY),
            [len(open(f"/proc/sysvipc/{name}").readlines()) for name in ("shm", "msg", "sem")],
        ]
        """
    try:
        assert tenants.attack(found) == ["ENOENT"] * 4 + [[1, 1, 1]]
    finally:
        tenants.victim(
            """
            call("shmctl", call("shmget", 4711, 0, 0), 0, None)
            call("msgctl", call("msgget", 4711, 0), 0, None)
            call("semctl", call("semget", 4711, 0, 0), 0, 0)
            call("mq_unlink", b"/queue")
            """
        )


def test_no_key_is_shared(tenants: Tenants) -> None:
    """A key that the victim puts into the keyring of his session isn't found, nor is one of root's."""
    number = privileges._KEYCTL
    add = {"x86_64": 248, "i686": 286}.get(platform.machine(), 217)
    tenants.victim('result = call(add, b"user", b"of-the-victim", b"words", 5, -3)', add=add)
    result = tenants.attack(
        """
        found = call(number, 10, -3, b"user", b"of-the-victim", 0)
        # root's, by all that is possessed: the revoked one alone may be seen
        with open("/proc/keys") as file:
            seen = [line.split() for line in file]
        result = [found, [words for words in seen if words[5] == "0" and "R" not in words[1]]]
        join = lambda: [call(number, 1, 0), call(add, b"user", b"own", b"words", 5, -3)]
        result.append("EKEYREVOKED" not in in_child(join))
        """,
        number=number,
        add=add,
    )
    assert isinstance(result[0], str), "the victim's key was found"
    assert result[1] == []
    assert result[2], "a tenant may have a session keyring of his own"


def test_roots_session_keyring_is_not_inherited() -> None:
    """Whoever starts the stack from a login has keys there; what is started doesn't possess them."""
    number = privileges._KEYCTL
    add = {"x86_64": 248, "i686": 286}.get(platform.machine(), 217)
    libc = ctypes.CDLL(None, use_errno=True)

    def login() -> None:
        libc.syscall(ctypes.c_long(number), ctypes.c_long(1), ctypes.c_long(0))
        libc.syscall(ctypes.c_long(add), b"user", b"of-root", b"secret", ctypes.c_long(6), ctypes.c_long(-3))

    def login_and_give_up() -> None:
        login()
        privileges.give_up()

    code = f"""
import ctypes, os
os.setgroups([]); os.setgid(61001); os.setuid(61001)
libc = ctypes.CDLL(None, use_errno=True)
long = ctypes.c_long
key = libc.syscall(long({number}), long(10), long(-3), b"user", b"of-root", long(0))
buffer = ctypes.create_string_buffer(16)
size = libc.syscall(long({number}), long(11), long(key), buffer, long(16))
print(buffer.value.decode() if size > 0 else ctypes.get_errno() in (1, 38))
"""
    command = ["/usr/bin/python3", "-c", code]
    without, with_it = (
        subprocess.run(command, preexec_fn=before, capture_output=True, text=True, check=True).stdout.strip()
        for before in (login, login_and_give_up)
    )
    assert without in ("secret", "True")  # True: keyrings are forbidden here, to everyone
    assert with_it != "secret"


def test_the_victims_socket_and_the_servers_own_are_out_of_reach(tenants: Tenants) -> None:
    """Who reaches a site's socket can have it load any file (UWSGI_FILE): by name, and by what the kernel lists."""
    layout = tenants.layout
    paths = [
        str(path)
        for path in (layout.socket(VICTIM), layout.initialize_socket, layout.run_dir / "emperor-stats.socket")
    ]
    assert all(Path(path).is_socket() for path in paths)
    result = tenants.attack(
        """
        def connect(address):
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(address)
        with open("/proc/net/unix") as file:
            listed = {line.split()[7] for line in file if len(line.split()) > 7}
        tried = set(paths) | {name for name in listed if "victim.test" in name or "user_wsgi_wrapper" in name}
        tried |= {"\\0" + name for name in paths} | {"\\0" + os.path.basename(name) for name in paths}
        result = {name: refused(connect, name) for name in tried}
        for name in ("rpc", "connect"):
            try:
                given = getattr(uwsgi, name)(paths[0], *(["call"] if name == "rpc" else []))
                result[name] = "nothing" if given in (-1, None, b"") else None
            except ValueError:
                result[name] = "nothing"
        """,
        paths=paths,
    )
    assert None not in result.values(), result
    assert set(result.values()) <= {"ENOENT", "ECONNREFUSED", "nothing"}


def test_no_server_listens_where_a_tenant_could_connect(tenants: Tenants) -> None:
    """Abstract sockets and TCP pass by every chroot: of all servers nginx alone has one, the visitors' own."""
    own = psutil.Process(tenants.stack.process.pid)  # type: ignore[union-attr]
    servers = [process for process in own.children(recursive=True) if process.is_running()]
    assert len(servers) >= 5
    tcp, abstract = set(), []
    for process in servers:
        tcp |= {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        abstract += [one.laddr for one in process.net_connections("unix") if str(one.laddr).startswith(("@", "\0"))]
    assert tcp == {tenants.stack.port}
    assert abstract == []


def test_a_visitor_cannot_name_the_file_to_load(tenants: Tenants) -> None:
    """uWSGI's own variables come from nginx alone: as a header each is HTTP_UWSGI_…, whatever its spelling."""
    tenants.attack(
        """
        with open("/var/www/evil.py", "w") as file:
            file.write("open('/home/Attacker/evil-ran', 'w')\\ndef application(environ, start): pass\\n")
        """
    )
    names = ("FILE", "SCRIPT", "MODULE", "CALLABLE", "APPID", "SETENV", "PYHOME", "CHDIR", "TOUCH_RELOAD")
    spellings = [spelling for name in names for spelling in (f"UWSGI_{name}", f"uwsgi-{name}", f"UWSGI-{name}")]
    reply = tenants.stack.request(
        ATTACKER,
        "/",
        "POST",
        b"result = sorted(name for name in environ if name.startswith(('UWSGI_', 'SCRIPT_FILE')))",
        dict.fromkeys(spellings, "/var/www/evil.py"),
    )
    assert (reply.status, reply.text) == (200, '["UWSGI_SCHEME"]')  # nginx's own, no path
    assert not (tenants.layout.home("Attacker") / "evil-ran").exists()


def test_the_emperor_cannot_be_made_to_fill_the_disk(tenants: Tenants) -> None:
    """Each byte on a site's connection to the Emperor would be a line of its log, which is root's: 1 GB in 3 s."""
    log = tenants.layout.own_logs_dir / "emperor.log"
    before = log.stat().st_size
    sent = tenants.attack(
        """
        fd = int(os.environ["UWSGI_EMPEROR_FD"])
        result = sum(os.write(fd, bytes([5, 17, 1, 26]) * 1000) for _ in range(50))
        """
    )
    assert sent == 200_000
    tenants.stack.site("after.test", "After", "def application(e, s):\n    s('200 OK', [])\n    return [b'']\n")
    assert tenants.stack.request("after.test").status == 200, "the Emperor doesn't wake others any more"
    assert log.stat().st_size - before < 20_000


def test_the_master_runs_no_configuration_of_the_tenants(tenants: Tenants) -> None:
    """Told to reload, it would execute uWSGI with the file of the vassal's name that lies in the tenant's folder."""
    tenants.attack(
        """
        with open("/var/www/attacker.test.ini", "w") as file:
            file.write("[uwsgi]\\nexec-asap = touch /home/Attacker/reloaded\\n")
        """
    )
    tenants.attack("uwsgi.reload()")
    wait_for(lambda: _serves(tenants), "the attacker's site serves again")
    assert not (tenants.layout.home("Attacker") / "reloaded").exists()


def _serves(tenants: Tenants) -> bool:
    return tenants.stack.request(ATTACKER, "/", "POST", b"").status == 200


def test_no_descriptor_of_the_masters_can_be_taken(tenants: Tenants) -> None:
    """pidfd_getfd(2) on the one process of his that runs no code of his."""
    result = tenants.attack(
        """
        master = os.pidfd_open(os.getppid())
        result = [call(438, master, fd, 0) for fd in range(64)]
        os.close(master)
        """
    )
    assert set(result) == {"EPERM"}


@pytest.fixture
def terminal() -> Any:
    """The descriptors of a terminal's two sides."""
    main, other = pty.openpty()
    yield main, other
    os.close(main)
    os.close(other)


WATCH = """
    import signal, time
    me, known = os.getpid(), set(os.listdir("/proc"))
    def watch():
        caught, end = [], time.monotonic() + 15
        while time.monotonic() < end and len(caught) < 1:
            for name in set(os.listdir("/proc")) - known:
                if not name.isdigit() or int(name) == os.getpid():
                    continue
                try:
                    os.kill(int(name), signal.SIGSTOP)
                    with open(f"/proc/{name}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                    with open(f"/proc/{name}/environ") as file:
                        environment = file.read()
                    with open(f"/proc/{name}/status") as file:
                        status = file.read()
                    links = [os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")]
                    if "uwsgi" not in status.split("\\n")[0]:
                        caught.append([fields[4], environment, links, "NoNewPrivs:\\t1" in status])
                except OSError:
                    pass
                finally:
                    try:
                        os.kill(int(name), signal.SIGCONT)
                    except OSError:
                        pass
        return caught
    result = in_child(watch)
"""


def test_an_operators_reload_leaves_the_tenant_no_terminal_and_no_environment(
    tenants: Tenants, terminal: tuple[int, int]
) -> None:
    """The touch runs under the tenant's uid, so his processes may stop it and take it over with all that it has."""
    caught: list[Any] = []
    tenants.stack.site("second.test", "Attacker")
    assert tenants.stack.request("second.test", "/", "POST", b"result = 1").status == 200
    watching = threading.Thread(target=lambda: caught.extend(tenants.attack(WATCH)))
    watching.start()

    def adopt() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(tenants.stack.root), "reload", "second.test"]
    while watching.is_alive() and not caught:
        subprocess.run(
            command,
            stdin=terminal[1],
            capture_output=True,
            start_new_session=True,
            preexec_fn=adopt,
            env={**os.environ, "OPERATORS_PASSWORD": SECRET},
            timeout=60,
            check=False,
        )
    watching.join()
    assert caught, "no process of the reload's was caught: the attack itself failed"
    for terminal_number, environment, links, is_final in caught:
        assert terminal_number == "0"
        assert SECRET not in environment
        assert not [link for link in links if "/dev/pts" in link]
        assert is_final


def test_uwsgis_own_module_is_the_sites_own(tenants: Tenants) -> None:
    """Its functions reach this site's master, which has neither cache, spooler, mules nor farms; and nobody else."""
    before = tenants.pids(VICTIM)
    result = tenants.attack(
        """
        def tried(name, *arguments):
            try:
                return repr(getattr(uwsgi, name)(*arguments))
            except Exception as error:
                return type(error).__name__
        calls = (("cache_set", "a", b"b"), ("cache_get", "a"), ("mule_msg", b"x"), ("farm_msg", "f", b"x"),
                 ("register_signal", 17, "workers", lambda number: None), ("signal", 17), ("alarm", "a", b"b"),
                 ("metric_inc", "a"), ("set_user_harakiri", 0))
        for name, *arguments in calls:
            tried(name, *arguments)
        values = repr(dict(uwsgi.opt)) + repr(uwsgi.workers()) + repr(uwsgi.applications)
        result = [word for word in ("victim", "Victim", secret) if word in values]
        """,
        secret=SECRET,
    )
    assert result == []
    for code in ("uwsgi.reload()", "uwsgi.stop()", "os.kill(os.getppid(), 9)"):
        tenants.stack.request(ATTACKER, "/", "POST", code.encode())
        assert tenants.victim("result = os.environ['PASSWORD']") == SECRET
        wait_for(lambda: _serves(tenants), "the attacker's site serves again")
    assert tenants.pids(VICTIM) == before
    assert tenants.attack("result = 'serves again'") == "serves again"
