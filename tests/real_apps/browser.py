"""A visitor's browser, as much of it as sites can tell: cookies, redirects, forms, the Origin header."""

from __future__ import annotations

import http.client
import json
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import Any

TIMEOUT = 90.0  # seconds without a byte
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Page:
    """An answer, read to its end. `path` is where redirects led to."""

    status: int
    headers: Message
    body: bytes
    path: str

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Form:
    """A form of a page: where it goes, and its inputs' names and values."""

    action: str = ""
    inputs: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", "")))
        elif tag == "input" and self.forms and "name" in values and values.get("type") != "submit":
            self.forms[-1].inputs[values["name"]] = values.get("value", "")


class _Here(urllib.request.HTTPHandler):
    """Finds every host at one port of this machine, as a name server would have it."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, request)

    def _connection(self, host: str, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)


class _Errors(urllib.request.HTTPErrorProcessor):
    """An error page is a page too."""

    def http_response(self, request: Any, response: Any) -> Any:
        return super().http_response(request, response) if response.status in _REDIRECTS else response


class Browser:
    """One visitor of one site."""

    def __init__(self, domain: str, port: int) -> None:
        self.origin = f"http://{domain}:{port}"
        self.cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(self.cookies),
            _Here(port),
            _Errors,
        )

    def open(
        self, path: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Begin a request; the answer is read, and closed, by the caller. An iterator as body is sent in chunks."""
        request = urllib.request.Request(self.origin + path, body, dict(headers or {}), method=method)
        return self._opener.open(request, timeout=TIMEOUT)  # type: ignore[no-any-return]

    def request(
        self, path: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Page:
        """One request and the answer to it, redirects followed."""
        with self.open(path, method, body, headers) as response:
            end = urllib.parse.urlsplit(response.geturl()).path
            return Page(response.status, response.headers, response.read(), end)

    def submit(
        self, path: str, fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]] | None = None
    ) -> Page:
        """Open a page, fill in its form that has these fields, send it with all that the form holds besides."""
        page = self.request(path)
        assert page.status == 200, f"{path}: {page.status}: {page.text}"
        parser = _Forms()
        parser.feed(page.text)
        names = {*fields, *(files or ())}
        form = next(form for form in parser.forms if names <= form.inputs.keys())
        values = {name: value for name, value in form.inputs.items() if name not in (files or ())}
        body, content_type = multipart({**values, **fields}, files or {})
        target = urllib.parse.urljoin(page.path, form.action)
        return self.request(target, "POST", body, {"Content-Type": content_type, "Origin": self.origin})


def multipart(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    """A form's body and its Content-Type (RFC 7578)."""
    boundary = uuid.uuid4().hex
    parts = [(f'name="{name}"\r\n', value.encode()) for name, value in fields.items()]
    parts += [
        (f'name="{name}"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n', content)
        for name, (filename, content) in files.items()
    ]
    body = bytearray()
    for head, content in parts:
        body += f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n".encode() + content + b"\r\n"
    return bytes(body + f"--{boundary}--\r\n".encode()), f"multipart/form-data; boundary={boundary}"
