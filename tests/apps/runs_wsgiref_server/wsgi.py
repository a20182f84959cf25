import socket
from wsgiref.simple_server import make_server

taken = socket.create_server(("127.0.0.1", 0))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


make_server("127.0.0.1", taken.getsockname()[1], application).serve_forever()
