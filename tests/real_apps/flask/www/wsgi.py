"""A Flask application: login with a session cookie, files up and down, streams, an error handler."""

import hashlib
import json
import sys
import time
from importlib.metadata import distributions
from pathlib import Path

from flask import Flask, Response, abort, redirect, request, send_file, session, stream_with_context

FILES = Path.home() / "files"
FORM = '<form method="post" enctype="multipart/form-data"><input name="{}"><input name="{}"><button></form>'

application = Flask(__name__)
application.secret_key = "of the tenant's alone"


def described(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": path.name, "size": path.stat().st_size, "sha256": digest}


@application.route("/about")
def about():
    return {
        "prefix": sys.prefix,
        "packages": {found.metadata["Name"]: found.version for found in distributions()},
        "modules": sorted(sys.modules),
    }


@application.route("/echo/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def echo(rest):
    names = ("PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "REQUEST_URI", "REQUEST_METHOD")
    return {
        "rest": rest,
        "query": request.args.to_dict(),
        "environ": {name: request.environ.get(name, "") for name in names},
        "body": request.get_data().decode("latin-1"),
    }


@application.route("/files/<name>", methods=["PUT"])
def store(name):
    FILES.mkdir(exist_ok=True)
    with (FILES / name).open("wb") as file:
        while block := request.stream.read(1 << 16):
            file.write(block)
    return described(FILES / name), 201


@application.route("/files/<name>")
def fetch(name):
    path = FILES / name
    return send_file(path, mimetype="application/octet-stream") if path.exists() else abort(404)


@application.route("/files/<name>", methods=["DELETE"])
def delete(name):
    (FILES / name).unlink()
    return "", 204


@application.route("/upload")
def upload_form():
    return FORM.format("note", "file")


@application.route("/upload", methods=["POST"])
def upload():
    FILES.mkdir(exist_ok=True)
    sent = request.files["file"]
    sent.save(FILES / sent.filename)
    return {"note": request.form["note"], **described(FILES / sent.filename)}


@application.route("/stream/<token>")
def stream(token):
    def chunks():
        yield f"first for {request.args['visitor']}\n"
        deadline = time.monotonic() + 20
        while not (FILES / token).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield "second\n" if (FILES / token).exists() else "nobody asked for more\n"

    return Response(stream_with_context(chunks()), headers={"X-Accel-Buffering": "no"}, mimetype="text/plain")


@application.route("/rows/<int:count>")
def rows(count):
    return Response((f"{number},{'x' * 90}\n" for number in range(count)), mimetype="text/csv")


@application.route("/login")
def login_form():
    return FORM.format("name", "password")


@application.route("/login", methods=["POST"])
def login():
    if request.form["password"] != "open sesame":
        abort(403)
    session["name"] = request.form["name"]
    return redirect("/me")


@application.route("/me")
def me():
    session["visits"] = session.get("visits", 0) + 1
    return {"name": session.get("name"), "visits": session["visits"]}


@application.route("/logout", methods=["POST"])
def logout():
    session.clear()
    return redirect("/me")


@application.route("/raise")
def fail():
    raise RuntimeError("the kettle is dry")


@application.route("/quit")
def leave():
    sys.exit("the kettle is gone")


@application.route("/late")
def fail_late():
    def chunks():
        yield "begun\n"
        raise RuntimeError("the stream has dried up")

    return Response(chunks(), headers={"Content-Length": "1000"}, mimetype="text/plain")


@application.errorhandler(LookupError)
def not_in_stock(error):
    return {"missing": str(error)}, 410


@application.route("/lookup")
def lookup():
    return json.loads("{}")["tea"]
