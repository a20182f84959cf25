"""A site to be served: a folder with an application of three lines, the same for every server."""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass
from pathlib import Path

FIRST_UID = 2_100_000  # accounts without a name, apart from those that the project's own tests take
_APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "{length}")])
    return [b"{body}"]
"""


@dataclass(frozen=True)
class Site:
    """A domain, whom its processes run as where the server can do that, and the folder that holds wsgi.py."""

    domain: str
    uid: int
    folder: Path

    @property
    def account(self) -> str:
        """The name of its processes' account."""
        return self.domain.partition(".")[0]

    @property
    def body(self) -> str:
        """What it answers to everything: nobody else says that."""
        return f"this is {self.domain}"

    @property
    def code(self) -> str:
        """The text of its wsgi.py."""
        return _APPLICATION.format(length=len(self.body), body=self.body)


def make_sites(folder: Path, count: int) -> list[Site]:
    """Write `count` sites' folders. Every domain has the same length, so that every answer has."""
    sites = [
        Site(f"site{number:04}.test", FIRST_UID + number, folder / f"site{number:04}.test") for number in range(count)
    ]
    for site in sites:
        site.folder.mkdir(parents=True)
        (site.folder / "wsgi.py").write_text(site.code)
        (site.folder / "public").mkdir()  # what Passenger takes for static files
        for path in (site.folder, *site.folder.iterdir()):
            os.chown(path, site.uid, site.uid)
    return sites


def ask(port: int, domain: str, timeout: float = 60.0) -> tuple[int, str]:
    """One request: status and body. Raises OSError or http.client.HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/", headers={"Host": domain})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def check(port: int, site: Site) -> None:
    """Raises SystemExit unless the domain's own application answers."""
    status, body = ask(port, site.domain)
    if (status, body) != (200, site.body):
        raise SystemExit(f"{site.domain}: {status} {body[:300]!r} instead of {site.body!r}")
