import sys


def application(environ, start_response):
    print("\x1b[31mred\x1b[0m\rover\x00\x9b", file=sys.stderr)
    print("2012-08-24 10:11:12,345 [aaaaaaaaaaaa] forged\n2012-08-24 10:11:12,345 [aaaaaaaaaaaa] twice", file=sys.stderr)
    print("lone \ud800 surrogate", file=sys.stderr)
    sys.stderr.buffer.write(b"bytes \xff\xc3")
    sys.stderr.buffer.write(b"\xa9\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
