"""A file is there whole or not at all, whoever writes and whatever fails."""

import os
import threading

import pytest

from user_wsgi_wrapper.emperor_hook.atomic import link_if_changed, write_if_changed


def test_a_file_is_written_only_if_it_differs(tmp_path):
    """What is the same keeps its inode and time: whoever watches it sees nothing."""
    path = tmp_path / "deep" / "er" / "file.ini"
    assert write_if_changed(path, "é\n") is True
    before = path.stat()
    assert path.read_bytes() == "é\n".encode()
    assert write_if_changed(path, "é\n") is False
    assert path.stat() == before
    assert write_if_changed(path, "other") is True
    assert path.stat().st_ino != before.st_ino


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_mode_is_as_asked_whatever_the_umask(tmp_path, mode, umask):
    """From the first moment on, too: the file gets its name when it is done."""
    old = os.umask(umask)
    try:
        write_if_changed(tmp_path / "file", "x", mode)
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path):
    """A planted symbolic link is no way to another file."""
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "file").symlink_to(target)
    assert write_if_changed(tmp_path / "file", "new") is True
    assert target.read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    """Neither a folder in the way nor text that can't be encoded leaves a temporary file."""
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_if_changed(tmp_path / "folder", "x")
    with pytest.raises(OSError):
        link_if_changed(tmp_path / "folder", tmp_path)
    write_if_changed(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_if_changed(tmp_path / "file", "\udcff")
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    """RLIMIT_FSIZE stands in for the full disk: the write fails half-way."""
    import resource
    import signal

    write_if_changed(tmp_path / "file", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_if_changed(tmp_path / "file", "x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_reader_never_sees_half_a_file(tmp_path):
    """Four threads write one file while it is read: it always holds exactly one of their texts."""
    path = tmp_path / "file"
    texts = {letter * 300_000 for letter in "abcd"}
    write_if_changed(path, "a" * 300_000)
    failures, done = [], threading.Event()

    def write(text):
        try:
            while not done.is_set():
                write_if_changed(path, text)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    seen = {path.read_text() for _ in range(300)}
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen <= texts
    assert len(seen) > 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_is_made_only_if_it_differs(tmp_path):
    """And takes the place of whatever stood there."""
    link = tmp_path / "link"
    assert link_if_changed(link, tmp_path / "a") is True
    before = link.lstat()
    assert link_if_changed(link, tmp_path / "a") is False
    assert link.lstat() == before
    assert link_if_changed(link, tmp_path / "b") is True
    assert os.readlink(link) == str(tmp_path / "b")
    link.unlink()
    link.write_text("a file")
    assert link_if_changed(link, tmp_path / "a") is True
    assert os.readlink(link) == str(tmp_path / "a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["link"]
