"""A root that only root may enter is served through a door, and the door leaves nothing behind."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.live import mounts_beneath
from user_wsgi_wrapper.emperor_hook import door, mounts, nginx
from user_wsgi_wrapper.layout import Layout

UID, GID = ACCOUNT = nginx.account("www-data")
FOLDERS = ("sockets_dir", "user_logs_dir", "own_logs_dir", "run_dir")


def doors():
    """The doors that there are, and what is mounted in them."""
    return sorted(str(path) for path in Path("/run").glob("user-wsgi-wrapper-*")) + mounts_beneath(Path("/run"))


def may_list(path):
    """Whether nginx's workers can look into a folder: tried, not computed."""
    listing = subprocess.run(["/usr/bin/ls", path], user=UID, group=GID, extra_groups=[], capture_output=True)
    return listing.returncode == 0


@pytest.fixture
def home():
    """A folder like root's home, with nothing left of it or of any door in the end."""
    before = doors()
    path = Path(tempfile.mkdtemp(prefix="door-"))
    (path / "root").mkdir()
    path.chmod(0o755)
    yield path
    door.close_door(Layout(path / "root"))
    shutil.rmtree(path)
    assert doors() == before


@pytest.fixture
def layout(home):
    return Layout(home / "root")


def close_above(home):
    home.chmod(0o700)


def close_root(home):
    (home / "root").chmod(0o700)


def close_within(home):
    (home / "root/var").mkdir(mode=0o700)


@pytest.mark.parametrize("close", [close_above, close_root, close_within])
def test_a_closed_root_is_reached_through_the_door(home, layout, close):
    """Whichever folder on the way is closed; the same files are seen, and no mode is changed."""
    close(home)
    modes = {path: path.stat().st_mode for path in (home, home / "root")}
    beyond = door.open_door(layout, ACCOUNT)
    assert beyond != layout
    for name in FOLDERS:
        folder, shown = getattr(layout, name), getattr(beyond, name)
        folder.chmod(0o755)
        (folder / "marker").write_text(name)
        assert (shown / "marker").read_text() == name
        assert may_list(shown), name
    assert not may_list(layout.sockets_dir)
    assert {path: path.stat().st_mode for path in modes} == modes


def test_what_nginx_need_not_see_is_not_behind_the_door(home, layout):
    """Neither the registry nor the chroots."""
    home.chmod(0o700)
    layout.state_dir.mkdir(parents=True)
    layout.sites_db.touch()
    layout.chroots_dir.mkdir(parents=True)
    beyond = door.open_door(layout, ACCOUNT)
    assert not beyond.sites_db.exists()
    assert not beyond.chroots_dir.exists()


def test_no_program_gains_rights_through_the_door(home, layout):
    """Its mounts are nosuid and nodev."""
    home.chmod(0o700)
    beyond = door.open_door(layout, ACCOUNT)
    descriptor = os.open(beyond.run_dir, mounts.FOLDER)
    try:
        assert mounts.Flags.NOSUID | mounts.Flags.NODEV in mounts.flags_of(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_door_is_passable_whatever_the_umask(home, layout, umask):
    """With a tight one every folder that is made on the way would be closed."""
    home.chmod(0o700)
    old = os.umask(umask)
    try:
        beyond = door.open_door(layout, ACCOUNT)
    finally:
        os.umask(old)
    layout.sockets_dir.chmod(0o755)
    assert may_list(beyond.sockets_dir)


def test_a_passable_root_needs_no_door(layout):
    """The layout comes back as it is and nothing is mounted."""
    before = doors()
    assert door.open_door(layout, ACCOUNT) is layout
    assert doors() == before


def test_one_account_that_cannot_pass_is_enough_for_a_door(home, layout):
    """nginx's group may have been let in; initialize's HTTP side is not in it."""
    os.chown(home, 0, GID)
    home.chmod(0o750)
    assert door.open_door(layout, ACCOUNT) is layout
    assert door.open_door(layout, ACCOUNT, (65534, 65534)) != layout


def test_root_itself_needs_no_door(home, layout):
    """nginx may run as root on a machine of one's own."""
    home.chmod(0o700)
    assert door.open_door(layout, (0, 0)) is layout


def test_closing_leaves_neither_a_mount_nor_a_folder(home, layout):
    """And closing twice is closing once; what was shown is still there."""
    before = doors()
    home.chmod(0o700)
    door.open_door(layout, ACCOUNT)
    (layout.user_logs_dir / "one.test").mkdir()
    door.close_door(layout)
    door.close_door(layout)
    assert doors() == before
    assert (layout.user_logs_dir / "one.test").is_dir()


def test_a_stale_door_is_replaced(home, layout):
    """As a killed stack leaves it, also with one mount over another and files in use behind it."""
    home.chmod(0o700)
    stale = door.open_door(layout, ACCOUNT)
    (layout.run_dir / "in-use").write_text("x")
    over = os.open(stale.run_dir, mounts.FOLDER)
    below = os.open(layout.own_logs_dir, mounts.FOLDER)
    with (stale.run_dir / "in-use").open() as held:
        mounts.bind(below, over, flags=mounts.Flags.NOSUID)
        os.close(over)
        os.close(below)
        fresh = door.open_door(layout, ACCOUNT)
        assert held.read() == "x"
    assert len(mounts_beneath(fresh.root)) == len(FOLDERS)
    assert (fresh.run_dir / "in-use").exists()


def test_a_stale_door_goes_when_none_is_needed_any_more(home, layout):
    """The root was opened up meanwhile."""
    home.chmod(0o700)
    stale = door.open_door(layout, ACCOUNT)
    home.chmod(0o755)
    assert door.open_door(layout, ACCOUNT) is layout
    assert not stale.root.exists()


def test_two_roots_have_two_doors(home, layout):
    """Closing one leaves the other."""
    home.chmod(0o700)
    (home / "other").mkdir()
    other = Layout(home / "other")
    first, second = door.open_door(layout, ACCOUNT), door.open_door(other, ACCOUNT)
    try:
        door.close_door(layout)
        assert not first.root.exists()
        assert len(mounts_beneath(second.root)) == len(FOLDERS)
    finally:
        door.close_door(other)


@pytest.mark.parametrize(
    ("mode", "owner", "group", "passable"),
    [
        (0o755, 0, 0, True), (0o750, 0, 0, False), (0o700, UID, 0, True), (0o070, UID, GID, False),
        (0o750, 0, GID, True), (0o701, 0, GID, False), (0o701, 0, 0, True), (0o744, 0, 0, False),
    ],
)  # fmt: skip
def test_passable_means_what_the_kernel_says(home, mode, owner, group, passable):
    """The owner's bit, else the group's, else the others': the first that fits decides (path_resolution(7))."""
    folder = home / "folder"
    (folder / "inner").mkdir(parents=True)
    os.chown(folder, owner, group)
    folder.chmod(mode)
    assert door.is_passable(folder / "inner", UID, GID) is passable
    assert may_list(folder / "inner") is passable
