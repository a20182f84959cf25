import ctypes
import os
import signal
import threading
import time

inside = threading.Barrier(2)


def stand_still():
    time.sleep(3600)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/exit":
        os._exit(3)
    if path == "/kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/segfault":
        ctypes.string_at(0)
    if path == "/abort":
        os.abort()
    if path == "/sleep":
        stand_still()
    if path == "/slow":
        time.sleep(float(environ["QUERY_STRING"]))
    if path == "/hold":  # C code that holds the interpreter's lock
        ctypes.PyDLL(None).sleep(3600)
    if path == "/wait":
        inside.wait(10)
        stand_still()
    if path == "/together":
        inside.wait(10)
        os.kill(os.getpid(), signal.SIGKILL)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/later":
        return die_later()
    return [str(os.getpid()).encode()]


def die_later():
    yield b"half"
    os._exit(3)
