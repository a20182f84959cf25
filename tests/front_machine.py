"""A real nginx on the rendered front, the real initialize application, and sites that speak the uwsgi protocol."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

from tests.live import free_port, wait_for
from user_wsgi_wrapper.emperor_hook import nginx, warmer
from user_wsgi_wrapper.emperor_hook.config import Warm
from user_wsgi_wrapper.emperor_hook.initialize import Initialize
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError
from user_wsgi_wrapper.emperor_hook.warm_client import NotWarmError
from user_wsgi_wrapper.layout import Layout

LOG_LINE = re.compile(
    r'(?P<address>\S+) - (?P<user>\S+) \[(?P<time>[^]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) (?P<size>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)" response-time=(?P<seconds>\d+\.\d{3}) (?P<id>[0-9a-f]{12})'
)


class Backend(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Speaks the uwsgi protocol on a unix socket; `answer(variables, body)` gives the bytes of the response."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path, answer):
        self.answer = answer
        self.requests = []
        self.unannounced = 0  # requests that went on after their announced end
        super().__init__(str(path), Exchange)
        Path(path).chmod(0o666)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self):
        self.shutdown()
        self._thread.join()
        self.server_close()
        Path(self.server_address).unlink(missing_ok=True)


class Exchange(socketserver.StreamRequestHandler):
    """One request: the variables (uwsgi protocol, modifier 0), then as much of a body as they announce."""

    def handle(self):
        head = self.rfile.read(4)
        if len(head) < 4:
            return
        block, variables, position = self.rfile.read(struct.unpack("<BHB", head)[1]), {}, 0
        fields = []
        while position < len(block):
            (size,) = struct.unpack_from("<H", block, position)
            fields.append(block[position + 2 : position + 2 + size].decode("latin-1"))
            position += 2 + size
        variables = dict(zip(fields[::2], fields[1::2], strict=True))
        assert len(variables) * 2 == len(fields), f"a variable is there twice: {fields[::2]}"
        body = self.rfile.read(int(variables.get("CONTENT_LENGTH") or 0))
        self.server.requests.append((variables, body))
        self.server.unannounced += has_more(self.connection)
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(self.server.answer(variables, body))


def has_more(connection):
    """Whether bytes wait to be read."""
    try:
        return bool(connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
    except BlockingIOError:
        return False


def as_uwsgi(application):
    """A WSGI application (PEP 3333) as a Backend's answer."""

    def answer(variables, body):
        head = []
        chunks = application(
            {**variables, "wsgi.url_scheme": "http"}, lambda status, headers: head.extend((status, headers))
        )
        try:
            content = b"".join(chunks)
        finally:
            chunks.close()
        lines = [f"HTTP/1.1 {head[0]}", *(f"{name}: {value}" for name, value in head[1]), "", ""]
        return "\r\n".join(lines).encode() + content

    return answer


class Machine:
    """A real nginx on the rendered configuration, the real initialize application, and sites of the test's own."""

    def __init__(self, front):
        self.root = Path(tempfile.mkdtemp(prefix="front-"))  # short: a unix socket's path has 107 bytes at most
        self.root.chmod(0o755)
        self.layout = Layout(self.root)
        self.port = free_port()
        self.front = front(self.port)
        self.sites, self.to_wake = {}, {}
        self.warmed = []
        nginx.prepare_folders(self.layout, self.front)
        write_configuration(self.layout, self.front)
        self.initialize = Backend(
            self.layout.initialize_socket, as_uwsgi(Initialize(self._warm, Warm(page_after=0.3, give_up_after=5)))
        )
        log = self.layout.own_logs_dir / "nginx.error.log"
        self.process = subprocess.Popen(
            ["nginx", "-e", log, "-c", self.layout.run_dir / "nginx.conf"], start_new_session=True
        )
        wait_for((self.layout.run_dir / "nginx.pid").exists, "nginx runs")

    def _warm(self, domain):
        try:
            self._start(domain)
        except Exception as error:
            raise NotWarmError(*warmer.outcome_of(error)) from None

    def _start(self, domain):
        self.warmed.append(domain)
        if domain not in self.to_wake:
            raise NoSuchSiteError(domain)
        answer = self.to_wake[domain]
        if isinstance(answer, Exception):
            raise answer
        if domain not in self.sites and answer is not None:
            self.site(domain, answer)
        self.layout.awake_mark(domain).touch()

    def known(self, domain):
        """The folder for the domain's access log, as the chroot's plan makes it."""
        folder = self.layout.log_dir(domain)
        folder.mkdir()
        log = self.layout.log_file(domain, "access")
        log.touch()
        shutil.chown(log, self.front.user)

    def site(self, domain, answer):
        """A warm site that answers with `answer(variables, body)`; gives its backend."""
        if not self.layout.log_dir(domain).exists():
            self.known(domain)
        self.sites[domain] = Backend(self.layout.socket(domain), answer)
        self.layout.awake_mark(domain).touch()
        return self.sites[domain]

    def close(self):
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait(20)
        for backend in (self.initialize, *self.sites.values()):
            backend.close()
        shutil.rmtree(self.root)

    def ask(self, domain, path="/", method="GET", body=None, headers=(), source="127.0.0.1"):
        """One request, `headers` as pairs that may repeat; gives the response with its `body`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20, source_address=(source, 0))
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in (("Host", domain), *headers):
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            response.body = response.read()
            return response

    def raw(self, data):
        """The first bytes of the answer to bytes that no HTTP library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            return connection.recv(4096)

    def lines(self, domain, count=1):
        """The access log's lines, parsed, once there are `count` of them."""
        path = self.layout.log_file(domain, "access")
        wait_for(lambda: path.read_text().count("\n") >= count, f"{count} lines in {path}")
        matches = [LOG_LINE.fullmatch(line) for line in path.read_text().splitlines()]
        assert all(matches), path.read_text()
        assert len(matches) == count, path.read_text()
        return [match.groupdict() for match in matches]


def write_configuration(layout, front):
    (layout.run_dir / "nginx-front.conf").write_text(nginx.render(layout, front, initialize_timeout=15))
    (layout.run_dir / "nginx.conf").write_text(nginx.render_main(layout, front))
