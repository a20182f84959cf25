"""Tells what is loaded and from where, and takes a framework's whole way where there is one."""

import json
import sys

AT_IMPORT = sorted(sys.modules)

try:
    import flask
    import werkzeug
except ImportError:
    flask = None
else:
    site = flask.Flask(__name__)

    @site.route("/hello/<int:number>", methods=["GET", "POST"])
    def hello(number):
        response = flask.make_response(f"{number} {flask.request.form.get('name')} {flask.url_for('hello', number=1)}")
        response.set_cookie("a", "b")
        return response

    @site.route("/fails")
    def fails():
        raise LookupError("in a view")

    @site.route("/streams")
    def streams():
        return flask.Response(flask.stream_with_context(str(number) for number in range(3)))


def application(environ, start_response):
    if environ["PATH_INFO"] != "/":
        return site(environ, start_response)
    told = {
        "modules": AT_IMPORT,
        "path": sys.path,
        "argv": sys.argv,
        "prefix": sys.prefix,
        "hooks": [repr(hook).partition(" at ")[0] for hook in (*sys.meta_path, *sys.path_hooks)],
        "files": {name: getattr(sys.modules[name], "__file__", None) for name in ("flask", "werkzeug") if flask},
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
