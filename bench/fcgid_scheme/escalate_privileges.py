#!/usr/bin/python3
"""What mod_fcgid spawns: starts the tenant's server in the tenant's chroot, hands signals on, waits."""

import os
import signal
import subprocess
import sys


def get_signal_handler(sudo, pid):
    """Of a signal that mod_fcgid ends a process with: the child is another account's, so it takes root to reach it."""

    def handler(signum, _):
        subprocess.call([f"{sudo}/kill", str(pid)])

    return handler


def main():
    """Nothing tells whose site it is but the folder that this file lies in."""
    here = os.path.dirname(os.path.abspath(__file__))
    uid = os.stat(here).st_uid
    base = os.path.dirname(os.path.dirname(here))
    chroot = f"{base}/chroots/{os.path.basename(here)}"
    process = subprocess.Popen(
        [f"{base}/sudo/chroot", f"--userspec={uid}:{uid}", "--groups=", chroot, "/usr/bin/python3", "/srv/serve_wsgi.py"]
    )
    handler = get_signal_handler(f"{base}/sudo", process.pid)
    signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGTERM, handler)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
