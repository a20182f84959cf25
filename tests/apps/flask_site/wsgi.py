import socket

from flask import Flask

application = Flask(__name__)


@application.route("/")
def hello():
    return "ok"


@application.route("/read")
def read():
    return open("texts/hello.txt").read()


@application.route("/bad")
def bad():
    return "bad", 400


@application.route("/own")
def own():
    return "own", 500


if "RUN" in __import__("os").environ:
    taken = socket.create_server(("127.0.0.1", 0))
    application.run(port=taken.getsockname()[1])
