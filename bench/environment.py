"""What the measurements run on: the peers' own environment, the machine's state, everything's version."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"  # the one that uWSGI's plugin has built in
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
VENV = ROOT / "var" / "bench"


def peers_python() -> Path:
    """The interpreter of an environment with the peers in it, made if it isn't there or its requirements changed."""
    made = VENV / "requirements.txt"
    if not made.exists() or made.read_bytes() != REQUIREMENTS.read_bytes():
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([PYTHON, "-m", "venv", str(VENV)], check=True)
        pip = [str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
        shutil.copy(REQUIREMENTS, made)
    return VENV / "bin" / "python"


def site_packages() -> str:
    """Where that environment's packages are, for a uWSGI that has no environment of its own."""
    return str(next((VENV / "lib").glob("python3*/site-packages")))


def machine() -> dict[str, object]:
    """The state of the machine, as far as it bears on the figures."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cpu": cpu[:1],
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "kernel": platform.release(),
        "counts instructions itself": _counts(),
    }


def versions() -> dict[str, str]:
    """Of all that is measured."""
    frozen = _output(str(VENV / "bin" / "pip"), "freeze", "--disable-pip-version-check")
    return {
        "uwsgi": _output("/usr/bin/uwsgi", "--version"),
        "python": _output(PYTHON, "-VV"),
        "valgrind": _output("valgrind", "--version"),
        "this project": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        **dict(line.split("==") for line in frozen.splitlines() if "==" in line),
    }


def servers() -> dict[str, str]:
    """The versions of what serves: no environment of the peers' is needed for it."""
    nginx = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True).stderr
    return {
        "uwsgi": _output("/usr/bin/uwsgi", "--version"),
        "nginx": nginx.strip().rpartition("/")[2],
        "python": _output(PYTHON, "-VV"),
        "this project": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
    }


def where() -> str:
    """One line under a table: the machine, its load just now, the servers' versions."""
    known: dict[str, Any] = machine()
    versions = servers()
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{known['cpus']} processors ({', '.join(map(str, known['cpu']))}), Linux {known['kernel']}, load {load}; "
        f"uWSGI {versions['uwsgi']}, nginx {versions['nginx']}"
    )


def _counts() -> bool:
    """Whether this machine's processors count instructions for perf(1). Virtual ones mostly don't."""
    perf = shutil.which("perf")
    if perf is None:
        return False
    done = subprocess.run([perf, "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True, text=True)
    return done.returncode == 0 and done.stderr.split(",")[0].isdigit()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
