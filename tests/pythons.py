"""Other Pythons and other uWSGIs than this machine's: Debian's older and newer releases in roots of their own.

Everything is made once, under var/, by whoever comes first; `python -m tests.pythons` makes all of it and says so.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bare_uwsgi import ROOT, Uwsgi

VAR = ROOT / "var"
# Debian's releases by name: their Python and their uWSGI.
SUITES = {"bullseye": ("3.9", "2.0.19"), "trixie": ("3.13", "2.0.28"), "forky": ("3.14", "2.0.31")}
NEWEST_UWSGI = "2.0.31"  # from PyPI, for this machine's own Python
_PACKAGES = "base-files,dash,python3,uwsgi-core,uwsgi-plugin-python3"
_OPTIONS = (
    "--variant=extract",  # no package's scripts are run: nothing of the root is ever more than a few programs' files
    f"--include={_PACKAGES}",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    "--dpkgopt=path-exclude=/usr/share/*",
    "--dpkgopt=path-include=/usr/share/zoneinfo/*",
)
# In a mount namespace of its own, so that nothing is left mounted: the machine's /dev, /proc and /tmp, and the
# checkout at its own path, then the command.
_ENTER = """\
root=$1 checkout=$2
shift 2
for folder in /dev /proc /tmp "$checkout"; do
    [ -d "$root$folder" ] || mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
done
exec /usr/sbin/chroot "$root" "$@"
"""


def root(suite: str) -> Path:
    """The root of one of Debian's releases. Raises CalledProcessError if its packages can't be had."""
    digest = hashlib.sha256(repr(_OPTIONS).encode()).hexdigest()[:8]
    return _once(VAR / "pythons" / f"{suite}-{digest}", lambda part: _make_root(suite, part))


def enter(suite: str) -> tuple[str, ...]:
    """The beginning of a command that runs in that root, on this checkout and this machine's /tmp."""
    unshare = ("unshare", "--mount", "--propagation", _propagation())
    return (*unshare, "sh", "-c", _ENTER, "sh", str(root(suite)), str(ROOT))


@functools.cache
def _propagation() -> str:
    """Private, so that nothing that is mounted there shows up here.

    Where / is no mount point, as in a chroot, nothing can be made so, nor has it to be: whoever runs this there has
    given it a mount namespace of its own.
    """
    tried = subprocess.run(["unshare", "--mount", "--propagation", "private", "true"], capture_output=True)
    return "unchanged" if tried.returncode else "private"


def suite_uwsgi(suite: str) -> Uwsgi:
    """The release's own uWSGI, over its own Python."""
    python = SUITES[suite][0].replace(".", "")
    return Uwsgi((*enter(suite), "/usr/bin/uwsgi-core"), f"python{python}")


def newest_uwsgi() -> Uwsgi:
    """uWSGI as PyPI has it, built for this machine's Python. Needs a compiler and Python's headers."""
    made = _once(VAR / f"uwsgi-{NEWEST_UWSGI}", _make_uwsgi)
    return Uwsgi((str(made / "bin/uwsgi"),), None)


def _make_root(suite: str, part: Path) -> None:
    _run(["mmdebstrap", *_OPTIONS, suite, str(part), f"deb {_mirror()} {suite} main"])
    for folder in ("dev", "proc", "tmp", str(ROOT).lstrip("/")):
        (part / folder).mkdir(parents=True, exist_ok=True)
    if not (part / "bin/sh").exists():
        (part / "bin/sh").symlink_to("dash")
    for folder in ("var/cache/apt", "var/lib/apt"):
        shutil.rmtree(part / folder, ignore_errors=True)


def _mirror() -> str:
    """Where this machine has its own packages from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=True
    )
    return next(uri for uri in listed.stdout.split() if uri.rstrip("/").endswith("/debian"))


def _make_uwsgi(part: Path) -> None:
    _run(["/usr/bin/python3", "-m", "venv", str(part)])
    # the headers of this Python lie where its own sysconfig says; the plugin is built into the program
    pip = [
        str(part / "bin/python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
    ]
    _run([*pip, f"uwsgi=={NEWEST_UWSGI}"], CPUCOUNT=str(os.cpu_count() or 1))


def _run(command: list[str], **environ: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environ},
    )
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="replace")[-3000:])
        done.check_returncode()


def _once(made: Path, make: Callable[[Path], None]) -> Path:
    """What `make` makes, beside its place, then moved there: a run that was killed leaves none that looks whole."""
    made.parent.mkdir(parents=True, exist_ok=True)
    with made.with_name(f".{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            for left in made.parent.glob(f"{made.name}.*/"):
                shutil.rmtree(left)
            part = Path(tempfile.mkdtemp(prefix=f"{made.name}.", dir=made.parent))
            try:
                part.chmod(0o755)
                make(part)
                part.rename(made)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return made


def main() -> None:
    """Make all of it, at once, with a line for each."""

    def timed(name: str, make: Callable[[], object]) -> None:
        began = time.monotonic()
        make()
        seconds = time.monotonic() - began
        if seconds > 0.5:
            print(f"made {name} in {seconds:.0f} s", file=sys.stderr)

    if not all(any((VAR / "pythons").glob(f"{suite}-*/")) for suite in SUITES):
        print("making other Pythons to test with, once, under var/pythons", file=sys.stderr)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(timed, f"uWSGI {NEWEST_UWSGI} from PyPI", newest_uwsgi)]
        for suite, (python, uwsgi) in SUITES.items():
            jobs.append(
                pool.submit(timed, f"{suite}: Python {python}, uWSGI {uwsgi}", lambda suite=suite: root(suite))
            )
        for job in jobs:
            job.result()


if __name__ == "__main__":
    main()
