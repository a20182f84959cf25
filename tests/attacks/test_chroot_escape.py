"""Out of the chroot: every known way, walked by a tenant's worker under the real Emperor."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.attacks.tenants import ATTACKER, Tenants, descriptors, tenants  # noqa: F401 - a fixture

HOST_FILE = "/etc/shadow"


def test_a_second_chroot_needs_what_no_tenant_has(tenants: Tenants) -> None:  # noqa: F811
    """The classic: chroot deeper with a folder held open above, then walk up. Its first step is refused."""
    result = tenants.attack(
        """
        held = os.open("/", os.O_RDONLY)
        os.makedirs("/tmp/deeper", exist_ok=True)
        first = refused(os.chroot, "/tmp/deeper")
        os.fchdir(held)
        for _ in range(20):
            os.chdir("..")
        above = os.path.samefile(".", "/")
        os.chdir("/var/www")
        os.close(held)
        result = [first, above, call("syscall", 155, b"/tmp", b"/tmp")]  # pivot_root
        """
    )
    assert result == ["EPERM", True, "EPERM"]


def test_no_namespace_gives_capabilities(tenants: Tenants) -> None:  # noqa: F811
    """A user namespace would: mount, chroot and mknod inside it. The kernel gives none to who is chrooted."""
    namespaces = {"user": 0x10000000, "mount": 0x20000, "ipc": 0x8000000, "net": 0x40000000, "pid": 0x20000000}
    result = tenants.attack(
        """
        result = {name: in_child(lambda: call("unshare", flag)) for name, flag in namespaces.items()}
        result["clone"] = in_child(lambda: call(56, 0x10000000 | 17, 0, 0, 0, 0))
        for name in ("user", "mnt", "pid", "net"):
            fd = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
            result["setns " + name] = in_child(lambda: call("setns", fd, 0))
            os.close(fd)
        """,
        namespaces=namespaces,
    )
    assert set(result.pop("setns user")) <= set("EINVAL")  # one's own can't be entered anew
    assert result == dict.fromkeys(result, "EPERM")


def test_no_mount_can_be_made_or_undone(tenants: Tenants) -> None:  # noqa: F811
    """Neither by mount(2) nor by the newer calls; no mount that hides something goes away."""
    result = tenants.attack(
        """
        result = {
            "mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
            "bind": call("mount", b"/", b"/tmp", None, 4096, None),
            "remount": call("mount", None, b"/usr", None, 32, None),
            "umount": call("umount2", b"/var/www", 2),
            "fsopen": call(430, b"tmpfs", 0),
            "open_tree": call(428, -100, b"/", 1),
            "move_mount": call(429, -100, b"/var/www", -100, b"/tmp", 0),
            "mount_setattr": call(442, -100, b"/usr", 0, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32),
        }
        """
    )
    assert result == dict.fromkeys(result, "EPERM")


def test_no_handle_reaches_a_file_outside(tenants: Tenants) -> None:  # noqa: F811
    """open_by_handle_at(2) passes by every chroot, for who has the capability (the way out of early containers)."""
    result = tenants.attack(
        """
        words = ((8, 4), (1, 4), (2, 8))  # the size, the kind, an inode: the root of many a file system
        handle = ctypes.create_string_buffer(b"".join(word.to_bytes(size, "little") for word, size in words))
        fd = os.open("/var/www", os.O_RDONLY)
        result = call("open_by_handle_at", fd, handle, os.O_RDONLY)
        os.close(fd)
        """
    )
    assert result == "EPERM"


def test_no_device_can_be_made_or_found(tenants: Tenants) -> None:  # noqa: F811
    """No disk, no memory, no terminal: only the five devices that give nothing away."""
    result = tenants.attack(
        """
        import stat
        made = {}
        for name, kind, major, minor in (("disk", stat.S_IFBLK, 8, 0), ("mem", stat.S_IFCHR, 1, 1),
                                         ("tty", stat.S_IFCHR, 5, 0), ("kmsg", stat.S_IFCHR, 1, 11)):
            for folder in ("/tmp", "/var/www", "/dev/shm"):
                made[folder + name] = refused(os.mknod, f"{folder}/{name}", 0o666 | kind, os.makedev(major, minor))
        found = []
        for parent, folders, files in os.walk("/"):
            folders[:] = [name for name in folders if os.path.join(parent, name) not in ("/proc", "/usr")]
            for name in files:
                path = os.path.join(parent, name)
                if stat.S_ISBLK(os.lstat(path).st_mode) or stat.S_ISCHR(os.lstat(path).st_mode):
                    found.append(path)
        result = [made, found]
        """
    )
    assert result[0] == dict.fromkeys(result[0], "EPERM")
    assert sorted(result[1]) == [f"/dev/{name}" for name in ("full", "null", "random", "urandom", "zero")]


def test_every_descriptor_leads_inside(tenants: Tenants) -> None:  # noqa: F811
    """Nothing is inherited from the Emperor but the site's own sockets; each file lies in the chroot."""
    root = str(tenants.layout.chroot("Attacker"))
    pids = tenants.pids(ATTACKER)
    assert len(pids) >= 2
    for pid in pids:
        targets = descriptors(pid)
        assert all(
            target.startswith((f"{root}/", "socket:[", "anon_inode:[eventpoll]", "/dev/null"))
            for target in targets.values()
        ), targets
        assert os.readlink(f"/proc/{pid}/root") == root
        assert os.readlink(f"/proc/{pid}/cwd") == f"{root}/var/www"


def test_no_descriptor_of_a_folder_outside_is_left_to_walk_up_from(tenants: Tenants) -> None:  # noqa: F811
    """Each descriptor that the tenant's own code finds is tried: fchdir, openat above it, and opening it anew."""
    result = tenants.attack(
        """
        result = {}
        for name in os.listdir("/proc/self/fd"):
            fd = int(name)
            try:
                os.close(os.open("../../../../../../../../etc/shadow", os.O_RDONLY, dir_fd=fd))
                result[name] = "opened"
            except OSError as error:
                result[name] = errno.errorcode[error.errno]
        """
    )
    assert set(result.values()) <= {"ENOTDIR", "EBADF"}  # EBADF: the listing's own


def test_proc_leads_nowhere(tenants: Tenants) -> None:  # noqa: F811
    """The links of /proc (root, cwd, fd, map_files) of others aren't there; one's own lead inside."""
    host = [1, os.getpid(), tenants.emperor()]
    result = tenants.attack(
        """
        result = [refused(os.listdir, f"/proc/{pid}/{name}") for pid in host for name in ("root", "cwd", "fd", "")]
        result += [refused(open, f"/proc/{pid}/root/etc/shadow") for pid in host]
        result.append([os.path.samefile("/proc/self/root", "/"), os.path.realpath("/proc/self/cwd")])
        """,
        host=host,
    )
    assert result.pop() == [True, "/var/www"]
    assert set(result) == {"ENOENT"}


def test_nothing_of_the_kernels_can_be_written_or_read_through_proc(tenants: Tenants) -> None:  # noqa: F811
    """core_pattern runs a program as root outside every chroot; sysrq and the rest are as bad."""
    paths = ("sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger", "sys/vm/overcommit_memory")
    result = tenants.attack(
        """
        result = [refused(os.open, f"/proc/{path}", os.O_WRONLY) for path in paths]
        read = ("kmsg", "kcore", "kpagecount", "1/environ")
        result += [refused(os.open, f"/proc/{path}", os.O_RDONLY) for path in read]
        """,
        paths=paths,
    )
    assert set(result) <= {"EACCES", "EPERM", "ENOENT"}


@pytest.fixture
def setuid_program(tenants: Tenants) -> Path:  # noqa: F811
    """A setuid-root program that root itself left in the tenant's home."""
    program = tenants.layout.home("Attacker") / "become-root"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)
    return program


def test_a_setuid_program_of_roots_gives_nothing(tenants: Tenants, setuid_program: Path) -> None:  # noqa: F811
    """Neither where the tenant writes nor in /usr, of which the host has several (su, mount, passwd)."""
    assert setuid_program.stat().st_mode & stat.S_ISUID
    result = tenants.attack(
        """
        import subprocess
        found = [os.path.join("/usr/bin", name) for name in os.listdir("/usr/bin")]
        setuid = [path for path in found if os.path.exists(path) and os.stat(path).st_mode & 0o6000]
        uid = subprocess.run(["/home/Attacker/become-root", "-u"], capture_output=True, text=True).stdout
        flags = [os.statvfs(path).f_flag & 2 for path in ["/home/Attacker", *setuid]]
        result = [int(uid) == os.getuid(), len(setuid), flags]
        """
    )
    assert result[0] is True
    assert result[1] > 0, "this machine has no setuid program to attack with"
    assert result[2] == [2] * (result[1] + 1)


def test_a_setuid_program_gives_nothing_even_where_the_mount_would_let_it(
    tenants: Tenants,  # noqa: F811
    setuid_program: Path,
) -> None:
    """no_new_privs alone holds, should a mount ever be without its flag."""
    from user_wsgi_wrapper.emperor_hook import mounts

    home = os.open(tenants.layout.chroot("Attacker") / "home/Attacker", mounts.FOLDER)
    try:
        before = mounts.flags_of(home)
        mounts.set_flags(home, mounts.Flags.NODEV)
        result = tenants.attack(
            """
            import subprocess
            uid = subprocess.run(["/home/Attacker/become-root", "-u"], capture_output=True, text=True).stdout
            result = [int(uid) == os.getuid(), os.statvfs("/home/Attacker").f_flag & 2]
            """
        )
        mounts.set_flags(home, before)
    finally:
        os.close(home)
    assert setuid_program.exists()
    assert result == [True, 0]
