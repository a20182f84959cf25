"""Flask's first example."""

import heap  # noqa: F401
from flask import Flask

application = Flask(__name__)


@application.route("/")
def hello():
    return "<p>Hello, World!</p>"
