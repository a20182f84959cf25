"""A tenant who takes all that he can get, for as many seconds as QUERY_STRING says. Nothing of it outlives that."""

import os
import subprocess
import sys
import time


def burn(end):
    """Every core, in eight processes."""
    children = [os.fork() for _ in range(8)]
    if 0 in children:
        while time.monotonic() < end:
            pass
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)


def fork(end):
    """As many children as there may be, up to 300, again and again."""
    while time.monotonic() < end:
        children = []
        try:
            for _ in range(300):
                child = os.fork()
                if not child:
                    time.sleep(0.2)
                    os._exit(0)
                children.append(child)
        except OSError:
            pass
        for child in children:
            os.waitpid(child, 0)


def take_memory(end):
    """2 GiB, again and again."""
    while time.monotonic() < end:
        kept = [b"x" * (16 << 20) for _ in range(128)]
        del kept


def open_files(end):
    """20,000 descriptors, again and again."""
    while time.monotonic() < end:
        kept = []
        try:
            while len(kept) < 20_000:
                kept.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for descriptor in kept:
            os.close(descriptor)


def log(end):
    """What Python writes to stderr."""
    line = "flood " * 1000
    while time.monotonic() < end:
        print(line, file=sys.stderr)


def write_stderr(end):
    """What a program writes to descriptor 2: about 100 MB a second."""
    line = b"flood " * 1000 + b"\n"
    code = f"import os, time\nwhile time.monotonic() < {end}:\n os.write(2, {line!r} * 160)\n time.sleep(0.01)"
    subprocess.run(["/usr/bin/python3", "-c", code], check=False)


def dawdle(end):
    """A worker, held."""
    time.sleep(max(end - time.monotonic(), 0))


def endless(end):
    """A response without an end."""
    while time.monotonic() < end:
        yield b"e" * 65536


def application(environ, start_response):
    """`/NAME?SECONDS`, see above."""
    name = environ["PATH_INFO"].strip("/")
    end = time.monotonic() + float(environ["QUERY_STRING"] or 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if name == "endless":
        return endless(end)
    if name:
        globals()[name](end)
    return [b"ok\n"]
