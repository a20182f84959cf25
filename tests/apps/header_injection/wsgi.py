def application(environ, start_response):
    start_response("200 OK", [("Location", "/\r\nSet-Cookie: stolen=1")])
    return [b"moved"]
