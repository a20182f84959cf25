class Body:
    def __iter__(self):
        return iter([b"whole"])

    def close(self):
        raise LookupError("while closing")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body()
