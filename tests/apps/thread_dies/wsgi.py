import threading


def work():
    raise LookupError("in a thread")


def application(environ, start_response):
    thread = threading.Thread(target=work, name="worker-7")
    thread.start()
    thread.join()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
