"""A tenant's files, and what their failure is recorded as: the entry in a plain process, for tests of the advice."""

import os
import subprocess
import sys
from pathlib import Path

from tests.bare_uwsgi import ROOT, STAMP

OK = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n"
# As uWSGI has it: the current folder first on the path.
_PROGRAM = f"""
import sys
sys.path[:] = ["", *sys.path[1:], {str(ROOT)!r}]
from wsgiref.util import setup_testing_defaults
from user_wsgi_wrapper.user_wsgi_wrapper import application
environ = dict(REQUEST_ID="1" * 32)
setup_testing_defaults(environ)
result = application(environ, lambda status, headers, exc_info=None: None)
sys.stdout.write(b"".join(result).decode())
"""


class AdvisedSite:
    """One tenant's folders below `folder`: `www` is current when the site is loaded, `home` is his home."""

    def __init__(self, folder: Path) -> None:
        self.www = folder / "www"
        self.home = folder / "home"
        self.log = folder / "error.log"
        self.python = sys.executable
        self.shown = ""
        for made in (self.www, self.home):
            made.mkdir()

    def write(self, name: str, text: str = "", encoding: str = "utf-8") -> Path:
        """A file, below `www` unless the name is absolute."""
        path = self.www / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding)
        return path

    def fail(self, wsgi: str = "", **environ: str) -> str:
        """Load wsgi.py, with that text if one is given, and ask it; the advice in what is recorded, empty for none.

        In it WWW and HOME stand for the two folders. Fails the test if there was nothing to record.
        """
        if wsgi:
            self.write("wsgi.py", wsgi)
        self.log.unlink(missing_ok=True)
        done = subprocess.run(
            [self.python, "-c", _PROGRAM],
            cwd=self.www,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "PYTHONDONTWRITEBYTECODE": "1",
                "SITE_WSGI_FILE": str(self.www / "wsgi.py"),
                "SITE_ERROR_LOG": str(self.log),
                "SITE_STATIC": "",
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        self.shown = done.stdout
        self.text = self.log.read_text()
        assert "could not be loaded" in self.text or "the application failed" in self.text, self.text
        lines = [STAMP.sub("", line, count=1) for line in self.text.splitlines()]
        advice = [line[len("Advice: ") :] for line in lines if line.startswith("Advice: ")]
        assert len(advice) <= 1
        return "".join(advice).replace(str(self.www), "WWW").replace(str(self.home), "HOME")
