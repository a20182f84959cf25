"""What a tenant's process can do, and can't, in a real chroot under his own uid."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys

import pytest

from tests.chroot_machine import (  # noqa: F401 - fixtures
    ARTHUR,
    BERTA,
    ENVIRONMENT,
    bare,
    build,
    command_in,
    machine,
    package,
    python_in,
    root,
    run_in,
)
from user_wsgi_wrapper.emperor_hook import chroot, mounts


@pytest.fixture
def tenants(machine):  # noqa: F811
    """Two tenants' chroots on one machine."""
    build(machine, ARTHUR, ("one.example.com", "two.example.com"))
    build(machine, BERTA, ("berta.example.com",))
    return machine


def says(layout, code, identity=ARTHUR):
    """The JSON value that `result` has after the tenant ran the code."""
    return json.loads(python_in(layout, identity, f"import json, os\n{code}\nprint(json.dumps(result))"))


REFUSED = """
def refused(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return error.strerror
    return None
"""


def test_shell_and_python_run(tenants):
    """Scripts that begin with #!/bin/sh, #!/usr/bin/env python3 and #!/usr/bin/python3 work."""
    home = tenants.home("Arthur")
    for name, line in (("a", "#!/bin/sh"), ("b", "#!/usr/bin/env python3"), ("c", "#!/usr/bin/python3")):
        (home / name).write_text(f"{line}\n" + ("echo works" if name == "a" else "print('works')"))
        (home / name).chmod(0o755)
        assert run_in(tenants, ARTHUR, f"/home/Arthur/{name}") == "works\n"
    assert run_in(tenants, ARTHUR, "/bin/sh", "-c", "echo a | /bin/cat | tr a b") == "b\n"


def test_the_shared_entry_and_library_are_there(tenants):
    """Every chroot has the entry as /bin/user_wsgi_wrapper.py, a file of its own, and the package beside."""
    assert run_in(tenants, BERTA, "/usr/bin/python3", "/bin/user_wsgi_wrapper.py") == "entry\n"
    code = "import sys; sys.path.insert(0, '/opt/user_wsgi_wrapper')\n"
    code += "from user_wsgi_wrapper.runtime import part; result = [part.WORD, part.__cached__]"
    word, cached = says(tenants, code)
    assert word == "library"
    assert cached.startswith("/opt/user_wsgi_wrapper/")


def test_he_is_himself_and_alone_in_passwd(tenants):
    """The names of other users can't be read off the password and group databases."""
    code = """
import pwd, grp
result = [[list(entry) for entry in pwd.getpwall()], [list(entry) for entry in grp.getgrall()], os.getgroups(),
          os.path.expanduser('~Arthur')]"""
    users, groups, extra, home = says(tenants, code)
    assert users == [["Arthur", "x", 61001, 61002, "", "/home/Arthur", "/bin/sh"]]
    assert groups == [["Arthur", "x", 61002, []]]
    assert extra == []
    assert home == "/home/Arthur"


def test_names_types_zones_and_certificates_resolve(tenants):
    """What applications look up in /etc: localhost, a service, a file's type, the zone, trusted certificates."""
    code = """
import socket, ssl, time, mimetypes
result = [sorted({item[4][0] for item in socket.getaddrinfo('localhost', 80)}),
          ssl.create_default_context().cert_store_stats()['x509_ca'], time.tzname[0],
          mimetypes.guess_type('x.css')[0], os.path.exists('/etc/resolv.conf')]"""
    addresses, certificates, zone, kind, resolver = says(tenants, code)
    assert "127.0.0.1" in addresses
    facts = chroot.host_facts()
    if "ssl/certs" in facts.etc_folders and os.path.exists("/etc/ssl/certs/ca-certificates.crt"):
        assert certificates > 10
    assert zone == subprocess.run(
        [sys.executable, "-c", "import time; print(time.tzname[0])"],
        env={}, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert kind == "text/css"
    assert resolver == ("resolv.conf" in facts.copies)


def test_locks_shared_memory_and_random_numbers_work(tenants):
    """Python's multiprocessing needs /dev/shm, everything needs /dev/null and /dev/urandom."""
    code = """
import multiprocessing, multiprocessing.shared_memory, subprocess
lock = multiprocessing.Lock()
block = multiprocessing.shared_memory.SharedMemory(create=True, size=4096); block.buf[0] = 7
again = multiprocessing.shared_memory.SharedMemory(block.name)
value = again.buf[0]
again.close(); block.close(); block.unlink()
full = None
try:
    os.write(os.open('/dev/full', os.O_WRONLY), b'x')
except OSError as error:
    full = error.strerror
result = [value, subprocess.run(['true'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode,
          len(open('/dev/urandom', 'rb').read(8)), open('/dev/zero', 'rb').read(2).hex(), full]"""
    assert says(tenants, code) == [7, 0, 8, "0000", "No space left on device"]


def test_shared_memory_is_bounded(tenants):
    """A tenant can't fill the machine's memory through /dev/shm."""
    code = """
written, block = 0, b'x' * (1 << 20)
try:
    with open('/dev/shm/fill', 'wb', buffering=0) as file:
        for _ in range(200):
            written += file.write(block)
except OSError:
    pass
os.unlink('/dev/shm/fill')
result = written >> 20"""
    assert 32 <= says(tenants, code) <= 64


def test_he_sees_no_process_but_his_own(tenants):
    """Neither root's nor another tenant's process shows in /proc, by its number either."""
    sleeper = subprocess.Popen(command_in(tenants, BERTA, "/bin/cat"), stdin=subprocess.PIPE, env=ENVIRONMENT)
    try:
        code = f"""
numbers = [name for name in os.listdir('/proc') if name.isdigit()]
hidden = [number for number in (1, {os.getpid()}, {sleeper.pid}) if os.path.exists(f'/proc/{{number}}')]
result = [[os.stat(f'/proc/{{name}}').st_uid for name in numbers], hidden, str(os.getpid()) in numbers]"""
        owners, hidden, himself = says(tenants, code)
    finally:
        sleeper.communicate(timeout=10)
    assert set(owners) == {ARTHUR.uid}
    assert hidden == []
    assert himself


def test_he_sees_no_other_tenant(tenants):
    """No name, number, domain or file of another tenant is anywhere that he can look."""
    (tenants.home("Berta") / "secret").write_text("secret")
    (tenants.tmp("Berta") / "secret").write_text("secret")
    code = """
found = []
for top in ('/etc', '/home', '/tmp', '/var', '/run', '/opt', '/dev', '/proc/self'):
    for parent, folders, files in os.walk(top):
        if parent.startswith(('/etc/ssl/certs', '/etc/alternatives', '/proc/self/')):
            folders.clear()
        found += [os.path.join(parent, name) for name in folders + files]
texts = [open(path, errors='replace').read() for path in ('/proc/self/mountinfo', '/etc/passwd', '/etc/group')]
result = [found, texts]"""
    found, texts = says(tenants, code)
    assert "/home/Arthur" in found
    for word in ("Berta", "berta", "secret", str(BERTA.uid)):
        assert not [path for path in found if word in path]
        assert not [text for text in texts if word in text]
    assert says(tenants, "result = sorted(os.listdir('/var/log'))") == ["one.example.com", "two.example.com"]


def test_tmp_is_his_alone_and_on_his_storage(tenants):
    """/tmp and /var/tmp are one folder, that no one else sees, and whose bytes a disk quota counts."""
    code = "open('/tmp/mine', 'w').write('x'); result = [os.listdir('/var/tmp'), os.stat('/tmp').st_mode]"
    names, mode = says(tenants, code)
    assert names == ["mine"]
    assert stat.S_IMODE(mode) == 0o1777
    assert (tenants.tmp("Arthur") / "mine").stat().st_uid == ARTHUR.uid
    assert says(tenants, "result = os.listdir('/tmp')", BERTA) == []


def test_he_writes_in_his_folders_and_logs_and_nowhere_else(tenants):
    """Every path that he could write lies in his storage, his logs, /tmp, /dev/shm or is a plain device."""
    code = """
writable = []
for parent, folders, files in os.walk('/'):
    skipped = [os.path.join(parent, name) in ('/usr', '/proc', '/etc/alternatives') for name in folders]
    folders[:] = [name for name, skip in zip(folders, skipped) if not skip]
    for path in [parent] + [os.path.join(parent, name) for name in files]:
        if not os.path.islink(path) and os.access(path, os.W_OK):
            writable.append(path)
result = writable"""
    logs = [f"/var/log/{name}/{name}.{kind}.log" for name in ("one.example.com", "two.example.com")
            for kind in ("error", "server")]  # fmt: skip
    devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
    assert sorted(says(tenants, code)) == sorted(["/tmp", "/dev/shm", "/home/Arthur", "/var/www", *logs, *devices])


def test_he_cannot_change_what_is_the_machines(tenants):
    """The shared folders are read-only mounts; the rest of the skeleton is root's."""
    code = f"""{REFUSED}
result = [refused(open, path, 'w') for path in ('/usr/bin/new', '/bin/new', '/lib/new', '/opt/user_wsgi_wrapper/new',
    '/etc/new', '/etc/ssl/certs/new', '/etc/alternatives/new', '/dev/new', '/var/log/new',
    '/var/log/one.example.com/new', '/run/new', '/new', '/home/new')]
result += [refused(os.rename, '/var/www', '/var/old'), refused(os.rmdir, '/home/Arthur'),
    refused(os.unlink, '/var/log/one.example.com/one.example.com.access.log'),
    refused(os.symlink, '/etc', '/var/log/one.example.com/link'),
    refused(os.chmod, '/var/log/one.example.com', 0o777)]"""
    reasons = says(tenants, code)
    assert None not in reasons
    assert set(reasons) <= {
        "Read-only file system", "Permission denied", "Operation not permitted", "Device or resource busy",
    }  # fmt: skip
    for path in ("/usr", "/bin", "/opt/user_wsgi_wrapper", "/etc/alternatives"):
        assert says(tenants, f"result = os.statvfs('{path}').f_flag & 7") == 7


def test_he_reads_his_access_log_but_cannot_write_it(tenants):
    """It is the worker of nginx that writes it under its own uid."""
    path = "/var/log/one.example.com/one.example.com.access.log"
    code = f"{REFUSED}\nresult = [open({path!r}).read(), refused(open, {path!r}, 'a')]"
    assert says(tenants, code) == ["", "Permission denied"]
    assert tenants.log_file("one.example.com", "access").stat().st_uid == 33
    code = "open('/var/log/one.example.com/one.example.com.error.log', 'a').write('line\\n'); result = 1"
    says(tenants, code)
    assert tenants.log_file("one.example.com", "error").read_text() == "line\n"


def test_a_setuid_program_gives_nothing(tenants):
    """A setuid-root program in his storage runs as himself; without the mount's flag it would run as root."""
    program = tenants.home("Arthur") / "raise"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    assert run_in(tenants, ARTHUR, "/home/Arthur/raise", "-u") == "61001\n"
    places = ("/usr", "/bin", "/tmp", "/var/www", "/dev/shm", "/var/log/one.example.com", "/proc")
    assert says(tenants, f"result = [os.statvfs(path).f_flag & 2 for path in {places}]") == [2] * len(places)
    home = os.open(tenants.chroot("Arthur") / "home/Arthur", mounts.FOLDER)
    try:
        mounts.set_flags(home, mounts.Flags.NODEV)
    finally:
        os.close(home)
    assert run_in(tenants, ARTHUR, "/home/Arthur/raise", "-u") == "0\n"


def test_he_can_neither_make_nor_use_device_nodes(tenants):
    """Not made by himself, and one that root restored from a backup into his home is dead."""
    os.mknod(tenants.home("Arthur") / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.chmod(tenants.home("Arthur") / "zero", 0o666)
    code = f"""{REFUSED}
import stat
result = [refused(os.mknod, '/home/Arthur/null', 0o666 | stat.S_IFCHR, os.makedev(1, 3)),
          refused(open, '/home/Arthur/zero', 'rb')]"""
    assert says(tenants, code) == ["Operation not permitted", "Permission denied"]


def test_he_can_neither_mount_nor_leave_the_chroot(tenants):
    """No second chroot, no mount, no way up."""
    code = f"""{REFUSED}
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
result = [refused(os.chroot, '/tmp'), libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.umount2(b'/proc', 2),
          os.path.samefile('/', '/../../..'), os.path.exists('{tenants.root}')]"""
    assert says(tenants, code) == ["Operation not permitted", -1, -1, True, False]


def test_a_socket_in_his_folder_is_a_door_to_nobody_else(tenants):
    """A unix socket that he binds in /tmp is reached by himself only."""
    server = socket.socket(socket.AF_UNIX)
    folder = os.open(tenants.tmp("Arthur"), os.O_PATH)
    server.bind(f"/proc/self/fd/{folder}/door")
    os.close(folder)
    server.listen()
    os.chmod(tenants.tmp("Arthur") / "door", 0o777)
    code = f"{REFUSED}\nimport socket\nresult = refused(socket.socket(socket.AF_UNIX).connect, '/tmp/door')"
    try:
        assert says(tenants, code) is None
        assert says(tenants, code, BERTA) == "No such file or directory"
    finally:
        server.close()
