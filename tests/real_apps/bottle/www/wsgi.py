"""A Bottle application: routes, static files, a signed cookie, files up and down."""

import gzip
import hashlib
import shutil
import sys
import threading
import time
from importlib.metadata import distributions
from pathlib import Path

import bottle
from bottle import HTTPError, redirect, request, response, static_file

FILES = Path.home() / "files"
FORM = '<form method="post" enctype="multipart/form-data"><input name="{}"><input name="{}"><button></form>'
SECRET = "of the tenant's alone"

application = bottle.Bottle()
meeting = threading.Barrier(2)


def described(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": path.name, "size": path.stat().st_size, "sha256": digest}


@application.get("/about")
def about():
    return {
        "prefix": sys.prefix,
        "packages": {found.metadata["Name"]: found.version for found in distributions()},
        "modules": sorted(sys.modules),
    }


@application.route("/echo/<rest:path>", method=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def echo(rest):
    names = ("SCRIPT_NAME", "QUERY_STRING", "REQUEST_URI", "REQUEST_METHOD")
    environ = {name: request.environ.get(name, "") for name in names}
    return {
        "rest": rest,
        "query": {name: request.query.getunicode(name) for name in request.query},
        "environ": {"PATH_INFO": request.environ["bottle.raw_path"], **environ},
        "body": request.body.read().decode("latin-1"),
    }


@application.put("/files/<name>")
def store(name):
    FILES.mkdir(exist_ok=True)
    packed = request.get_header("Content-Encoding") == "gzip"
    with gzip.open(request.body) if packed else request.body as body, (FILES / name).open("wb") as file:
        shutil.copyfileobj(body, file)
    response.status = 201
    return described(FILES / name)


@application.get("/files/<name>")
def fetch(name):
    return static_file(name, root=FILES, mimetype="application/octet-stream")


@application.delete("/files/<name>")
def delete(name):
    (FILES / name).unlink()
    response.status = 204


@application.get("/upload")
def upload_form():
    return FORM.format("note", "file")


@application.post("/upload")
def upload():
    FILES.mkdir(exist_ok=True)
    sent = request.files["file"]
    sent.save(str(FILES / sent.filename), overwrite=True)
    return {"note": request.forms.getunicode("note"), **described(FILES / sent.filename)}


@application.get("/stream/<token>")
def stream(token):
    response.content_type = "text/plain"
    response.set_header("X-Accel-Buffering", "no")
    yield f"first for {request.query.visitor}\n"
    deadline = time.monotonic() + 20
    while not (FILES / token).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield "second\n" if (FILES / token).exists() else "nobody asked for more\n"


@application.get("/rows/<count:int>")
def rows(count):
    response.content_type = "text/csv"
    return (f"{number},{'x' * 90}\n" for number in range(count))


@application.get("/login")
def login_form():
    return FORM.format("name", "password")


@application.post("/login")
def login():
    if request.forms.password != "open sesame":
        raise HTTPError(403)
    response.set_cookie("name", request.forms.getunicode("name"), secret=SECRET, httponly=True)
    redirect("/me")


@application.get("/me")
def me():
    visits = int(request.get_cookie("visits", "0", secret=SECRET)) + 1
    response.set_cookie("visits", str(visits), secret=SECRET)
    return {"name": request.get_cookie("name", secret=SECRET), "visits": visits}


@application.post("/logout")
def logout():
    response.delete_cookie("name")
    response.delete_cookie("visits")
    redirect("/me")


@application.get("/meet")
def meet():
    meeting.wait(20)  # until a second request stands here too
    return {"thread": threading.get_ident()}


@application.get("/raise")
def fail():
    raise RuntimeError("the cork is stuck")


@application.error(404)
def not_found(error):
    return "nothing of that name is on the shelf"
