"""The server's log under a worker: opened anew when it was rotated, never in the place of what the tenant took."""

import subprocess
import sys

import pytest

CASE = """
import os, sys, time
from user_wsgi_wrapper.runtime import server_log
from user_wsgi_wrapper.runtime.server_log import ServerLog

path, case = sys.argv[1:]
report = os.fdopen(os.dup(1), "w")
log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.dup2(log, 1), os.dup2(log, 2)
server = os.dup(2)
fifo = path + ".fifo"
os.mkfifo(fifo)
commands = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
server_log._LOOK_EVERY = 0.0
kept = ServerLog(None if case == "no log" else path, server, fifo)
assert not kept.look()
if case == "taken":
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
if case == "spooled":
    os.dup2(os.open("/dev/zero", os.O_WRONLY), 2)
if case == "stdout alone":  # what a worker inherits whose master was told
    os.rename(path, path + ".0")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    new = os.open(path, os.O_WRONLY)
    os.dup2(new, 2), os.dup2(new, server, inheritable=False)
    kept = ServerLog(path, server, fifo)
else:
    os.rename(path, path + ".1")
    assert not kept.look(), "there is nothing new yet"
    if case == "not ours":
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
if case == "no fifo":
    os.unlink(fifo)
looked = kept.look()
names = [os.readlink(f"/proc/self/fd/{number}").removeprefix(path) for number in (1, 2, server)]
command = os.read(commands, 9) if case != "no fifo" else b""
again = kept.look()
print(looked, names, command.decode(), again, os.get_inheritable(1), os.get_inheritable(server), file=report)
"""


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("rotated", "True ['', '', ''] l False True False"),
        ("spooled", "True ['', '/dev/zero', ''] l False True False"),
        ("taken", "True ['/dev/null', '', ''] l False True False"),
        ("stdout alone", "True ['', '', '']  False True False"),
        ("no log", "False ['.1', '.1', '.1']  False True False"),
        ("not ours", "False ['.1', '.1', '.1']  False True False"),
        ("no fifo", "True ['.1', '', '.1']  True True False"),  # and tried again, until its master can be told
    ],
)
def test_what_was_rotated_is_opened_anew(tmp_path, case, said):
    """By each descriptor that led to it, and the master is told, once; a number that the tenant took stays his."""
    command = [sys.executable, "-c", CASE, tmp_path / "log", case]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr + "".join(path.read_text() for path in tmp_path.glob("log*[0-9g]"))
    assert done.stdout.strip() == said
