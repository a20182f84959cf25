"""A Pyramid application: routes, a session factory with CSRF protection, a static view, files up and down."""

import hashlib
import shutil
import sys
import time
from importlib.metadata import distributions
from pathlib import Path

from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPForbidden, HTTPFound, HTTPNotFound
from pyramid.response import FileResponse, Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.view import view_config

FILES = Path.home() / "files"
FORM = (
    '<form method="post" enctype="multipart/form-data"><input type="hidden" name="csrf_token" value="{}">'
    '<input name="{}"><input name="{}"><button></form>'
)


def described(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": path.name, "size": path.stat().st_size, "sha256": digest}


@view_config(route_name="about", renderer="json")
def about(request):
    return {
        "prefix": sys.prefix,
        "packages": {found.metadata["Name"]: found.version for found in distributions()},
        "modules": sorted(sys.modules),
    }


@view_config(route_name="echo", renderer="json", require_csrf=False)
def echo(request):
    names = ("PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "REQUEST_URI", "REQUEST_METHOD")
    return {
        "rest": "/".join(request.matchdict["rest"]),
        "query": dict(request.GET),
        "environ": {name: request.environ.get(name, "") for name in names},
        "body": request.body.decode("latin-1"),
    }


@view_config(route_name="file", request_method="PUT", renderer="json", require_csrf=False)
def store(request):
    FILES.mkdir(exist_ok=True)
    path = FILES / request.matchdict["name"]
    with path.open("wb") as file:
        shutil.copyfileobj(request.body_file, file)
    request.response.status = 201
    return described(path)


@view_config(route_name="file", request_method="GET")
def fetch(request):
    path = FILES / request.matchdict["name"]
    if not path.exists():
        raise HTTPNotFound
    return FileResponse(str(path), request=request, content_type="application/octet-stream")


@view_config(route_name="file", request_method="DELETE", require_csrf=False)
def delete(request):
    (FILES / request.matchdict["name"]).unlink()
    return Response(status=204)


@view_config(route_name="upload", request_method="GET")
def upload_form(request):
    return Response(FORM.format(get_csrf_token(request), "note", "file"))


@view_config(route_name="upload", request_method="POST", renderer="json")
def upload(request):
    FILES.mkdir(exist_ok=True)
    sent = request.POST["file"]
    path = FILES / sent.filename
    with path.open("wb") as file:
        shutil.copyfileobj(sent.file, file)
    return {"note": request.POST["note"], **described(path)}


@view_config(route_name="stream")
def stream(request):
    def chunks():
        yield f"first for {request.GET['visitor']}\n".encode()
        deadline = time.monotonic() + 20
        path = FILES / request.matchdict["token"]
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield b"second\n" if path.exists() else b"nobody asked for more\n"

    headers = [("X-Accel-Buffering", "no"), ("Content-Type", "text/plain")]
    return Response(app_iter=chunks(), headerlist=headers)


@view_config(route_name="rows")
def rows(request):
    count = int(request.matchdict["count"])
    lines = (f"{number},{'x' * 90}\n".encode() for number in range(count))
    return Response(app_iter=lines, content_type="text/csv")


@view_config(route_name="login", request_method="GET")
def login_form(request):
    return Response(FORM.format(get_csrf_token(request), "name", "password"))


@view_config(route_name="login", request_method="POST")
def login(request):
    if request.POST["password"] != "open sesame":
        raise HTTPForbidden
    request.session["name"] = request.POST["name"]
    return HTTPFound("/me")


@view_config(route_name="me", renderer="json")
def me(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return {"name": request.session.get("name"), "visits": request.session["visits"]}


@view_config(route_name="logout", request_method="POST", require_csrf=False)
def logout(request):
    request.session.invalidate()
    return HTTPFound("/me")


@view_config(route_name="raise")
def fail(request):
    raise RuntimeError("the stone doesn't fit")


def main():
    with Configurator() as config:
        config.set_session_factory(SignedCookieSessionFactory("of the tenant's alone"))
        config.set_default_csrf_options(require_csrf=True)
        config.add_static_view("assets", str(Path.home() / "assets"))
        config.add_route("echo", "/echo/*rest")
        config.add_route("file", "/files/{name}")
        config.add_route("stream", "/stream/{token}")
        config.add_route("rows", "/rows/{count}")
        for name in ("about", "upload", "login", "me", "logout", "raise"):
            config.add_route(name, f"/{name}")
        config.scan(sys.modules[__name__])
        return config.make_wsgi_app()


application = main()
