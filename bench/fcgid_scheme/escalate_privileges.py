#!/usr/bin/python3
"""What mod_fcgid spawns: starts the tenant's server in the tenant's chroot, hands signals on, waits."""

import signal
import subprocess
import sys
from pathlib import Path


def get_signal_handler(sudo, pid):
    """Of a signal that mod_fcgid ends a process with: the child is another account's, it takes root to reach it."""

    def handler(signum, _):
        subprocess.call([f"{sudo}/kill", str(pid)])

    return handler


def main():
    """Nothing tells whose site it is but the folder that this file lies in."""
    here = Path(__file__).resolve().parent
    uid = here.stat().st_uid
    base = here.parents[1]
    chroot = [
        str(base / "sudo" / "chroot"),
        f"--userspec={uid}:{uid}",
        "--groups=",
        str(base / "chroots" / here.name),
    ]
    process = subprocess.Popen([*chroot, "/usr/bin/python3", "/srv/serve_wsgi.py"])
    handler = get_signal_handler(base / "sudo", process.pid)
    signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGTERM, handler)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
