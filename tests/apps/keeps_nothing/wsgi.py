import gc


class Mark:
    pass


def application(environ, start_response):
    environ["mark"] = Mark()
    if environ["PATH_INFO"] == "/count":
        gc.collect()
        found = sum(type(item) is Mark for item in gc.get_objects()) - 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(found).encode()]
    if environ["PATH_INFO"] == "/raise":
        raise LookupError("with an environ in its frames")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (chunk for chunk in [b"a", b"b"])
