"""What daemons do: close everything, then open files of their own, which get the numbers."""

import os
import subprocess

NAMES = [f"mine-{number}" for number in range(60)]
opened = []


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path in ("/all", "/but_2"):
        keep = {int(fd) for fd in os.listdir("/proc/self/fd") if _is_servers(fd)}
        for fd in range(2 if path == "/all" else 3, 256):
            if fd not in keep:
                try:
                    os.close(fd)
                except OSError:
                    pass
        opened.extend(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for name in NAMES)
        for fd in opened:
            os.write(fd, b"before ")
    elif path == "/check":
        for fd in opened:
            os.write(fd, b"after")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr({open(name, "rb").read() for name in NAMES}).encode()]
    elif path == "/child":
        subprocess.run(["sh", "-c", "echo by a child >&2"])
    elif path == "/raises":
        raise LookupError("still recorded")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def _is_servers(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(("socket:", "pipe:", "anon_inode:"))
    except OSError:
        return False
