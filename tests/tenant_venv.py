"""A tenant's virtual environment: packages from the index, installed once, then copied for every test run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from user_wsgi_wrapper import inside

PYTHON = "/usr/bin/python3"  # what a tenant has, not what the operator's environment was made with
CACHE = Path(__file__).parents[1] / "var/tenant_venvs"
_NOWHERE = "/path-of-the-environment"  # stands in the kept scripts for the path that each copy gets
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r")


def install(requirements: Path, home: Path, username: str) -> str:
    """Put a virtual environment with these requirements into a tenant's home; gives its path inside the chroot.

    Everything in it is his who owns `home`. Raises subprocess.CalledProcessError if the index hasn't got a package.
    """
    kept = made(requirements)
    venv, seen = home / "venv", f"{inside.home(username)}/venv"
    subprocess.run(["cp", "-a", str(kept), str(venv)], check=True)
    _move(venv, _NOWHERE, seen)
    owner = home.stat()
    subprocess.run(["chown", "-R", "-h", f"{owner.st_uid}:{owner.st_gid}", str(venv)], check=True)
    return seen


def made(requirements: Path) -> Path:
    """The environment made from a requirements file, made now if none is kept for its text and this Python."""
    version = subprocess.run([PYTHON, "-VV"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(version + requirements.read_bytes()).hexdigest()[:16]
    made = CACHE / digest
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(made, requirements)
    return made


def _make(made: Path, requirements: Path) -> None:
    """Make it beside its place, then move it there: a run that was killed leaves none that looks whole.

    The caller holds the lock.
    """
    for left in CACHE.glob(f"{made.name}.*/"):
        shutil.rmtree(left)
    part = Path(tempfile.mkdtemp(prefix=f"{made.name}.", dir=CACHE))
    try:
        part.chmod(0o755)
        subprocess.run([PYTHON, "-m", "venv", str(part)], check=True)
        subprocess.run([str(part / "bin/python"), *_PIP, str(requirements)], check=True)
        _move(part, str(part), _NOWHERE)
        part.rename(made)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(venv: Path, old: str, new: str) -> None:
    """Have the scripts, which name their environment's path, name another one."""
    for script in (*venv.joinpath("bin").iterdir(), venv / "pyvenv.cfg"):
        if script.is_symlink() or not script.is_file():
            continue
        text = script.read_bytes()
        if old.encode() in text:
            mode = script.stat().st_mode
            script.write_bytes(text.replace(old.encode(), new.encode()))
            os.chmod(script, mode)
