class Resource:
    def __del__(self):
        raise LookupError("in __del__")


def application(environ, start_response):
    Resource()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
