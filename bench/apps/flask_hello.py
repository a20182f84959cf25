"""Flask's first example."""

from flask import Flask

application = Flask(__name__)


@application.route("/")
def hello():
    return "<p>Hello, World!</p>"
