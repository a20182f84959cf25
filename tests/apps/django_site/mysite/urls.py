from django.core import signing
from django.db import connection
from django.http import HttpResponse, HttpResponseBadRequest
from django.urls import path


def visit(request):
    with connection.cursor() as cursor:
        cursor.execute("create table if not exists visits (number)")
    return HttpResponse(b"visited")


urlpatterns = [
    path("", lambda request: HttpResponse(b"ok")),
    path("bad", lambda request: HttpResponseBadRequest(b"of the application's own")),
    path("sign", lambda request: HttpResponse(signing.dumps(1))),
    path("fail", lambda request: 1 / 0),
    path("visit", visit),
]
