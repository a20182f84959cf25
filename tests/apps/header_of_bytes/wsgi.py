def application(environ, start_response):
    start_response("200 OK", [("Content-Type", b"text/plain")])
    return [b"ok"]
