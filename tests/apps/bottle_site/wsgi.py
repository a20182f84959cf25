import os
import socket

import bottle

MODE = os.environ.get("MODE")


@bottle.route("/read")
def read():
    return open("texts/hello.txt").read()


if MODE is None:
    application = bottle.default_app()
else:
    taken = socket.create_server(("127.0.0.1", 0))
    app = bottle.default_app() if MODE == "default" else bottle.Bottle()
    bottle.run(app, port=taken.getsockname()[1])
