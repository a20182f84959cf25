"""What the operator's side reads of a site's versions, in a file that is the tenant's to write."""

import os

import pytest

from user_wsgi_wrapper.emperor_hook.deploys import Deploys, Version, parse, read
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.runtime import deploy_file

GOOD = "good 1 2 3 4\n"
NOTHING = Deploys()


@pytest.fixture
def folder(tmp_path):
    folder = Layout(tmp_path).keep_folder("Alice", "a.test")
    folder.mkdir(parents=True)
    return folder


def found(tmp_path):
    return read(Layout(tmp_path), "Alice", "a.test", os.getuid())


def test_what_a_worker_writes_is_read(folder, tmp_path):
    """The two sides know each other by this file alone."""
    written = deploy_file.Deploys()
    written.good, written.since = (1, 2, 3), 4
    written.bad, written.bad_at, written.reason = (5, 6, 7), 8, "Traceback\n  File\n\nValueError: Größe"
    deploy_file.write(str(folder), written)
    assert found(tmp_path) == Deploys(Version(1, 2, 3, 4), Version(5, 6, 7, 8), "refused", written.reason)
    written.is_served = True
    deploy_file.write(str(folder), written)
    assert found(tmp_path).verdict == "broken"
    again = deploy_file.read(str(folder))
    assert (again.good, again.bad, again.is_served, again.reason) == ((1, 2, 3), (5, 6, 7), True, written.reason)
    assert again.refused == deploy_file.NOTHING


def test_a_good_version_alone_is_read(folder, tmp_path):
    written = deploy_file.Deploys()
    written.good, written.since, written.reason = (1, 2, 3), 4, "left over"
    deploy_file.write(str(folder), written)
    assert found(tmp_path) == Deploys(Version(1, 2, 3, 4))


@pytest.mark.parametrize(
    "text",
    ["", "\n", "good\n", "good 1 2 3\n", "good 1 2 3 4 5\n", "good a b c d\n", "good -1 2 3 4\n",
     "good \u0661 2 3 4\n", GOOD + "refused 1\n", GOOD + "\0\n", "{}\n"],
)  # fmt: skip
def test_what_is_no_such_file_says_nothing(text):
    assert parse(text) == NOTHING


def test_the_reason_is_harmless_to_a_terminal():
    reason = parse(GOOD + "refused 1 2 3 4\n\n\x1b[2J\x9b31m\a\r\u2028a\tb\nc").reason
    assert reason == "\\x1b[2J\\x9b31m\\x07\\r\\u2028a\tb\nc"


@pytest.mark.parametrize("kind", ["symlink", "folder link", "FIFO", "folder", "device", "missing", "unreadable name"])
def test_nothing_is_read_through_what_a_tenant_may_plant(folder, tmp_path, kind):
    """And nobody waits for it."""
    secret = tmp_path / "secret"
    secret.write_text(GOOD)
    path = folder / "deploy"
    if kind == "symlink":
        path.symlink_to(secret)
    elif kind == "folder link":
        (folder / "deploy").write_text(GOOD)
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        os.mknod(path, 0o20666, os.makedev(1, 5))
    elif kind == "unreadable name":
        (folder / "deploy.1").write_text(GOOD)
    assert found(tmp_path) == NOTHING


def test_a_file_of_another_user_s_is_not_read(folder, tmp_path):
    """A hard link may lead to anything on the same file system."""
    path = folder / "deploy"
    path.write_text(GOOD)
    assert found(tmp_path) != NOTHING
    os.chown(path, 12345, 12345)
    assert found(tmp_path) == NOTHING


def test_a_huge_file_is_read_up_to_a_bound(folder, tmp_path):
    with (folder / "deploy").open("w") as file:
        file.write(GOOD + "refused 1 2 3 4\n\n")
        file.truncate(1 << 40)
    assert len(found(tmp_path).reason) < 1_000_000
