"""What all chroots share: versions swung whole, and links to the host's programs."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from user_wsgi_wrapper.emperor_hook import shared_files
from user_wsgi_wrapper.emperor_hook.shared_files import SharedFilesError, refresh
from user_wsgi_wrapper.layout import Layout


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "host")


@pytest.fixture
def package(tmp_path):
    """A small package of the same shape as the installed one."""
    folder = tmp_path / "package"
    (folder / "runtime").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "inside.py").write_text("VERSION = 1\n")
    (folder / "user_wsgi_wrapper.py").write_text("# the entry\n")
    shutil.copy(shared_files.PACKAGE / "runtime" / "unpack.py", folder / "runtime")
    (folder / "runtime" / "__init__.py").write_text("")
    (folder / "runtime" / "part.py").write_text("VERSION = 1\n")
    return folder


@pytest.fixture
def programs(tmp_path):
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "sh").symlink_to("/usr/bin/sh")
    (folder / "python3").symlink_to("/usr/bin/python3")
    return folder


def set_version(package, number):
    for path in (package / "inside.py", package / "runtime" / "part.py"):
        path.write_text(f"VERSION = {number}\n")


def listing(folder):
    """Every path beneath a folder with its kind, mode, owner, inode and mtime."""
    facts = {}
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(parent, name)
            info = os.lstat(path)
            facts[path] = (info.st_mode, info.st_uid, info.st_gid, info.st_ino, info.st_mtime_ns)
    return facts


def imported_version(layout):
    """What a fresh interpreter finds through the link: both modules' versions and where their code came from."""
    code = "import user_wsgi_wrapper.inside as i, user_wsgi_wrapper.runtime.part as p; print(i.VERSION, p.VERSION)"
    done = subprocess.run(
        ["/usr/bin/python3", "-E", "-s", "-c", code],
        cwd=layout.shared_library,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_installed_package_can_be_imported_from_the_library_alone(layout):
    """The library holds what the tenant's interpreter needs, and nothing of the operator's side."""
    refresh(layout)
    code = (
        "import sys, pkgutil, importlib; import user_wsgi_wrapper.runtime as r\n"
        "for m in pkgutil.iter_modules(r.__path__): importlib.import_module(f'user_wsgi_wrapper.runtime.{m.name}')\n"
        "assert r.__file__.startswith(sys.argv[1]), r.__file__"
    )
    subprocess.run(
        [
            "/usr/bin/python3",
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, sys.argv[1])\n{code}",
            layout.shared_library,
        ],
        check=True,
    )
    top = {path.name for path in (layout.shared_library / "user_wsgi_wrapper").iterdir()}
    assert top == {"__init__.py", "inside.py", "user_wsgi_wrapper.py", "runtime", "__pycache__"}
    entry = layout.shared_bin / "user_wsgi_wrapper.py"
    assert not entry.is_symlink()
    assert entry.read_bytes() == (shared_files.PACKAGE / "user_wsgi_wrapper.py").read_bytes()
    assert (layout.shared_bin / "sh").readlink() == shared_files.PROGRAMS / "sh"


def test_everything_is_roots_and_readable_by_all_whatever_the_umask(layout, package, programs):
    """A tenant's interpreter can read the package and nobody but root can write it."""
    before = os.umask(0o077)
    try:
        refresh(layout, package, programs)
    finally:
        os.umask(before)
    for path, (mode, uid, gid, *_) in (listing(layout.shared_library) | listing(layout.shared_bin)).items():
        assert (uid, gid) == (0, 0), path
        if not os.path.islink(path):
            assert mode & 0o777 == (0o755 if os.path.isdir(path) else 0o644), path


def test_every_module_is_compiled_and_the_code_is_used(layout, package, programs):
    """A worker that starts compiles nothing: its folder is read-only to it."""
    refresh(layout, package, programs)
    sources = list((layout.shared_library / "user_wsgi_wrapper").rglob("*.py"))
    assert len(sources) == 6
    for path in sources:
        (compiled,) = (path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc")
        assert compiled.stat().st_size > 16
        assert compiled.read_bytes()[4] == 0b01  # PEP 552: named by hash, not checked against the source
        assert ".opt-" not in compiled.name  # else only `python -OO` would read it
        assert path.name == "__init__.py" or b"Raises" not in compiled.read_bytes()  # docstrings cost memory


def test_a_second_refresh_changes_nothing_and_is_cheap(layout, package):
    """Up to date costs well under a millisecond and touches no file, with all the host's programs linked."""
    refresh(layout, package)
    before = listing(layout.shared_library) | listing(layout.shared_bin)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        refresh(layout, package)
        times.append(time.perf_counter() - start)
    assert listing(layout.shared_library) | listing(layout.shared_bin) == before
    assert min(times) < 0.001


def test_an_upgrade_keeps_the_folders_that_chroots_hold(layout, package, programs):
    """A bind mount made before the upgrade shows the new version, and the old one's files still stand."""
    refresh(layout, package, programs)
    held = os.open(layout.shared_library, os.O_PATH)
    try:
        old = (layout.shared_library / "user_wsgi_wrapper").resolve()
        set_version(package, 2)
        refresh(layout, package, programs)
        new = os.readlink("user_wsgi_wrapper", dir_fd=held)
        assert (layout.shared_library / new / "inside.py").read_text() == "VERSION = 2\n"
        assert (old / "inside.py").read_text() == "VERSION = 1\n"
    finally:
        os.close(held)
    assert imported_version(layout) == ["2", "2"]


def test_only_the_version_before_is_kept(layout, package, programs):
    """Upgrades don't pile up."""
    for number in (1, 2, 3, 4):
        set_version(package, number)
        refresh(layout, package, programs)
    kept = {
        (folder / "user_wsgi_wrapper/inside.py").read_text()
        for folder in (layout.shared_library / "versions").iterdir()
    }
    assert kept == {"VERSION = 3\n", "VERSION = 4\n"}


def test_whoever_resolves_the_link_first_never_sees_two_versions(layout, package, programs):
    """During upgrades every resolved version is whole and of one number."""
    refresh(layout, package, programs)
    reader = (
        "import os, sys\n"
        "while os.path.exists(sys.argv[2]):\n"
        "    base = os.path.realpath(sys.argv[1] + '/user_wsgi_wrapper')\n"
        "    one = open(base + '/inside.py').read(); two = open(base + '/runtime/part.py').read()\n"
        "    assert one == two and one.startswith('VERSION'), (one, two)\n"
        "    print(one.split()[-1], flush=True)\n"
    )
    flag = layout.root / "go-on"
    flag.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", reader, layout.shared_library, flag], stdout=subprocess.PIPE, text=True
    )
    seen = []
    try:
        for number in range(2, 8):
            set_version(package, number)
            refresh(layout, package, programs)
            for line in process.stdout:  # until the reader has come upon this version
                seen.append(int(line))
                if seen[-1] == number:
                    break
    finally:
        flag.unlink()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert set(seen) >= {2, 3, 4, 5, 6, 7}


def test_what_a_killed_refresh_left_is_made_good(layout, package, programs):
    """Half a version, a temporary link and a foreign file in /bin don't survive the next refresh."""
    refresh(layout, package, programs)
    set_version(package, 2)
    _, version = shared_files._read(package, os.path.realpath(shared_files.PYTHON), shared_files._state(package))
    half = layout.shared_library / "versions" / f"{version}.new" / "user_wsgi_wrapper"
    half.mkdir(parents=True)
    (half / "inside.py").write_text("VERSI")
    (layout.shared_bin / "sh.123.tmp").symlink_to("/usr/bin/sh")
    refresh(layout, package, programs)
    assert imported_version(layout) == ["2", "2"]
    assert not half.parent.exists()
    assert sorted(path.name for path in layout.shared_bin.iterdir()) == ["python3", "sh", "user_wsgi_wrapper.py"]


def test_a_killed_refresh_never_leaves_a_library_that_cannot_be_imported(layout, package, programs):
    """At every moment that the process can be killed the library is whole, or isn't there yet."""
    refresh(layout, package, programs)
    for number in range(2, 80):
        set_version(package, number)
        status = refresh_and_die(layout, package, programs, after=number - 1)
        assert imported_version(layout) in ([str(number - 1)] * 2, [str(number)] * 2)
        refresh(layout, package, programs)
        assert imported_version(layout) == [str(number)] * 2
        if status == 0:
            return
    pytest.fail("the refresh never came to its end")


def refresh_and_die(layout, package, programs, after):
    """Refresh in a child that dies right before its `after`-th change of the disk; 0 if it came to the end."""
    child = os.fork()
    if child == 0:
        left = [after]

        def counted(change):
            def call(*arguments, **keywords):
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return change(*arguments, **keywords)

            return call

        for name in ("mkdir", "chmod", "rename", "replace", "symlink", "unlink", "fsync", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        refresh(layout, package, programs)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_bin_follows_the_hosts_programs(layout, package, programs):
    """A program that the host gets or loses appears in and goes from every chroot's /bin."""
    refresh(layout, package, programs)
    (programs / "new").touch()
    (programs / "sh").unlink()
    refresh(layout, package, programs)
    links = {path.name: str(path.readlink()) for path in layout.shared_bin.iterdir() if path.is_symlink()}
    assert links == {"new": f"{programs}/new", "python3": f"{programs}/python3"}


def test_a_program_cannot_take_the_entrys_name(layout, package, programs):
    """/bin/user_wsgi_wrapper.py is ours whatever the host has installed."""
    (programs / "user_wsgi_wrapper.py").write_text("somebody else's")
    refresh(layout, package, programs)
    assert (layout.shared_bin / "user_wsgi_wrapper.py").read_text() == "# the entry\n"


def test_a_package_that_cannot_be_compiled_leaves_the_old_version(layout, package, programs):
    """A broken upgrade is one line of error; sites go on with what they have."""
    refresh(layout, package, programs)
    (package / "inside.py").write_text("def broken(:\n")
    with pytest.raises(SharedFilesError, match="could not compile") as caught:
        refresh(layout, package, programs)
    assert "\n" not in str(caught.value)
    assert imported_version(layout) == ["1", "1"]


@pytest.mark.parametrize("missing", ["user_wsgi_wrapper.py", "runtime"])
def test_an_incomplete_package_is_one_line_of_error(layout, package, programs, missing):
    """What is missing is named."""
    path = package / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(SharedFilesError, match=missing):
        refresh(layout, package, programs)


def test_refreshes_at_the_same_time_all_succeed(layout, package, programs):
    """Many warm-ups that start together on a new host make one good copy."""
    code = (
        "import sys; from pathlib import Path; from user_wsgi_wrapper.layout import Layout\n"
        "from user_wsgi_wrapper.emperor_hook.shared_files import refresh\n"
        "refresh(Layout(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, layout.root, package, programs]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(8)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors
    assert imported_version(layout) == ["1", "1"]
