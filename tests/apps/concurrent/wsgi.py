import sys
import time


def application(environ, start_response):
    name = environ["PATH_INFO"][1:]
    for number in range(20):
        sys.stderr.write(f"{name} ")
        time.sleep(0.001)
        sys.stderr.write(f"{number}\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
