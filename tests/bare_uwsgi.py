"""One real uWSGI over one application's folder: no chroot, no front, no root. Tests speak the uwsgi protocol."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "tests" / "apps"
ENTRY = ROOT / "user_wsgi_wrapper" / "user_wsgi_wrapper.py"
PATIENCE = 15  # seconds for anything that has to happen
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[([0-9a-f]{12}|-)\] ")

_INI = """[uwsgi]
{plugin}
file = {entry}
chdir = {www}
{address} = {socket}
threads = {threads}
lazy-apps = true
master = true
enable-threads = true
single-interpreter = true
ignore-sigpipe = true
ignore-write-errors = true
disable-write-exception = true
disable-logging = true
die-on-term = true
worker-reload-mercy = 2
touch-workers-reload = {reload}
logto2 = {server_log}
env = SITE_DOMAIN=tenant.example
env = SITE_WSGI_FILE={www}/wsgi.py
env = SITE_ERROR_LOG={error_log}
env = SITE_ERROR_PAGE={www}/500.html
env = SITE_BOX_FOLDER={folder}
env = TMPDIR={folder}
{more}
"""


def wait_for(condition, what="the condition", patience=PATIENCE):
    """Poll until `condition()` is true; its value. Fails the test at the deadline."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {patience} s")
        time.sleep(0.01)


class Response:
    """A raw answer: `status` (None if there was no answer), `headers` with lower-case names, `body`, how it ended."""

    def __init__(self, raw, ended):
        self.raw = raw
        self.ended = ended  # "eof", "reset" or "open"
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0].startswith("HTTP/") else None
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}


@dataclass(frozen=True)
class Uwsgi:
    """A uWSGI: the command that starts it, and the plugin that it has its Python in, None if that is built in."""

    command: tuple[str, ...] = ("uwsgi",)
    plugin: str | None = "python3"


DEBIAN = Uwsgi()  # this machine's own


class BareUwsgi:
    """A context manager around one uWSGI. `source` is the folder of the application; it is copied first.

    `uwsgi` is the one to run, see also tests.pythons.
    """

    def __init__(self, source=None, threads=1, more=(), entry=ENTRY, tcp=False, uwsgi=DEBIAN):
        # Not pytest's tmp_path: a unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="uwsgi-"))
        self.www = self.folder / "www"
        if source is None:
            self.www.mkdir()
        else:
            shutil.copytree(source, self.www, ignore=shutil.ignore_patterns("__pycache__"))
        self.error_log = self.folder / "error.log"
        self.server_log = self.folder / "server.log"
        self.reload_file = self.folder / "reload"
        self.reload_file.touch()
        self._threads, self._more, self._entry, self._uwsgi = threads, more, entry, uwsgi
        self._socket = f"127.0.0.1:{_free_port()}" if tcp else str(self.folder / "s")
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def start(self):
        """Start uWSGI and wait for its socket."""
        settings = {
            "plugin": f"plugin = {self._uwsgi.plugin}" if self._uwsgi.plugin else "",
            "entry": self._entry, "www": self.www, "folder": self.folder, "address": "uwsgi-socket",
            "socket": self._socket, "threads": self._threads, "reload": self.reload_file,
            "server_log": self.server_log, "error_log": self.error_log,
            "more": "\n".join(self._more).replace("{www}", str(self.www)),
        }  # fmt: skip
        ini = self.folder / "vassal.ini"
        ini.write_text(_INI.format(**settings))
        self._process = subprocess.Popen(
            [*self._uwsgi.command, "--ini", str(ini)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )
        try:
            wait_for(self._listens, "uWSGI's socket")
        except BaseException:
            self._stop()
            raise

    def __exit__(self, *_exc_info):
        self._stop()
        shutil.rmtree(self.folder)

    def connect(self):
        """A connected socket."""
        if self._socket.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            address = self._socket
        else:
            connection = socket.socket()
            host, port = self._socket.split(":")
            address = host, int(port)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def get(self, path="/", method="GET", body=b"", request_id=None, timeout=PATIENCE, **more):
        """Ask and read the whole answer; `more` are further WSGI variables."""
        with self.connect() as connection:
            connection.sendall(packet(path, method, body, request_id, **more))
            connection.settimeout(timeout)
            return read(connection)

    def log(self):
        """The error log's text so far."""
        return self.error_log.read_text() if self.error_log.exists() else ""

    def records(self, request_id):
        """The lines of one request, without their stamp."""
        lines = [(STAMP.match(line), line) for line in self.log().split("\n")]
        return [line[stamp.end() :] for stamp, line in lines if stamp and stamp.group(1) == request_id]

    def reload(self):
        """Have the workers replaced."""
        found = self.server_log.read_text().count("WSGI app 0")
        later = time.time() + 10 + found
        os.utime(self.reload_file, (later, later))
        wait_for(lambda: self.server_log.read_text().count("WSGI app 0") > found, "a new worker")

    def _listens(self):
        if self._process.poll() is not None:
            raise AssertionError(f"uWSGI ended with {self._process.returncode}: {self.server_log.read_text()}")
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def _stop(self):
        # Not by SIGTERM: the master looks after its workers' end once a second only.
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def packet(path="/", method="GET", body=b"", request_id=None, **more):
    """A request as nginx sends it (the uwsgi protocol, modifier 0)."""
    path, _, query = path.partition("?")
    variables = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_URI": path,
        "CONTENT_LENGTH": str(len(body)) if body else "", "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "tenant.example", "SERVER_PORT": "80", "HTTP_HOST": "tenant.example", **more,
    }  # fmt: skip
    if request_id is not None:
        variables["REQUEST_ID"] = request_id
    block = b"".join(
        struct.pack("<H", len(part)) + part
        for pair in variables.items()
        for part in (text.encode("latin-1") for text in pair)
    )
    return struct.pack("<BHB", 0, len(block), 0) + block + body


def read(connection):
    """All that the server sends, and how it ended."""
    raw = b""
    while True:
        try:
            data = connection.recv(1 << 16)
        except TimeoutError:
            return Response(raw, "open")
        except ConnectionResetError:
            return Response(raw, "reset")
        if not data:
            return Response(raw, "eof")
        raw += data


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
