import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

taken = socket.create_server(("127.0.0.1", 0))
HTTPServer(taken.getsockname(), BaseHTTPRequestHandler).serve_forever()
