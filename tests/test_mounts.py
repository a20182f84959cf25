"""Mounts are made whole, beneath open folders, and read back as the kernel tells them."""

import errno
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.emperor_hook.mounts import Flags, Mount


@pytest.fixture
def folder(tmp_path):
    """A folder to mount in; whatever a test leaves mounted beneath is an error."""
    folder = (tmp_path / "mounts").resolve()
    folder.mkdir()
    before = mountinfo()
    yield folder
    after = mountinfo()
    for target in mounts.outermost(mounts.mounted_beneath(folder)):
        mounts.unmount(target)
    assert [line for line in after if line not in before and os.fsencode(folder) in line] == []


@pytest.fixture
def opened():
    """Opens folders for the length of a test."""
    descriptors = []

    def open_folder(path):
        descriptors.append(os.open(path, mounts.FOLDER | os.O_CLOEXEC))
        return descriptors[-1]

    yield open_folder
    for descriptor in descriptors:
        os.close(descriptor)


def mountinfo():
    with open("/proc/self/mountinfo", "rb") as file:
        return file.read().splitlines()


def unmount_beneath(folder):
    while listed := mounts.mounted_beneath(folder):
        for target in mounts.outermost(listed):
            mounts.unmount(target)


def make(folder, *names):
    paths = [folder / name for name in names]
    for path in paths:
        path.mkdir(parents=True)
    return paths


LINE = (
    rb"36 35 98:0 /mnt1 /mnt/with\040space\134and\011tab rw,noatime shared:1 master:2 - "
    rb"ext3 /dev/root rw,errors=continue"
)


def test_a_line_of_mountinfo_is_read_as_proc_5_describes_it():
    """Escapes are undone; optional fields, any number of them, are told from the fixed ones."""
    (mount,) = mounts.parse(LINE + b"\n")
    assert mount == Mount(
        36,
        35,
        "/mnt1",
        "/mnt/with space\\and\ttab",
        frozenset({"rw", "noatime"}),
        True,
        "ext3",
        frozenset({"rw", "errors=continue"}),
    )


def test_a_line_without_optional_fields_is_not_shared():
    """A private mount has none of them."""
    (mount,) = mounts.parse(b"22 27 0:21 / /proc rw - proc proc rw")
    assert (mount.target, mount.shared, mount.kind) == ("/proc", False, "proc")


@given(st.binary(min_size=1, max_size=80).filter(lambda text: b"\0" not in text))
def test_any_path_comes_back_from_its_escaped_form(path):
    """Whatever bytes a folder's name has, the kernel's escapes give the same bytes."""
    escaped = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in path)
    (mount,) = mounts.parse(b"1 2 0:1 / /" + escaped + b" rw - tmpfs tmpfs rw")
    assert os.fsencode(mount.target) == b"/" + path


def test_every_line_that_the_kernel_writes_here_is_read():
    """No mount of this machine is missed."""
    lines = mountinfo()
    parsed = mounts.parse(b"\n".join(lines))
    assert [mount.id for mount in parsed] == [int(line.split()[0]) for line in lines]


@pytest.mark.parametrize("name", ["plain", "with space", "tab\tand\\back", "new\nline", "#hash", "ü\udcff"])
def test_mounts_are_found_beneath_folders_of_any_name(folder, opened, name):
    """Only what lies beneath the folder is found, not the folder itself nor one whose name begins the same."""
    source, target, other = make(folder, "source/inner", name, f"{name}-other")
    try:
        for end in (target, other, target / "inner"):
            mounts.bind(opened(source.parent), opened(end), flags=Flags.NONE)
        assert [mount.target for mount in mounts.mounted_beneath(target)] == [str(target / "inner")]
        found = {mount.target for mount in mounts.mounted_beneath(folder)}
        assert found == {str(target), str(target / "inner"), str(other)}
    finally:
        unmount_beneath(folder)


def test_a_bind_shows_the_source_under_its_own_flags(folder, opened):
    """Read-only there, writable at its source."""
    source, target = make(folder, "source", "target")
    (source / "file").write_text("content")
    flags = Flags.RDONLY | Flags.NOSUID | Flags.NODEV | Flags.NOEXEC
    mounts.bind(opened(source), opened(target), flags=flags)
    try:
        assert (target / "file").read_text() == "content"
        with pytest.raises(OSError) as caught:
            (target / "new").touch()
        assert caught.value.errno == errno.EROFS
        (source / "new").touch()
        (mount,) = mounts.mounted_beneath(folder)
        assert {"ro", "nosuid", "nodev", "noexec"} <= mount.options
        assert mounts.flags_of(opened(target)) == flags
    finally:
        unmount_beneath(folder)


def test_flags_can_be_put_right_and_taken_away(folder, opened):
    """A mount that somebody remounted gets exactly the flags that it should have."""
    source, target = make(folder, "source", "target")
    mounts.bind(opened(source), opened(target), flags=Flags.RDONLY)
    try:
        mount = opened(target)
        for flags in (Flags.NOSUID | Flags.NODEV, Flags.NONE, Flags.RDONLY | Flags.NOEXEC):
            mounts.set_flags(mount, flags)
            assert mounts.flags_of(mount) == flags
    finally:
        unmount_beneath(folder)


def test_a_recursive_bind_takes_inner_mounts_along_read_only(folder, opened):
    """A host's separate /usr/local is in the chroot too, and no more writable than the rest."""
    source, target, inner, other = make(folder, "source", "target", "source/inner", "other")
    (other / "file").write_text("inner")
    mounts.bind(opened(other), opened(inner), flags=Flags.NONE)
    mounts.bind(opened(source), opened(target), flags=Flags.RDONLY | Flags.NOSUID, recursive=True)
    try:
        assert (target / "inner/file").read_text() == "inner"
        with pytest.raises(OSError) as caught:
            (target / "inner/new").touch()
        assert caught.value.errno == errno.EROFS
    finally:
        unmount_beneath(folder)


def test_a_bind_takes_no_inner_mounts_along_unasked(folder, opened):
    """What an operator mounts beneath a tenant's storage is not the tenant's."""
    source, target, inner, other = make(folder, "source", "target", "source/inner", "other")
    (other / "secret").touch()
    mounts.bind(opened(other), opened(inner), flags=Flags.NONE)
    mounts.bind(opened(source), opened(target), flags=Flags.NONE)
    try:
        assert list((target / "inner").iterdir()) == []
    finally:
        unmount_beneath(folder)


def test_a_bind_that_cannot_get_its_flags_is_never_attached(folder, opened, monkeypatch):
    """No moment exists at which a mount is there without its flags."""
    source, target = make(folder, "source", "target")
    real = mounts._syscall

    def refusing(number, what, *arguments):
        if number == mounts.MOUNT_SETATTR:
            raise OSError(errno.EPERM, "refused")
        return real(number, what, *arguments)

    monkeypatch.setattr(mounts, "_syscall", refusing)
    with pytest.raises(OSError):
        mounts.bind(opened(source), opened(target), flags=Flags.RDONLY)
    assert mounts.mounted_beneath(folder) == ()


def test_a_proc_hides_and_a_tmpfs_limits(folder, opened):
    """Options reach the file system, and can be set again while it is in use."""
    process, memory = make(folder, "proc", "memory")
    mounts.new_filesystem("proc", (("hidepid", "2"),), opened(process), flags=Flags.NOSUID)
    mounts.new_filesystem("tmpfs", (("size", "1m"), ("mode", "1777")), opened(memory), flags=Flags.NOEXEC)
    try:
        assert mounts.magic_of(opened(process)) == mounts.MAGIC["proc"]
        assert mounts.magic_of(opened(memory)) == mounts.MAGIC["tmpfs"]
        mounts.reconfigure(opened(process), (("hidepid", "0"),))
        shown = {mount.target: mount for mount in mounts.mounted_beneath(folder)}
        assert not any(option.startswith("hidepid") for option in shown[str(process)].super_options)
        mounts.reconfigure(opened(process), (("hidepid", "2"),))
        shown = {mount.target: mount for mount in mounts.mounted_beneath(folder)}
        assert {"hidepid=invisible", "hidepid=2"} & shown[str(process)].super_options
        assert "size=1024k" in shown[str(memory)].super_options
        assert "noexec" in shown[str(memory)].options
    finally:
        unmount_beneath(folder)


def test_a_refused_option_names_itself_and_mounts_nothing(folder, opened):
    """A kernel that doesn't know an option is told from one that can't mount."""
    (target,) = make(folder, "target")
    with pytest.raises(OSError, match="no_such_option"):
        mounts.new_filesystem("tmpfs", (("no_such_option", "1"),), opened(target), flags=Flags.NONE)
    assert mounts.mounted_beneath(folder) == ()


def test_no_descriptor_is_left_open(folder, opened):
    """Neither success nor failure leaks one."""
    source, target = make(folder, "source", "target")
    ends = opened(source), opened(target)
    before = sorted(os.listdir("/proc/self/fd"))
    mounts.bind(*ends, flags=Flags.NONE)
    mounts.unmount(target)
    with pytest.raises(OSError):
        mounts.new_filesystem("tmpfs", (("no_such_option", "1"),), ends[1], flags=Flags.NONE)
    with pytest.raises(OSError):
        mounts.open_beneath(ends[0], "missing")
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("link", ["link", "link/etc", "plain/../../..", "/etc"])
def test_no_symlink_and_no_way_out_is_followed(folder, opened, link):
    """Neither a link anywhere in the path nor a path that climbs or starts anew opens anything."""
    make(folder, "plain")
    (folder / "link").symlink_to("/")
    with pytest.raises(OSError) as caught:
        mounts.open_beneath(opened(folder), link)
    assert caught.value.errno in (errno.ELOOP, errno.EXDEV)


def test_a_mount_point_is_told_from_a_folder(folder, opened):
    """Staying on the same mount refuses what a bind mount of the same file system shows."""
    source, target = make(folder, "source", "target")
    base = opened(folder)
    os.close(mounts.open_beneath(base, "target", same_mount=True))
    mounts.bind(opened(source), opened(target), flags=Flags.NONE)
    try:
        with pytest.raises(OSError) as caught:
            mounts.open_beneath(base, "target", same_mount=True)
        assert caught.value.errno == errno.EXDEV
    finally:
        unmount_beneath(folder)


def test_unmounting_takes_the_topmost_of_a_stack(folder, opened):
    """A stack of mounts comes down one by one, busy or not."""
    first, second, target = make(folder, "first", "second", "target")
    for source in (first, second):
        (source / source.name).touch()
        mounts.bind(opened(source), opened(target), flags=Flags.NONE)
    busy = os.open(target / "second", os.O_RDONLY)
    try:
        mounts.unmount(target)
        assert [path.name for path in target.iterdir()] == ["first"]
        mounts.unmount(target)
        assert list(target.iterdir()) == []
    finally:
        os.close(busy)
        unmount_beneath(folder)


def test_a_link_is_never_unmounted_through(folder, opened):
    """A symlink at the place of a mount point doesn't lead to another mount."""
    source, target = make(folder, "source", "target")
    mounts.bind(opened(source), opened(target), flags=Flags.NONE)
    (folder / "link").symlink_to(target)
    try:
        with pytest.raises(OSError):
            mounts.unmount(folder / "link")
        assert len(mounts.mounted_beneath(folder)) == 1
    finally:
        unmount_beneath(folder)


def test_the_outermost_mounts_cover_all_others():
    """Each listed mount is one of the outermost or lies beneath one; no outermost lies beneath another."""
    targets = ["/a/b", "/a", "/a-b", "/a/b/c", "/d/e", "/a", "/d/e f"]
    listed = [Mount(1, 0, "/", target, frozenset(), False, "tmpfs", frozenset()) for target in targets]
    assert sorted(mounts.outermost(listed)) == ["/a", "/a-b", "/d/e", "/d/e f"]


def test_under_a_shared_mount_mounts_come_and_go_everywhere_but_what_is_inside_stays(folder):
    """As under systemd: other namespaces see a bind come and go, a mount made later in its source stays out of it."""
    script = textwrap.dedent(
        """
        import os, subprocess, sys
        from pathlib import Path
        from user_wsgi_wrapper.emperor_hook import mounts
        from user_wsgi_wrapper.emperor_hook.mounts import Flags
        folder = Path(sys.argv[1])
        source, target, inner = folder / "source", folder / "target", folder / "source/inner"
        inner.mkdir(parents=True); target.mkdir()
        # Where / is itself a mount point it may be shared with the host; in a chroot it is none, and private.
        subprocess.run(["mount", "--make-rprivate", "/"], stderr=subprocess.DEVNULL)
        for command in (["--bind", folder, folder], ["--make-shared", folder]):
            subprocess.run(["mount", *command], check=True)
        other = subprocess.Popen(["unshare", "--mount", "--propagation", "unchanged", "sh", "-c",
                                  'mount --make-slave "$0"; echo; exec cat', folder],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        other.stdout.readline()
        def seen(pid="self"):
            listed = mounts.parse(Path(f"/proc/{pid}/mountinfo").read_bytes())
            return sorted(mount.target for mount in listed if mount.target.startswith(f"{folder}/"))
        try:
            fd = lambda path: os.open(path, mounts.FOLDER)
            mounts.bind(fd(source), fd(target), flags=Flags.RDONLY)
            assert not any(mount.shared for mount in mounts.mounted_beneath(folder))
            assert seen(other.pid) == [str(target)], seen(other.pid)
            mounts.new_filesystem("tmpfs", (), fd(inner), flags=Flags.NONE)
            assert seen() == [str(inner), str(target)], seen()
            mounts.unmount(target)
            assert seen(other.pid) == [str(inner)], seen(other.pid)
        finally:
            other.communicate(timeout=10)
        """
    )
    command = ["unshare", "--mount", "--propagation", "unchanged", sys.executable, "-c", script, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
