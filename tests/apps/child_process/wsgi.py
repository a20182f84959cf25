import os
import subprocess


def application(environ, start_response):
    subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
    os.write(2, b"from C\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
