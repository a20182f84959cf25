"""Which view answers which path."""

from django.contrib import admin
from django.urls import path
from documents import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("about", views.about),
    path("echo/<path:rest>", views.echo),
    path("upload", views.upload),
    path("files/<name>", views.file),
    path("stream/<token>", views.stream),
    path("rows/<int:count>", views.rows),
    path("raise", views.fail),
]
