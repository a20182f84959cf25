"""Somebody who opens the web pages: cookies, forms, and what a browser says of itself, as he likes to have it."""

from __future__ import annotations

import contextlib
import html
import http.client
import io
import itertools
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.live import LiveStack, Reply
from user_wsgi_wrapper.__main__ import main

HOST = "panel.localhost"


def command(stack: LiveStack, *arguments: str) -> tuple[int, str, str]:
    """A command's exit status, output and errors, without the half second that a process of its own takes."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(["--root", str(stack.root), *arguments])
    return status, output.getvalue(), errors.getvalue()


_names = itertools.count()


def log_in(stack: LiveStack, *scope: str) -> Visitor:
    """Somebody who is logged in with a new token."""
    one = Visitor(stack)
    assert one.log_in(new_token(stack, *scope)).status == 303
    return one


def new_token(stack: LiveStack, *scope: str) -> str:
    """A token's text."""
    status, text, errors = command(stack, "token", "add", f"t{next(_names)}", *scope)
    assert status == 0, errors
    return text.strip()


@dataclass
class Visitor:
    """One browser. `address` is what a load balancer says that it comes from."""

    stack: LiveStack
    address: str = "192.0.2.1"
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    port: int | None = None  # of pages that nginx isn't in front of

    @property
    def authority(self) -> str:
        """The host and port that he opens."""
        return f"{HOST}:{self.stack.port}" if self.port is None else f"localhost:{self.port}"

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> Reply:
        """One request, no redirect followed; a cookie that is set is kept."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Host": self.authority, "X-Forwarded-For": self.address, **self.headers, **named}
        if self.cookie:
            sent["Cookie"] = self.cookie
        connection = http.client.HTTPConnection("127.0.0.1", self.port or self.stack.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            if "set-cookie" in names:
                self.cookie = names["set-cookie"].partition(";")[0]
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        """A page."""
        return self.request("GET", path, **headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Reply:
        """A form, as our own page sends it unless the headers say otherwise."""
        origin = {"Origin": f"http://{self.authority}", "Content_Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, urllib.parse.urlencode(fields), **{**origin, **headers})

    def log_in(self, token: str) -> Reply:
        """Log in."""
        return self.post("/login", {"token": token})

    def fields(self, path: str) -> dict[str, str]:
        """What the inputs and text areas of a page hold."""
        text = self.get(path).text
        inputs = re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', text)
        areas = re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>\n?(.*?)</textarea>', text, re.DOTALL)
        return {name: html.unescape(value) for name, value in (*inputs, *areas)}

    @contextlib.contextmanager
    def events(self, path: str) -> Iterator[Iterator[bytes]]:
        """A stream, line by line; who leaves the block goes away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port or self.stack.port, timeout=30)
        headers = {"Host": self.authority, "Cookie": self.cookie, "X-Forwarded-For": self.address}
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            with contextlib.closing(connection.getresponse()) as response:
                assert response.status == 200, response.status
                yield iter(response.readline, b"")
