"""Pages from templates, whose every value is escaped, and the few files beside them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import jinja2
from werkzeug.wrappers import Response

_HERE = Path(__file__).parent
_ASSETS = {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def mebibytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 2**20:,.0f} MiB"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mebibytes"] = mebibytes
    return environment


def render(template: str, values: Mapping[str, object], status: int = 200) -> Response:
    """The page of a template."""
    text = _environment().get_template(template).render(values)
    return Response(text, status, content_type="text/html; charset=utf-8")


def asset(name: str) -> Response | None:
    """One of the files; None if it isn't one."""
    kind = _ASSETS.get(name)
    if kind is None:
        return None
    response = Response((_HERE / "assets" / name).read_bytes(), content_type=f"{kind}; charset=utf-8")
    response.headers["Cache-Control"] = "max-age=300"
    return response
