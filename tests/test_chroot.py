"""Chroots are built from any state to the same one, and taken down from any state without a trace."""

import os
import shutil
import subprocess
import time

import pytest

from tests.chroot_machine import (  # noqa: F401 - fixtures
    ARTHUR,
    BERTA,
    FRONT,
    bare,
    build,
    command_in,
    mountinfo,
    package,
    python_in,
    root,
    snapshot,
)
from user_wsgi_wrapper.emperor_hook import chroot, file_steps, mounts
from user_wsgi_wrapper.emperor_hook.bases import Bases
from user_wsgi_wrapper.emperor_hook.chroot import ChrootError
from user_wsgi_wrapper.emperor_hook.chroot_plan import Copy, Place
from user_wsgi_wrapper.emperor_hook.mounts import Flags
from user_wsgi_wrapper.layout import Layout

DOMAIN = "one.example.com"
# What changes the disk or the mounts; os.open does if it creates.
CHANGES = ("mkdir", "rename", "symlink", "mknod", "fchown", "fchmod", "chmod", "unlink", "rmdir", "utime")
MOUNT_CALLS = {mounts.MOVE_MOUNT, mounts.MOUNT_SETATTR, mounts.FSCONFIG}


@pytest.fixture
def layout(bare):  # noqa: F811
    return bare


def before_changes(act, monkeypatch):
    """Have `act(name)` called before everything that changes the disk or the mounts."""

    def watched(name, change):
        def call(*arguments, **keywords):
            act(name)
            return change(*arguments, **keywords)

        return call

    for name in CHANGES:
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    monkeypatch.setattr(mounts, "unmount", watched("unmount", mounts.unmount))
    real_open, real_syscall = os.open, mounts._syscall

    def open_(path, flags, *arguments, **keywords):
        if flags & os.O_CREAT:
            act("create")
        return real_open(path, flags, *arguments, **keywords)

    def syscall(number, *arguments):
        if number in MOUNT_CALLS:
            act(str(number))
        return real_syscall(number, *arguments)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(mounts, "_syscall", syscall)


def killed(work, after, watch=before_changes):
    """Do `work()` in a child that is killed before its `after`-th change; False if it came to its end.

    `watch(act, monkeypatch)` has act(name) called before each change.
    """
    child = os.fork()
    if child == 0:
        left = [after]

        def count(_):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)

        try:
            watch(count, pytest.MonkeyPatch())
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def forget(layout):
    """Take away what outlives a chroot. Only with no mount left."""
    assert mounts.mounted_beneath(layout.root) == ()
    for folder in (layout.storage_dir, layout.user_logs_dir, layout.chroots_dir):
        if folder.exists():
            shutil.rmtree(folder)


def assert_no_trace(layout):
    """Neither a mount nor a file of any chroot is left."""
    assert chroot.mounted_chroots(layout) == []
    assert not layout.chroots_dir.exists() or list(layout.chroots_dir.iterdir()) == []


def test_a_second_build_changes_nothing(layout, monkeypatch):
    """What is in place stays: not one call that changes anything."""
    plan = build(layout)
    before = snapshot(layout)
    changes = []
    with monkeypatch.context() as patch:
        before_changes(changes.append, patch)
        chroot.build(plan)
    assert changes == []
    assert snapshot(layout) == before


def test_a_second_build_is_cheap(layout):
    """Facts, plan and checks of a complete chroot cost less than 3 ms."""
    build(layout)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        build(layout)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.003


def test_no_mount_of_ours_is_shared(layout):
    """Nothing that is mounted later on the host shows up in a chroot through its binds."""
    build(layout)
    listed = mounts.mounted_beneath(layout.chroots_dir)
    assert len(listed) >= 10
    assert not any(mount.shared for mount in listed)


def test_a_build_killed_at_any_step_is_completed_by_the_next(layout):
    """From wherever it was cut the next build gives the state that an undisturbed one gives."""
    plan = build(layout)
    whole = snapshot(layout)
    chroot.tear_down(layout, "Arthur")
    after, went_on = 1, True
    while went_on:
        forget(layout)
        went_on = killed(lambda: chroot.build(plan), after)
        chroot.build(plan)
        assert snapshot(layout) == whole, f"killed before change {after}"
        chroot.tear_down(layout, "Arthur")
        after += 1
    assert after > 100


def test_a_build_killed_at_any_step_can_be_torn_down(layout):
    """From wherever it was cut the tear-down leaves no trace."""
    plan = build(layout)
    chroot.tear_down(layout, "Arthur")
    after, went_on = 1, True
    while went_on:
        forget(layout)
        went_on = killed(lambda: chroot.build(plan), after)
        chroot.tear_down(layout, "Arthur")
        assert_no_trace(layout)
        after += 1
    assert after > 100


def test_a_tear_down_killed_at_any_step_can_be_finished_or_undone(layout):
    """After a cut tear-down another one leaves no trace, and a build gives the whole chroot again."""
    plan = build(layout)
    whole = snapshot(layout)
    after = 1
    while killed(lambda: chroot.tear_down(layout, "Arthur"), after):
        chroot.build(plan)
        assert snapshot(layout) == whole, f"killed before change {after}"
        assert killed(lambda: chroot.tear_down(layout, "Arthur"), after)
        chroot.tear_down(layout, "Arthur")
        assert_no_trace(layout)
        chroot.build(plan)
        after += 1
    assert after > 30


def test_builds_of_many_tenants_at_the_same_time_are_all_whole(layout):
    """Processes that build different tenants' chroots, and the bases among them, don't disturb each other."""
    identities = [type(ARTHUR)(f"User{number}", 61100 + number, 61100 + number) for number in range(8)]
    children = []
    for number, identity in enumerate(identities):
        child = os.fork()
        if child == 0:
            try:
                build(layout, identity, (f"site{number}.example.com",))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert chroot.mounted_chroots(layout) == [identity.username for identity in identities]
    before = snapshot(layout)
    for number, identity in enumerate(identities):
        build(layout, identity, (f"site{number}.example.com",))
    assert snapshot(layout) == before


def open_folder(path):
    return os.open(path, mounts.FOLDER | os.O_CLOEXEC)


def remount(path, flags):
    descriptor = open_folder(path)
    mounts.set_flags(descriptor, flags)
    os.close(descriptor)


def cover(path, kind="tmpfs", source=None):
    target = open_folder(path)
    if source is None:
        mounts.new_filesystem(kind, (), target, flags=Flags.NONE)
    else:
        descriptor = open_folder(source)
        mounts.bind(descriptor, target, flags=Flags.NONE)
        os.close(descriptor)
    os.close(target)


def replace_by_link(path):
    path.unlink()
    path.symlink_to("/etc/shadow")


DAMAGES = {
    "the usr bind lost its flags": lambda top: remount(top / "usr", Flags.NONE),
    "the home bind became read-only": lambda top: remount(top / "home/Arthur", Flags.RDONLY | Flags.NOSUID),
    "the logs may hold programs": lambda top: remount(top / f"var/log/{DOMAIN}", Flags.NOSUID | Flags.NODEV),
    "something covers the home": lambda top: cover(top / "home/Arthur"),
    "something covers the home twice": lambda top: [cover(top / "home/Arthur") for _ in range(2)],
    "another folder is bound as bin": lambda top: [mounts.unmount(top / "bin"), cover(top / "bin", source="/etc")],
    "proc is the host's": lambda top: [mounts.unmount(top / "proc"), cover(top / "proc", source="/proc")],
    "proc is a tmpfs": lambda top: [mounts.unmount(top / "proc"), cover(top / "proc")],
    "proc is gone": lambda top: mounts.unmount(top / "proc"),
    "shm is on the disk": lambda top: mounts.unmount(top / "dev/shm"),
    "a mount point is gone": lambda top: [mounts.unmount(top / "tmp"), (top / "tmp").rmdir()],
    "a mount point is a link": lambda top: [
        mounts.unmount(top / "tmp"), (top / "tmp").rmdir(), (top / "tmp").symlink_to("/etc"),
    ],
    "passwd names another": lambda top: (top / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n"),
    "passwd is anyone's to write": lambda top: (top / "etc/passwd").chmod(0o666),
    "passwd is a link": lambda top: replace_by_link(top / "etc/passwd"),
    "group is another's": lambda top: os.chown(top / "etc/group", 61001, 61001),
    "a device is another": lambda top: [
        (top / "dev/null").unlink(), os.mknod(top / "dev/null", 0o20666, os.makedev(1, 5)),
    ],
    "a device is a file": lambda top: [(top / "dev/null").unlink(), (top / "dev/null").touch()],
    "a link leads elsewhere": lambda top: [(top / "lib").unlink(), (top / "lib").symlink_to("/tmp")],
    "a link is a folder": lambda top: [(top / "lib").unlink(), (top / "lib").mkdir()],
    "a link is a mount": lambda top: [(top / "lib").unlink(), (top / "lib").mkdir(), cover(top / "lib")],
    "etc is anyone's to write": lambda top: (top / "etc").chmod(0o777),
    "the chroot is the tenant's": lambda top: os.chown(top, 61001, 61002),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_mended(layout, damage):
    """Whatever was changed behind our back, the next build gives the right state again."""
    plan = build(layout)
    whole = snapshot(layout)
    damage(layout.chroot("Arthur"))
    assert snapshot(layout) != whole
    chroot.build(plan)
    assert snapshot(layout) == whole


def test_a_proc_that_shows_everyone_is_mended_with_anything_else_that_is_missing(layout):
    """An incomplete chroot gets its file systems' options set anew."""
    plan = build(layout)
    whole = snapshot(layout)
    descriptor = open_folder(layout.chroot("Arthur") / "proc")
    mounts.reconfigure(descriptor, (("hidepid", "0"),))
    os.close(descriptor)
    mounts.unmount(layout.chroot("Arthur") / "tmp")
    chroot.build(plan)
    assert snapshot(layout) == whole


def test_a_reboot_is_mended(layout):
    """With all mounts gone and all files as they were, one build is enough."""
    plan = build(layout)
    whole = snapshot(layout)
    (layout.home("Arthur") / "file").write_text("kept")
    for target in mounts.outermost(mounts.mounted_beneath(layout.root)):
        mounts.unmount(target)
    chroot.build(plan)
    (layout.home("Arthur") / "file").unlink()
    assert snapshot(layout) == whole


def test_another_domain_joins_without_disturbing_the_first(layout):
    """A running site keeps its very mounts, its shared memory and its open logs while a second site is added."""
    build(layout, ARTHUR, ("one.example.com",))
    before = {mount.target: mount.id for mount in mounts.mounted_beneath(layout.root)}
    python_in(layout, ARTHUR, "open('/dev/shm/state', 'w').write('kept')")
    build(layout, ARTHUR, ("two.example.com",))
    after = {mount.target: mount.id for mount in mounts.mounted_beneath(layout.root)}
    joined = str(layout.chroot("Arthur") / "var/log/two.example.com")
    assert {**before, joined: after[joined]} == after
    assert python_in(layout, ARTHUR, "print(open('/dev/shm/state').read())") == "kept\n"


def test_one_domain_of_several_can_leave(layout):
    """Its logs are no longer seen inside, and stay on the host; leaving twice is no error."""
    build(layout, ARTHUR, ("one.example.com", "two.example.com"))
    for _ in range(2):
        chroot.remove_log_mount(layout, "Arthur", "one.example.com")
    assert python_in(layout, ARTHUR, "import os; print(os.listdir('/var/log'))") == "['two.example.com']\n"
    assert layout.log_file("one.example.com", "error").exists()
    chroot.remove_log_mount(layout, "Berta", "one.example.com")
    assert not layout.chroot("Berta").exists()


def test_what_a_tenant_has_is_left_as_it_is(layout):
    """Folders that are there keep owner and mode, and their content outlives the chroot."""
    layout.home("Arthur").mkdir(parents=True)
    layout.home("Arthur").chmod(0o711)
    os.chown(layout.home("Arthur"), 61001, 99)
    (layout.home("Arthur") / "file").write_text("kept")
    build(layout)
    info = layout.home("Arthur").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (61001, 99, 0o711)
    chroot.tear_down(layout, "Arthur")
    assert_no_trace(layout)
    assert (layout.home("Arthur") / "file").read_text() == "kept"
    assert list(layout.www("Arthur").iterdir()) == []


def test_what_the_host_changes_in_etc_is_copied_anew(layout):
    """A copy follows its source's content, through a link too, and is one file at every moment."""
    source, target = layout.root / "resolv.conf", layout.root / "link"
    target.symlink_to(source)
    place = Place(layout.chroots_dir, "resolv.conf")
    step = Copy(place, target)
    copy = layout.chroots_dir / "resolv.conf"
    with Bases() as bases:
        for text in ("nameserver 192.0.2.1\n", "nameserver 192.0.2.22\n", ""):
            source.write_text(text)
            file_steps.ensure(step, bases)
            assert copy.read_text() == text
            assert not copy.is_symlink()
            assert file_steps.in_place(step, bases)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_changes_nothing(layout, umask):
    """The same modes come out under whatever umask the caller has."""
    build(layout)
    whole = snapshot(layout)
    chroot.tear_down(layout, "Arthur")
    forget(layout)
    before = os.umask(umask)
    try:
        build(layout)
    finally:
        os.umask(before)
    assert snapshot(layout) == whole
    assert layout.chroots_dir.stat().st_mode & 0o777 == 0o755


def victims(layout):
    """A folder of the host's beside everything, and how to tell that nobody touched it."""
    victim = layout.root / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    (victim / "file").chmod(0o600)

    def state():
        names = sorted(path.name for path in victim.iterdir())
        return names, [(path.lstat().st_mode, path.lstat().st_uid, path.lstat().st_ctime_ns)
                       for path in (victim, victim / "file")]  # fmt: skip

    return victim, state


def test_links_that_a_tenant_plants_lead_root_nowhere(layout):
    """Whatever he puts into his three folders, builds and tear-downs neither follow nor change it."""
    victim, state = victims(layout)
    build(layout)
    untouched = state()
    code = f"""
import os
for folder in ('/home/Arthur', '/var/www', '/tmp'):
    for name in ('static', 'wsgi.py', 'www', '.new', '.home.new', 'var', 'home'):
        os.symlink('{victim}', f'{{folder}}/{{name}}')
    os.symlink('{victim}/file', f'{{folder}}/file')
    os.mkfifo(f'{{folder}}/fifo')
os.chmod('/home/Arthur', 0); os.chmod('/var/www', 0o777)"""
    python_in(layout, ARTHUR, code)
    planted = snapshot(layout)
    build(layout)
    assert snapshot(layout) == planted
    chroot.tear_down(layout, "Arthur")
    build(layout)
    assert snapshot(layout) == planted
    assert state() == untouched
    assert os.readlink(layout.www("Arthur") / "static") == str(victim)


PLANTED = {
    "the storage": lambda layout: layout.storage("Arthur"),
    "the home": lambda layout: layout.home("Arthur"),
    "the folder above www": lambda layout: layout.www("Arthur").parent,
    "www": lambda layout: layout.www("Arthur"),
    "tmp": lambda layout: layout.tmp("Arthur"),
    "the new home": lambda layout: layout.storage("Arthur") / ".home.new",
    "the log folder": lambda layout: layout.log_dir(DOMAIN),
    "a log": lambda layout: layout.log_file(DOMAIN, "error"),
    "the chroot": lambda layout: layout.chroot("Arthur"),
    "the chroot's etc": lambda layout: layout.chroot("Arthur") / "etc",
    "the chroot's var": lambda layout: layout.chroot("Arthur") / "var",
}


@pytest.mark.parametrize("place", PLANTED.values(), ids=PLANTED.keys())
@pytest.mark.parametrize("target", ["victim", "victim/file"])
def test_a_link_in_the_place_of_a_folder_is_refused(layout, place, target):
    """Storage that a tenant once owned may hold links anywhere: one line of error, nothing behind them changes."""
    _, state = victims(layout)
    untouched = state()
    path = place(layout)
    path.parent.mkdir(parents=True)
    path.symlink_to(layout.root / target)
    with pytest.raises(ChrootError) as caught:
        build(layout)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)
    assert state() == untouched
    assert path.is_symlink()


@pytest.mark.parametrize("kind", ["hard link", "fifo", "device", "folder"])
def test_a_log_that_is_no_plain_file_of_its_own_is_refused(layout, kind):
    """Neither its owner nor its mode is changed, and the build doesn't hang on it."""
    victim, state = victims(layout)
    log = layout.log_file(DOMAIN, "error")
    log.parent.mkdir(parents=True)
    if kind == "hard link":
        os.link(victim / "file", log)
    elif kind == "fifo":
        os.mkfifo(log, 0o600)
    elif kind == "device":
        os.mknod(log, 0o20600, os.makedev(1, 3))
    else:
        log.mkdir()
    before, untouched = log.stat(), state()
    with pytest.raises(ChrootError, match=r"one\.example\.com\.error\.log") as caught:
        build(layout)
    assert "\n" not in str(caught.value)
    assert (log.stat().st_uid, log.stat().st_mode) == (before.st_uid, before.st_mode)
    assert state() == untouched


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_base_that_others_may_write_in_is_refused(layout, mode):
    """Whoever could swap a tenant's folder in it could lead root anywhere."""
    layout.storage_dir.mkdir(parents=True)
    layout.storage_dir.chmod(mode)
    with pytest.raises(ChrootError, match="must belong to root"):
        build(layout)
    assert list(layout.storage_dir.iterdir()) == []


def test_a_base_may_be_a_link_of_the_operators(root, package):  # noqa: F811
    """An operator can move storage to another disk, and the whole root may lie beneath links."""
    (root / "disk").mkdir()
    (root / "real/mnt").mkdir(parents=True)
    (root / "link").symlink_to("real")
    (root / "real/mnt/user_storage").symlink_to("../../disk")
    (root / "real/mnt/chroots").symlink_to("../../elsewhere")
    (root / "elsewhere").mkdir()
    layout = Layout(root / "link")
    layout.shared_bin.mkdir(parents=True)
    layout.shared_library.mkdir()
    build(layout)
    try:
        python_in(layout, ARTHUR, "open('/home/Arthur/file', 'w').write('x')")
        assert (root / "disk/Arthur/home/file").read_text() == "x"
        assert chroot.mounted_chroots(layout) == ["Arthur"]
    finally:
        chroot.tear_down_all(layout)
    assert list((root / "elsewhere").iterdir()) == []


def test_a_file_system_without_devices_is_refused(layout):
    """On a disk that is mounted nodev the chroot's devices would be dead; that is said at once."""
    layout.chroots_dir.mkdir(parents=True)
    target = open_folder(layout.chroots_dir)
    mounts.new_filesystem("tmpfs", (("mode", "755"),), target, flags=Flags.NODEV)
    os.close(target)
    try:
        with pytest.raises(ChrootError, match=r"dev/null: .* nodev"):
            build(layout)
        chroot.tear_down(layout, "Arthur")
        assert_no_trace(layout)
    finally:
        mounts.unmount(layout.chroots_dir)


def test_missing_shared_files_are_named(layout):
    """A build before the first refresh says what is missing."""
    (layout.shared_bin / "sh").unlink()
    layout.shared_bin.rmdir()
    with pytest.raises(ChrootError, match=str(layout.shared_bin)):
        build(layout)


def test_a_tear_down_of_nothing_is_no_error(root):  # noqa: F811
    """No chroot, no folder for chroots: nothing happens, nothing appears."""
    layout = Layout(root)
    chroot.tear_down(layout, "Arthur")
    chroot.tear_down_all(layout)
    assert chroot.mounted_chroots(layout) == []
    assert list(root.iterdir()) == []


def test_a_tear_down_takes_stacked_and_foreign_mounts(layout):
    """Also mounts upon ours and beneath the tenant's folders go, and none of their content."""
    build(layout)
    outside = layout.root / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (layout.home("Arthur") / "a b").mkdir()
    top = layout.chroot("Arthur")
    cover(top / "home/Arthur/a b", source=outside)
    cover(top / "tmp")
    cover(top / "tmp")
    chroot.tear_down(layout, "Arthur")
    assert_no_trace(layout)
    assert (outside / "file").read_text() == "kept"


def test_a_tear_down_never_unmounts_through_a_tenants_link(layout):
    """A mount beneath his home whose path he turns into a link leads to no mount elsewhere."""
    build(layout)
    elsewhere = layout.root / "elsewhere"
    (elsewhere / "inner").mkdir(parents=True)
    cover(elsewhere / "inner")
    home = layout.chroot("Arthur") / "home/Arthur"
    (home / "one/inner").mkdir(parents=True)
    cover(home / "one/inner")
    listed = mounts.mounted_beneath(layout.chroot("Arthur"))
    (home / "one").rename(home / "two")
    (home / "one").symlink_to(elsewhere)
    for target in mounts.outermost(listed):
        mounts.unmount(target)
    assert mounts.mounted_beneath(layout.chroot("Arthur")) == ()
    assert [mount.target for mount in mounts.mounted_beneath(layout.root)] == [str(elsewhere / "inner")]
    mounts.unmount(elsewhere / "inner")


def test_a_tear_down_leaves_what_is_not_ours_and_says_so(layout):
    """A file that no plan made keeps its folder; the mounts are gone all the same."""
    build(layout)
    (layout.chroot("Arthur") / "etc/notes").write_text("an administrator's")
    with pytest.raises(ChrootError, match="Arthur/etc: it holds something") as caught:
        chroot.tear_down(layout, "Arthur")
    assert "\n" not in str(caught.value)
    assert chroot.mounted_chroots(layout) == []
    assert (layout.chroot("Arthur") / "etc/notes").read_text() == "an administrator's"


def test_a_tear_down_works_under_a_running_process(layout):
    """Mounts in use go too; what the process has open it keeps until it ends."""
    build(layout)
    code = (
        "import sys; file = open('/home/Arthur/file', 'w'); print(flush=True); sys.stdin.read(); file.write('kept')"
    )
    process = subprocess.Popen(
        command_in(layout, ARTHUR, "/usr/bin/python3", "-I", "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"\n"
        chroot.tear_down(layout, "Arthur")
        assert_no_trace(layout)
    finally:
        process.communicate(timeout=10)
    assert (layout.home("Arthur") / "file").read_text() == "kept"


def test_all_chroots_come_down_though_one_cannot(layout):
    """One that holds something foreign leaves no other standing."""
    build(layout, ARTHUR)
    build(layout, BERTA, ("berta.example.com",))
    (layout.chroot("Arthur") / "notes").touch()
    assert chroot.mounted_chroots(layout) == ["Arthur", "Berta"]
    with pytest.raises(ChrootError, match="Arthur: it holds something"):
        chroot.tear_down_all(layout)
    assert chroot.mounted_chroots(layout) == []
    assert [path.name for path in layout.chroots_dir.iterdir()] == ["Arthur"]


def test_tenants_whose_names_begin_alike_are_kept_apart(layout):
    """Taking down one leaves the other whole."""
    longer = type(ARTHUR)("Arthur.2", 61005, 61006)
    build(layout, ARTHUR)
    plan = build(layout, longer, ("two.example.com",))
    chroot.tear_down(layout, "Arthur")
    assert chroot.mounted_chroots(layout) == ["Arthur.2"]
    before = snapshot(layout)
    chroot.build(plan)
    assert snapshot(layout) == before


def test_facts_of_a_host_are_read_as_they_are(tmp_path):
    """Merged and separate folders are told apart; what is missing isn't named; a zone is kept as a link."""
    for folder in ("etc/ssl/certs", "etc/alternatives", "lib64"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "etc/hosts").write_text("")
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/London")
    facts = chroot.host_facts(tmp_path)
    assert facts.links == (("lib", "usr/lib"),)
    assert facts.folders == ("lib64",)
    assert facts.copies == ("hosts",)
    assert facts.etc_folders == ("alternatives", "ssl/certs")
    assert facts.zone == "/usr/share/zoneinfo/Europe/London"


def test_a_host_without_hosts_or_certificates_still_resolves_localhost(layout):
    """The barest host gives a chroot that works."""
    facts = chroot.host_facts()
    links = facts.links
    build(layout, facts=chroot.HostFacts(links, (), (), ()))
    code = "import socket; print(socket.gethostbyname('localhost'))"
    assert python_in(layout, ARTHUR, code) == "127.0.0.1\n"


def test_the_front_owns_the_access_log_and_the_tenant_the_others(layout):
    """Made before anyone writes, with the modes that let each read what is his."""
    build(layout)
    found = {kind: layout.log_file(DOMAIN, kind).stat() for kind in ("access", "error", "server")}
    owners = {kind: (info.st_uid, info.st_gid, info.st_mode & 0o7777) for kind, info in found.items()}
    his = (ARTHUR.uid, ARTHUR.gid, 0o640)
    assert owners == {"access": (FRONT, ARTHUR.gid, 0o640), "error": his, "server": his}
