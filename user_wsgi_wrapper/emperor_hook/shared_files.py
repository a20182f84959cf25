"""What all chroots share, made once a host: the runtime package at inside.LIBRARY, a table of media types, and /bin.

Chroots hold both folders bound, so the folders themselves stay while their content changes under live sites. The
package is therefore a link to one of `versions/<digest>`: a new version is written and compiled aside, then the link
is swung with one rename. Who resolves the link first and imports from there never sees two versions mixed. The
version before stays, for processes that still show its lines in their tracebacks.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import user_wsgi_wrapper
from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import atomic, mime_types
from user_wsgi_wrapper.emperor_hook.locks import locked
from user_wsgi_wrapper.layout import Layout

PACKAGE = Path(user_wsgi_wrapper.__file__).parent
PROGRAMS = Path("/usr/bin")
PYTHON = Path("/usr/bin/python3")  # the version of Debian's uWSGI plugin
_NAME = "user_wsgi_wrapper"
_BUNDLER = Path(__file__).with_name("bundle.py")
_ENTRY = Path(inside.ENTRY).name
_MIME_TYPES = Path(inside.MIME_TYPES).name
State = tuple[tuple[str, int, int, int], ...]  # name, modification time in ns, size, inode
_TOP = ("__init__.py", "inside.py", _ENTRY)


class SharedFilesError(Exception):
    """The shared files can't be made; str() is one line fit to print."""


def refresh(layout: Layout, package: Path = PACKAGE, programs: Path = PROGRAMS, python: Path = PYTHON) -> None:
    """Bring both folders up to date with the installed `package` and the host's `programs`; 0.3 ms if they are.

    A process reads the package once, and again when a file of it is another or has another time or size.

    `programs` is named in the links, so it must be the same folder inside the chroot. Raises SharedFilesError.
    """
    try:
        files, version = _read(package, os.path.realpath(python), _state(package))
        if not _is_current(layout, files, version, programs):
            with locked(layout, "refresh", "shared-files"):
                _install(layout, files, version, python)
                _link_programs(layout, programs)
    except OSError as error:
        raise SharedFilesError(f"{error.filename or layout.state_dir}: {error.strerror}") from error


def _state(package: Path) -> State:
    """The files that a tenant's interpreter needs, by their paths in the package, and what tells of a change."""
    with os.scandir(package / "runtime") as entries:
        runtime = {f"runtime/{entry.name}": entry.stat() for entry in entries if entry.name.endswith(".py")}
    found = {name: (package / name).stat() for name in _TOP} | runtime
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in sorted(found.items()))


@functools.lru_cache(maxsize=1)
def _read(package: Path, python: str, state: State) -> tuple[dict[str, bytes], str]:
    """The content of the files, and the digest that names the version."""
    files = {name: (package / name).read_bytes() for name, *_ in state}
    return files, _digest(files, python)


def _digest(files: dict[str, bytes], python: str) -> str:
    """Names a version: other content or another Python, whose byte code differs, is another version."""
    digest = hashlib.blake2b(python.encode() + _BUNDLER.read_bytes(), digest_size=16)
    for name, content in files.items():
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(content), content))
    return digest.hexdigest()


def _is_current(layout: Layout, files: dict[str, bytes], version: str, programs: Path) -> bool:
    try:
        return (
            (layout.shared_library / _NAME).readlink() == _link_target(version)
            and (layout.shared_library / _NAME).is_dir()
            and (layout.shared_bin / _ENTRY).read_bytes() == files[_ENTRY]
            and _stamp(layout).read_text() == _programs_state(programs)
            and _first_line(layout.shared_library / _MIME_TYPES) == mime_types.state()
        )
    except FileNotFoundError:
        return False


def _first_line(path: Path) -> str:
    with path.open() as file:
        return file.readline()


def _link_target(version: str) -> Path:
    return Path("versions", version, _NAME)


def _stamp(layout: Layout) -> Path:
    return layout.state_dir / "bin.stamp"


def _programs_state(programs: Path) -> str:
    return f"{programs} {programs.stat().st_mtime_ns}\n"


def _install(layout: Layout, files: dict[str, bytes], version: str, python: Path) -> None:
    versions = layout.shared_library / "versions"
    for folder in (layout.shared_library, versions, layout.shared_bin):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # whatever the umask
    link = layout.shared_library / _NAME
    with contextlib.suppress(FileNotFoundError):
        for stale in _outdated(versions, {version, link.readlink().parent.name}):
            shutil.rmtree(stale)
    if not (versions / version).is_dir():
        _write_version(versions / version, files, python)
    atomic.link_if_changed(link, _link_target(version))
    atomic.write_if_changed(layout.shared_bin / _ENTRY, files[_ENTRY].decode())
    atomic.write_if_changed(layout.shared_library / _MIME_TYPES, mime_types.render())


def _outdated(versions: Path, wanted: set[str]) -> Iterator[Path]:
    return (path for path in versions.iterdir() if path.name not in wanted)


def _write_version(folder: Path, files: dict[str, bytes], python: Path) -> None:
    unfinished = folder.with_name(folder.name + ".new")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    for name, content in files.items():
        path = unfinished / _NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a machine that loses power must not come back with an empty runtime
    _compile(unfinished, python)
    _run(unfinished, python, _BUNDLER, unfinished / _NAME, Path(inside.LIBRARY, "versions", folder.name, _NAME))
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    unfinished.rename(folder)


def _compile(folder: Path, python: Path) -> None:
    # unchecked-hash: the files of a version never change, so the interpreter needn't compare.
    # Without docstrings: 60 KiB of every tenant's process. `-o 2` alone names the files so that only -OO reads them.
    _run(folder, python, "-m", "compileall", "-q", "-o", "2", "--invalidation-mode", "unchecked-hash", folder)
    for path in folder.rglob("*.opt-2.pyc"):
        path.rename(path.with_name(path.name.replace(".opt-2", "")))


def _run(folder: Path, python: Path, *arguments: str | Path) -> None:
    # without the columns that byte code may know of each instruction: 25 KiB of every tenant's process
    command = (python, "-I", "-X", "no_debug_ranges", *arguments)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split())
        raise SharedFilesError(f"{folder}: {python} could not compile it: {said[-300:]}")


def _link_programs(layout: Layout, programs: Path) -> None:
    """A link for each of the host's programs, so that `#!/bin/sh` works; others go, whatever left them."""
    state = _programs_state(programs)
    wanted = {path.name for path in programs.iterdir()} - {_ENTRY}
    for path in layout.shared_bin.iterdir():
        if path.name not in wanted and path.name != _ENTRY:
            path.unlink()
    for name in wanted:
        atomic.link_if_changed(layout.shared_bin / name, programs / name)
    atomic.write_if_changed(_stamp(layout), state)
