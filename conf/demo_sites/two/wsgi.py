"""A Flask application in a virtual environment of the tenant's own."""

from importlib.metadata import version

from flask import Flask, session

application = Flask(__name__)
application.secret_key = "only a demo's"


@application.route("/")
def index():
    session["visits"] = session.get("visits", 0) + 1
    return f"Flask {version('flask')} on Werkzeug {version('werkzeug')}: your visit number {session['visits']}\n"


@application.route("/raise")
def fail():
    raise RuntimeError("Flask logs this one itself")
