def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/at_once":
        bytearray(1 << 40)
    elif environ["PATH_INFO"] == "/slowly":
        # to the last byte: there is nothing left to report it with while these are held
        kept, size = [], 1 << 20
        while True:
            try:
                kept.append(bytearray(size))
            except MemoryError:
                if size == 16:
                    raise
                size //= 2
    return [b"fine"]
