"""The configurations that operators copy, run by the real servers: as many lines in the logs as requests made."""

import functools
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live import free_port, wait_for
from tests.splitting import Splitting

CONF = pathlib.Path(__file__).parents[1] / "conf/log-splitter"
MODULES = "/usr/lib/apache2/modules"
HOSTS = [f"site{n}.example.org" for n in range(10)]
REQUESTS = 4000
LINE = re.compile(
    r'127\.0\.0\.1 - - \[.*\] "GET /(\d+) HTTP/1\.1" 404 \d+ "-" "test \d+" response-time=[\d.]+(us| [0-9a-f]{32})'
)
QUEUE = {
    pathlib.Path("/proc/sys/net/unix/max_dgram_qlen"): "16384",
    pathlib.Path("/proc/sys/net/core/wmem_default"): "16777216",
}


@pytest.fixture
def folder():
    """A folder that the servers' own users may enter."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="uww-split-"))
    made.chmod(0o755)
    (made / "logs").mkdir()
    yield made
    shutil.rmtree(made)


def ask(port, numbers):
    """Requests over one connection, for every host in turn; all must be answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client, client.makefile("rb") as replies:
        for number in numbers:
            host = HOSTS[number % len(HOSTS)].title()  # as a visitor may spell it
            request = f"GET /{number} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: test {number}\r\n\r\n"
            client.sendall(request.encode())
            status, length = replies.readline(), 0
            assert b" 404 " in status
            while (header := replies.readline()) != b"\r\n":
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            replies.read(length)


def ask_all(port, count=REQUESTS, clients=4):
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(ask, port, range(start, count, clients)) for start in range(clients)]:
            done.result()


def lines(folder):
    """Request numbers by host; every line must be whole."""
    found = {}
    for path in (folder / "logs").glob("*.log"):
        matches = [LINE.fullmatch(text) for text in path.read_text().splitlines()]
        assert all(matches)
        found[path.name.removesuffix(".access.log")] = sorted(int(match[1]) for match in matches)
    return found


def expected(count=REQUESTS):
    return {host: list(range(index, count, len(HOSTS))) for index, host in enumerate(HOSTS)}


def count(folder):
    return sum(path.read_bytes().count(b"\n") for path in (folder / "logs").glob("*.log"))


def is_served(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- Apache

APACHE = """\
ServerName test.example.org
ServerRoot {folder}
PidFile {folder}/apache.pid
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
ErrorLog {folder}/apache.errors
User www-data
Group www-data
MaxKeepAliveRequests 0
DocumentRoot {folder}/empty
UseCanonicalName Off
{conf}
"""


@pytest.fixture
def apache(folder):
    """Apache with the configuration from conf/, only paths and options changed; its port."""
    (folder / "empty").mkdir()
    text = (CONF / "apache.conf").read_text()
    command = f"{sys.executable} -m log_splitter --directory {folder}/logs --name {{key}}.access.log --json"
    text, changes = re.subn(r'/opt/.*"', lambda _: f'{command}"', text)
    assert changes == 1
    port = free_port()
    (folder / "apache.conf").write_text(APACHE.format(folder=folder, port=port, modules=MODULES, conf=text))
    process = subprocess.Popen(["/usr/sbin/apache2", "-f", folder / "apache.conf", "-DFOREGROUND"])
    try:
        wait_for(lambda: is_served(port), "Apache serves")
        yield port, process
    finally:
        process.terminate()
        process.wait(30)


def test_apache_every_request_is_a_line_in_its_hosts_log(apache, folder):
    port, process = apache
    ask_all(port)
    wait_for(lambda: count(folder) >= REQUESTS, "all lines")
    assert lines(folder) == expected()
    process.terminate()
    process.wait(30)
    wait_for(
        lambda: '"written_lines"' in (folder / "apache.errors").read_text(), "the counters are in Apache's error log"
    )


def unseen(folder, known):
    """The process ids of new splitters that survive SIGTERM: env(1) has made way for them."""
    command = f"^{sys.executable} -m log_splitter --directory {folder}/logs"
    return set(subprocess.run(["pgrep", "-f", command], capture_output=True, text=True).stdout.split()) - known


def test_apache_a_graceful_restart_in_between_loses_no_line(apache, folder):
    port, process = apache
    known = set()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(lambda: [ask(port, [number]) for number in range(1500)])
        for seen in (50, 500, 1000):
            wait_for(lambda seen=seen: count(folder) > seen, "the requests arrive")
            known |= wait_for(functools.partial(unseen, folder, frozenset(known)), "the newest splitter is there")
            process.send_signal(signal.SIGUSR1)
        asking.result()
    wait_for(lambda: count(folder) >= 1500, "all lines")
    assert lines(folder) == expected(1500)


def test_apache_a_killed_splitter_is_replaced_and_loses_an_interval_at_most(apache, folder):
    port, _ = apache
    ask_all(port, 1000)
    wait_for(lambda: count(folder) >= 1000, "all lines")
    victims = subprocess.run(
        ["pgrep", "-f", f"log_splitter --directory {folder}/logs"], capture_output=True, text=True
    )
    for pid in victims.stdout.split():
        subprocess.run(["kill", "-9", pid], check=True)
    ask(port, range(1000, 2000))
    wait_for(lambda: count(folder) >= 2000, "what came after the kill was kept")
    assert lines(folder) == expected(2000)


# -- nginx

NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.errors;
worker_processes 2;
user www-data;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000;
    {conf}
    server {{
        listen 127.0.0.1:{port};
        return 404;
    }}
}}
"""


@pytest.fixture
def long_queue():
    """What the unit in conf/systemd asks for."""
    before = {path: path.read_text() for path in QUEUE}
    for path, value in QUEUE.items():
        path.write_text(value)
    yield
    for path, value in before.items():
        path.write_text(value)


@pytest.fixture
def nginx(long_queue, folder):
    """nginx with the configuration from conf/, only the socket's path changed; its port and the splitter."""
    text = (CONF / "nginx.conf").read_text()
    assert text.count("unix:/run/log-splitter/socket") == 1
    text = text.replace("unix:/run/log-splitter/socket", f"unix:{folder}/socket")
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, conf=text))
    options = ("--listen", f"unix:{folder}/socket", "--socket-owner", "root:www-data", "--name", "{key}.access.log")
    with Splitting(folder / "logs", *options) as splitting:
        wait_for((folder / "socket").exists, "the socket")
        process = subprocess.Popen(["/usr/sbin/nginx", "-e", folder / "nginx.errors", "-c", folder / "nginx.conf"])
        try:
            wait_for(lambda: is_served(port), "nginx serves")
            yield port, splitting
        finally:
            process.terminate()
            process.wait(30)


def test_nginx_every_request_is_a_line_in_its_hosts_log(nginx, folder):
    port, splitting = nginx
    ask_all(port)
    wait_for(lambda: count(folder) >= REQUESTS, "all lines")
    assert lines(folder) == expected()
    counters = splitting.terminate()
    assert counters["written_lines"] == REQUESTS
    assert counters["headerless_messages"] == 0
    assert "syslog" not in (folder / "nginx.errors").read_text()


def test_nginx_goes_on_with_the_next_splitter_on_the_same_socket(nginx, folder):
    port, splitting = nginx
    ask(port, range(100))
    wait_for(lambda: count(folder) >= 100, "all lines")
    splitting.terminate()
    options = ("--listen", f"unix:{folder}/socket", "--socket-owner", "root:www-data", "--name", "{key}.access.log")
    with Splitting(folder / "logs", *options) as second:
        wait_for((folder / "socket").exists, "the socket")

        def arrives():
            ask(port, range(100, 200))
            return count(folder) > 100

        wait_for(arrives, "lines reach the second one")
        second.terminate()


def test_what_visitors_make_up_is_one_file(nginx, folder):
    port, splitting = nginx
    hosts = ("..", "a_b.com", "1.2.3.4", "[::1]", "-x", "x" * 250 + ".org", "\x7f", "a/b", "a|b.org", "")
    for host in hosts:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            request = f"GET /a|b HTTP/1.1\r\nHost: {host}\r\nUser-Agent: \x1b[2J|\r\nConnection: close\r\n\r\n"
            client.sendall(request.encode())
            while client.recv(4096):
                pass
    wait_for(lambda: count(folder) >= len(hosts), "lines")
    splitting.terminate()
    assert [path.name for path in (folder / "logs").iterdir()] == ["_unknown.access.log"]
    kept = (folder / "logs/_unknown.access.log").read_bytes()
    assert kept.count(b"\n") == len(hosts)
    assert b"\x1b" not in kept
