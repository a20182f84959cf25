"""What is kept of a document."""

from django.db import models


class Document(models.Model):
    note = models.CharField(max_length=200)
    file = models.FileField()

    def __str__(self):
        return f"{self.note}: {self.file.name}"
