"""What a tenant's process would see: a walk that no link of his leads out of, and with his rights alone."""

from __future__ import annotations

import ast
import errno
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_wsgi_wrapper.emperor_hook import as_tenant, tenant_files
from user_wsgi_wrapper.emperor_hook.as_tenant import AskError, ask
from user_wsgi_wrapper.emperor_hook.mounts import FOLDER
from user_wsgi_wrapper.emperor_hook.tenant_files import Files
from user_wsgi_wrapper.emperor_hook.unix_ids import Identity

SOMEBODY = Identity("Somebody", 345_678, 345_679)


@pytest.fixture
def tree() -> Iterator[Path]:
    """A folder that everybody may enter, to stand for a tenant's root."""
    folder = Path(tempfile.mkdtemp(prefix="tree-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def files(tree: Path) -> Files:
    return Files({"/": os.open(tree, FOLDER)})


# -- asking with a tenant's ids


def test_who_asks_has_the_tenants_ids_and_nothing_else() -> None:
    """One uid, one gid, no group, no capability, no way to get one back; and no process of his may trace it."""
    lines = ask(SOMEBODY, lambda: Path("/proc/self/status").read_text().split("\n"))
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == ["345678"] * 4
    assert status["Gid"].split() == ["345679"] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"] == "1"
    assert [status[name] for name in ("CapEff", "CapPrm", "CapInh")] == ["0" * 16] * 3

    def is_roots() -> int:
        return os.stat("/proc/self/environ").st_uid

    assert ask(SOMEBODY, is_roots) == 0, "undumpable: its files in /proc are root's"
    with pytest.raises(AskError, match="Somebody: PermissionError"):
        ask(SOMEBODY, lambda: os.setuid(0))


def test_an_error_is_one_line_and_the_process_is_gone() -> None:
    with pytest.raises(AskError, match="as Somebody: ZeroDivisionError: division by zero"):
        ask(SOMEBODY, lambda: 1 / 0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_tenant_who_stops_or_kills_it_holds_nobody(number: int) -> None:
    """There is no answer then, and that is told within the patience."""
    with pytest.raises(AskError, match="no answer from a process with the ids of Somebody"):
        ask(SOMEBODY, lambda: os.kill(os.getpid(), number), patience=0.3)


def test_an_answer_without_end_is_none() -> None:
    with pytest.raises(AskError, match="no answer"):
        ask(SOMEBODY, lambda: "x" * (as_tenant._MOST + 1))


# -- the walk, beside the kernel's own

NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=4).map("/".join)
ENTRIES = st.lists(
    st.tuples(
        st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.sampled_from(["folder", "file", "link"]), TARGETS
    ),
    max_size=8,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), max_size=5).map(lambda names: "/" + "/".join(names))


def kernels(tree: Path, paths: list[str]) -> list[tuple[Any, ...]]:
    """What the kernel says of the paths to a tenant's process whose root is the tree."""

    def look() -> list[tuple[Any, ...]]:
        return [_kernels_one(path) for path in paths]

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chroot(tree)
        os.chdir("/")
        os.setresgid(*[SOMEBODY.gid] * 3)
        os.setresuid(*[SOMEBODY.uid] * 3)
        os.write(writer, repr(look()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = ast.literal_eval(file.read())
    os.waitpid(child, 0)
    return answer  # type: ignore[no-any-return]


def _kernels_one(path: str) -> tuple[Any, ...]:
    try:
        descriptor = os.open(path, os.O_PATH)
        real = os.readlink(f"/proc/self/fd/{descriptor}") if os.path.exists("/proc/self") else os.path.realpath(path)
        os.close(descriptor)
        return ("real", real, os.access(path, os.R_OK))
    except OSError as error:
        return ("error", error.errno)


@given(entries=ENTRIES, paths=st.lists(PATHS, min_size=1, max_size=8))
@settings(max_examples=150)
def test_it_leads_where_the_kernel_leads(entries: list[tuple[str, str, str]], paths: list[str]) -> None:
    """For any tree of folders, files and links, dots and slashes anywhere, some of it not his to enter."""
    folder = Path(tempfile.mkdtemp(prefix="tree-"))
    folder.chmod(0o755)
    try:
        for number, (name, kind, target) in enumerate(entries):
            path = folder / name
            try:
                if kind == "folder":
                    path.mkdir()
                elif kind == "file":
                    path.touch(mode=0o600 if number % 2 else 0o644)
                else:
                    path.symlink_to(target)
            except OSError:
                continue
            if number % 4 == 3 and not path.is_symlink():
                path.chmod(0)
        with files(folder) as opened:
            found = ask(SOMEBODY, lambda: [_ours(opened, path) for path in paths])
        assert list(map(tuple, found)) == kernels(folder, paths)
    finally:
        shutil.rmtree(folder)


def _ours(opened: Files, path: str) -> tuple[Any, ...]:
    trace = opened.trace(path)
    if not trace.real:
        return ("error", trace.error)
    readable = trace.readable
    if trace.last is not None and trace.last.kind == "folder":
        readable = bool(trace.last.mode & 0o004)
    return ("real", trace.real, readable)


def test_no_swap_of_a_folder_for_a_link_leads_out(tree: Path) -> None:
    """While somebody swaps them thousands of times: what is found lies in the tree or isn't found."""
    outside = Path(tempfile.mkdtemp(prefix="outside-"))
    (outside / "file").write_text("the operator's")
    inner = tree / "folder"
    inner.mkdir()
    (inner / "file").write_text("his")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            inner.rename(tree / "kept")
            inner.symlink_to(outside)
            inner.unlink()
            (tree / "kept").rename(inner)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        seen = set()
        give_up_at = time.monotonic() + 30
        for count in itertools.count():
            if time.monotonic() > give_up_at or (count > 3000 and seen >= {b"his", b""}):
                break
            with files(tree) as opened:
                try:
                    seen.add(opened.read("/folder/file", 100))
                except OSError as error:
                    assert error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EINVAL), error
                    seen.add(b"")
    finally:
        over.set()
        thread.join()
        shutil.rmtree(outside)
    assert seen == {b"his", b""}


def test_what_is_no_plain_file_is_not_read(tree: Path) -> None:
    """Nor waited for."""
    os.mkfifo(tree / "fifo")
    (tree / "link").symlink_to("fifo")
    with files(tree) as opened:
        for path in ("/fifo", "/link", "/"):
            with pytest.raises(OSError, match="Invalid argument"):
                opened.read(path, 10)
        assert opened.trace("/link").last.kind == "special"  # type: ignore[union-attr]


def test_no_descriptor_is_left(tree: Path) -> None:
    (tree / "a/b").mkdir(parents=True)
    (tree / "l").symlink_to("a/../a/b/..")
    before = len(os.listdir("/proc/self/fd"))
    with files(tree) as opened:
        for path in ("/a/b", "/l/b/c", "/l", "/..", "/a/b/../../l"):
            opened.trace(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_chroot_that_is_not_built_is_made_up_of_what_it_would_show(tree: Path) -> None:
    """Folders between the places are there, nothing else is."""
    (tree / "www").mkdir()
    (tree / "www/to-home").symlink_to("/home/A/x")
    (tree / "home").mkdir()
    (tree / "home/x").write_text("")
    places = {"/var/www": os.open(tree / "www", FOLDER), "/home/A": os.open(tree / "home", FOLDER)}
    with Files(places) as opened:
        assert opened.trace("/var/www/to-home").real == "/home/A/x"
        assert opened.trace("/home/B").error == errno.ENOENT
        assert opened.trace("/home/").real == "/home"
        assert opened.trace("/etc/passwd").obstacle == "/etc"


def test_his_places_are_looked_for_beneath_the_operators_folders(tmp_path: Path) -> None:
    """A link in the place of a tenant's storage isn't followed."""
    from user_wsgi_wrapper.layout import Layout

    layout = Layout(tmp_path)
    layout.storage_dir.mkdir(parents=True)
    (tmp_path / "elsewhere/var/www").mkdir(parents=True)
    (layout.storage_dir / "A").symlink_to(tmp_path / "elsewhere")
    with tenant_files.open_files(layout, "A") as opened:
        assert opened.trace("/var/www/").error == errno.ENOENT
