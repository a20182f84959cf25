def application(environ, start_response):
    if environ["PATH_INFO"] == "/fine":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]
    headers = [("Content-Type", "text/plain")]
    if environ["PATH_INFO"] == "/length":
        headers.append(("Content-Length", "10"))
    start_response("200 OK", headers)

    def body():
        yield b"half"
        raise LookupError("after the first byte")

    return body()
