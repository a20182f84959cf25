"""Output by every way that Python has, from requests and from beside them."""

import logging
import logging.config
import sys
import threading
import time
import warnings

at_import = logging.StreamHandler()
logging.getLogger("kept").addHandler(at_import)
print("at import", file=sys.stderr)

CONFIGURATION = {
    "version": 1,
    "disable_existing_loggers": True,
    "formatters": {"plain": {"format": "%(levelname)s in %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain"},
        "named": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"},
    },
    "loggers": {"configured": {"handlers": ["stderr"]}, "other": {"handlers": ["named"]}},
}


def background():
    print("one line", file=sys.stderr)
    try:
        {}["key"]
    except KeyError:
        logging.getLogger("configured").exception("three\nlines")
    print("unfinished", end="", file=sys.stderr)


def act(environ):
    logging.getLogger("kept").error("by a handler made at import")
    print("print", file=sys.stderr)
    print("errors", file=environ["wsgi.errors"])
    logging.getLogger("nobody").warning("by the last resort")
    logging.config.dictConfig(CONFIGURATION)
    logging.getLogger("kept").error("disabled, so never seen")
    logging.getLogger("configured").error("by one made in a request")
    logging.getLogger("other").error("by one that names its stream")
    logging.shutdown()
    logging.getLogger("configured").error("after shutdown")
    warnings.warn("a warning", stacklevel=1)
    logging.getLogger("py.warnings").addHandler(logging.StreamHandler(environ["wsgi.errors"]))
    logging.captureWarnings(True)
    warnings.warn("another, captured", stacklevel=1)
    logging.captureWarnings(False)
    sys.stderr.write("bytes ")
    sys.stderr.buffer.write(memoryview("to the büffer\n".encode()))
    sys.__stderr__.write("by the stream's other name\n")


def many():
    for number in range(20):
        for part in (f"{threading.current_thread().name} ", f"{number}", "\n"):
            sys.stderr.write(part)
            time.sleep(0.0005)


def application(environ, start_response):
    if environ["PATH_INFO"] == "/background":
        thread = threading.Thread(target=background, name="mailer")
        thread.start()
        thread.join()
    elif environ["PATH_INFO"] == "/many":
        threads = [threading.Thread(target=many, name=f"worker-{number}") for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        act(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
