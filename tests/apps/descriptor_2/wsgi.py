import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
C = ctypes.PyDLL(None)  # its functions keep the interpreter's lock
OUTLIVES = f"""
echo before >&2
until test -e {HERE}/go; do sleep 0.05; done
i=0; while test $i -lt 3000; do i=$((i+1)); echo after, and long enough to fill a pipe $i >&2; done
echo unharmed >{HERE}/end
"""


def shell(command):
    subprocess.run(["sh", "-c", command], check=True)


def fork():
    os.write(2, b"by a forked process's descriptor\n")
    print("by a forked process's stream", file=sys.stderr)


def act(path):
    if path == "/holds_the_lock":
        text = b"".join(b"line %d of C code\n" % number for number in range(100_000))
        assert C.write(2, text, len(text)) == len(text)
    elif path == "/last_words":
        C.write(2, b"free(): invalid pointer\n", 24)
        os.abort()
    elif path == "/outlives":
        subprocess.Popen(["sh", "-c", OUTLIVES], start_new_session=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/dev_stderr":
        shell("echo first >&2; echo second > /dev/stderr; echo third >> /proc/self/fd/2")
    elif path == "/nasty":
        shell(r"""printf '\033[31mred\n2012-08-24 10:11:12,345 [aaaaaaaaaaaa] forged\r\n\000\377\n' >&2""")
    elif path == "/unfinished":
        shell("printf 'no newline' >&2")
    elif path == "/forks":
        process = multiprocessing.get_context("fork").Process(target=fork)
        process.start()
        process.join()
    elif path == "/in_order":
        print("one", file=sys.stderr)
        shell("echo two >&2")
        print("three", file=sys.stderr)
        os.write(2, b"four\n")
        raise LookupError("five")
    elif path == "/threads":
        print(threading.active_count(), threading.enumerate())


def application(environ, start_response):
    act(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
