"""Files up and down, streams, and what a request looked like."""

import hashlib
import shutil
import sys
import time
from importlib.metadata import distributions

from django.conf import settings
from django.forms import modelform_factory
from django.http import FileResponse, Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_exempt

from documents.models import Document

DocumentForm = modelform_factory(Document, fields=["note", "file"])
FORM = (
    '<form method="post" enctype="multipart/form-data">'
    '<input type="hidden" name="csrfmiddlewaretoken" value="{}">{}<button></form>'
)


def described(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": path.name, "size": path.stat().st_size, "sha256": digest}


def about(request):
    return JsonResponse(
        {
            "prefix": sys.prefix,
            "packages": {found.metadata["Name"]: found.version for found in distributions()},
            "modules": sorted(sys.modules),
        }
    )


@csrf_exempt
def echo(request, rest):
    names = ("PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "REQUEST_URI", "REQUEST_METHOD")
    return JsonResponse(
        {
            "rest": rest,
            "query": request.GET.dict(),
            "environ": {name: request.environ.get(name, "") for name in names},
            "body": request.body.decode("latin-1"),
        }
    )


@csrf_exempt
def file(request, name):
    path = settings.MEDIA_ROOT / name
    if request.method == "PUT":
        settings.MEDIA_ROOT.mkdir(exist_ok=True)
        with path.open("wb") as stored:
            shutil.copyfileobj(request, stored)
        return JsonResponse(described(path), status=201)
    if not path.exists():
        raise Http404(name)
    if request.method == "DELETE":
        path.unlink()
        return HttpResponse(status=204)
    return FileResponse(path.open("rb"), content_type="application/octet-stream")


def upload(request):
    form = DocumentForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        document = form.save()
        path = settings.MEDIA_ROOT / document.file.name
        return JsonResponse({"note": document.note, **described(path)})
    return HttpResponse(FORM.format(get_token(request), form))


def stream(request, token):
    def chunks():
        yield f"first for {request.GET['visitor']}\n"
        deadline = time.monotonic() + 20
        path = settings.MEDIA_ROOT / token
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield "second\n" if path.exists() else "nobody asked for more\n"

    return StreamingHttpResponse(chunks(), content_type="text/plain", headers={"X-Accel-Buffering": "no"})


def rows(request, count):
    lines = (f"{number},{'x' * 90}\n" for number in range(count))
    return StreamingHttpResponse(lines, content_type="text/csv")


def fail(request):
    raise RuntimeError("the train is late")
