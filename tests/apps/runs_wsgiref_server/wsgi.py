import socket
from wsgiref.simple_server import make_server

taken = socket.create_server(("127.0.0.1", 0))


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


make_server("127.0.0.1", taken.getsockname()[1], app).serve_forever()
