"""A machine in a temporary folder on which tests build real chroots, and processes run in them as the tenant."""

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass

import pytest

from user_wsgi_wrapper.emperor_hook import chroot, mounts, shared_files
from user_wsgi_wrapper.layout import Layout

FRONT = 33
PACKAGE_FILES = {
    "__init__.py": "",
    "inside.py": "",
    "user_wsgi_wrapper.py": "print('entry')\n",
    "runtime/__init__.py": "",
    "runtime/part.py": "WORD = 'library'\n",
}


@dataclass(frozen=True)
class Identity:
    username: str
    uid: int
    gid: int


ARTHUR = Identity("Arthur", 61001, 61002)
BERTA = Identity("Berta", 61003, 61004)


def mountinfo():
    with open("/proc/self/mountinfo", "rb") as file:
        return file.read().splitlines()


def unmount_beneath(folder):
    while listed := mounts.mounted_beneath(folder):
        for target in mounts.outermost(listed):
            mounts.unmount(target)


@pytest.fixture
def root(tmp_path):
    """A folder for a layout; a mount or a descriptor that a test leaves is an error."""
    folder = (tmp_path / "host").resolve()
    folder.mkdir()
    mounted, descriptors = mountinfo(), len(os.listdir("/proc/self/fd"))
    yield folder
    left = [line for line in mountinfo() if line not in mounted and os.fsencode(tmp_path) in line]
    unmount_beneath(tmp_path.resolve())
    assert left == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """A small package of the installed one's shape."""
    folder = tmp_path_factory.mktemp("package")
    for name, text in PACKAGE_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(shared_files.PACKAGE / "runtime" / "unpack.py", folder / "runtime")
    return folder


@pytest.fixture
def bare(root):
    """A layout whose shared folders are there and hold next to nothing."""
    layout = Layout(root)
    layout.shared_library.mkdir(parents=True)
    layout.shared_bin.mkdir(parents=True)
    (layout.shared_bin / "sh").symlink_to("/usr/bin/sh")
    yield layout
    chroot.tear_down_all(layout)


@pytest.fixture
def machine(bare, package):
    """A layout with the real shared files."""
    shared_files.refresh(bare, package)
    return bare


def build(layout, identity=ARTHUR, domains=("one.example.com",), facts=None):
    plan = chroot.plan(layout, identity, domains, facts or chroot.host_facts(), FRONT)
    chroot.build(plan)
    return plan


def command_in(layout, identity, *command):
    return [
        "/usr/sbin/chroot",
        f"--userspec={identity.uid}:{identity.gid}",
        "--groups=",
        layout.chroot(identity.username),
        *command,
    ]


ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def run_in(layout, identity, *command):
    """Run a command as the tenant in his chroot; what it printed."""
    done = subprocess.run(
        command_in(layout, identity, *command),
        env=ENVIRONMENT | {"HOME": f"/home/{identity.username}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python_in(layout, identity, code):
    """Run Python code as the tenant in his chroot; what it printed."""
    return run_in(layout, identity, "/usr/bin/python3", "-I", "-c", code)


def snapshot(layout):
    """All that a plan can make: every path with its kind, mode, owner and content, and every mount as it is."""
    facts = {}
    for base in (layout.chroots_dir, layout.storage_dir, layout.user_logs_dir):
        mounted = {mount.target for mount in mounts.mounted_beneath(base)}
        for parent, folders, files in os.walk(base):
            for name in folders + files:
                path = os.path.join(parent, name)
                facts[path] = _describe(path) if path not in mounted else "a mount"
            folders[:] = [name for name in folders if os.path.join(parent, name) not in mounted]
    for mount in mounts.mounted_beneath(layout.chroots_dir):
        state = (mount.root, mount.options, mount.kind, mount.super_options, mount.shared)
        facts.setdefault(("mounts", mount.target), []).append(state)
    return facts


def _describe(path):
    info = os.lstat(path)
    content = None
    if stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    return info.st_mode, info.st_uid, info.st_gid, info.st_rdev, content
