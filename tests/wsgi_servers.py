"""Real WSGI servers over the entry: gunicorn, waitress, Apache's mod_wsgi, each over one application's folder."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bare_uwsgi import ROOT, STAMP, read, wait_for
from tests.live import free_port

ENTRY = "user_wsgi_wrapper.user_wsgi_wrapper:application"
NOBODY = 65534
_APACHE = """\
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile httpd.pid
ErrorLog server.log
Listen 127.0.0.1:{port}
KeepAlive Off
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
StartServers 1
ThreadsPerChild 4
MaxRequestWorkers 4
ServerLimit 1
MinSpareThreads 1
MaxSpareThreads 4
WSGISocketPrefix {folder}/socket
WSGIScriptAlias / {folder}/entry.wsgi
{mode}
<Directory {folder}>
Require all granted
</Directory>
"""
_GLOBAL = "WSGIApplicationGroup %{{GLOBAL}}\n"
_DAEMON = (
    "WSGIDaemonProcess site processes=1 threads=4 home={folder} python-path={folder}/library\nWSGIProcessGroup site"
)
_EMBEDDED = "WSGIPythonPath {folder}/library"

# What starts each: the arguments are filled in as for _APACHE, a string is a mode of Apache's.
SERVERS = {
    "gunicorn sync": ["-m", "gunicorn", "--bind=127.0.0.1:{port}", "--workers=1", ENTRY],
    "gunicorn gthread": ["-m", "gunicorn", "--bind=127.0.0.1:{port}", "--worker-class=gthread", "--threads=4", ENTRY],
    "gunicorn gevent": ["-m", "gunicorn", "--bind=127.0.0.1:{port}", "--worker-class=gevent", ENTRY],
    "waitress": ["-m", "waitress", "--listen=127.0.0.1:{port}", "--threads=4", ENTRY],
    "mod_wsgi": _GLOBAL + _DAEMON,
    "mod_wsgi embedded": _GLOBAL + _EMBEDDED,
    "mod_wsgi subinterpreter": _DAEMON,  # what it does unless it is told otherwise
}


class WsgiServer:
    """A context manager around one server, which runs as an ordinary user; the application is a copy."""

    def __init__(self, name, source):
        self.folder = Path(tempfile.mkdtemp(prefix="wsgi-"))
        self.www = self.folder / "www"
        shutil.copytree(source, self.www, ignore=shutil.ignore_patterns("__pycache__"))
        self.error_log = self.folder / "error.log"
        self.server_log = self.folder / "server.log"
        self.port = free_port()
        self._command = self._prepare(SERVERS[name])
        self._process = None

    def _prepare(self, how):
        values = {"folder": self.folder, "port": self.port}
        library = self.folder / "library" / "user_wsgi_wrapper"
        shutil.copytree(ROOT / "user_wsgi_wrapper", library, ignore=shutil.ignore_patterns("__pycache__"))
        if isinstance(how, list):
            return [sys.executable, *(argument.format(**values) for argument in how)]
        (self.folder / "entry.wsgi").write_text("from user_wsgi_wrapper.user_wsgi_wrapper import application\n")
        (self.folder / "httpd.conf").write_text(_APACHE.format(mode=how.format(**values), **values))
        return ["/usr/sbin/apache2", "-f", str(self.folder / "httpd.conf"), "-DFOREGROUND"]

    def __enter__(self):
        self.server_log.touch()
        for path in [self.folder, *self.folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if "apache2" in self._command[0] else {}
        environ = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "SITE_DOMAIN": "tenant.example",
            "SITE_WSGI_FILE": f"{self.www}/wsgi.py", "SITE_ERROR_LOG": str(self.error_log),
            "SITE_ERROR_PAGE": f"{self.www}/500.html", "SITE_STATIC": f"/static={self.www}/static",
        }  # fmt: skip
        with self.server_log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder / "library",
                start_new_session=True, env=environ, **user,
            )  # fmt: skip
        try:
            wait_for(self._listens, "the server's socket")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_exc_info):
        self._stop()
        shutil.rmtree(self.folder)

    def connect(self):
        """A connected socket."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def get(self, path="/page", method="GET", body=b"", timeout=15, **headers):
        """Ask over HTTP/1.1 and read all that comes, chunks and all, until the connection ends."""
        with self.connect() as connection:
            connection.sendall(request(path, method, len(body), **headers) + body)
            connection.settimeout(timeout)
            return read(connection)

    def log(self):
        """The error log's text so far."""
        return self.error_log.read_text() if self.error_log.exists() else ""

    def records(self, request_id):
        """The lines of one request, without their stamp."""
        lines = [(STAMP.match(line), line) for line in self.log().split("\n")]
        return [line[stamp.end() :] for stamp, line in lines if stamp and stamp.group(1) == request_id]

    def _listens(self):
        assert self._process.poll() is None, f"ended with {self._process.returncode}: {self.server_log.read_text()}"
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def _stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def request(path, method="GET", length=0, **headers):
    """The head of a request whose connection is to end with its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: tenant.example", "Connection: close"]
    if length:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def chunks_end(raw):
    """Whether a chunked body has its last chunk (RFC 9112 section 7.1)."""
    return raw.endswith(b"0\r\n\r\n")
