"""Documents in the admin."""

from django.contrib import admin

from documents.models import Document

admin.site.register(Document)
