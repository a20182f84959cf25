import ctypes


def crash():
    ctypes.string_at(0)


def application(environ, start_response):
    crash()
