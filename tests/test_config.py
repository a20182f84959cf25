"""The operator's configuration file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL

from user_wsgi_wrapper.emperor_hook import config_values
from user_wsgi_wrapper.emperor_hook.config import Config, ConfigError, Front, IdRange, SiteDefaults, Warm, load, parse
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site

NO_URL = URL.create("sqlite+pysqlite", database="/default.db")
EVERYTHING = """
[registry]
url = "postgresql://u:p@db.example:5433/sites"
lookup_url = "mysql://v@/legacy?unix_socket=/run/mysqld.sock"
lookup_query = "SELECT username FROM u WHERE d = %s"
timeout = 2
[ids]
first = 300000
last = 300999
[front]
listen = ["80", "[::]:443 ssl http2", "*:8080"]
real_ip_from = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]
real_ip_header = "X-Real-IP"
max_body_mib = 20
user = "nginx"
read_timeout = 30
[sites]
idle = 60
processes = 2
threads = 4
memory = 512
[warm]
page_after = 0.5
give_up_after = 10
threads = 8
"""


def refusal(text: str) -> str:
    """The one line with which a document is refused."""
    with pytest.raises(BadValueError) as caught:
        parse(text.encode(), NO_URL)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    """The registry is then the layout's own SQLite file."""
    layout = Layout(tmp_path)
    config = load(layout, None)
    assert config.registry.url.database == str(layout.sites_db)
    assert config.registry.lookup_url == config.registry.url
    assert (config.registry.lookup_query, config.registry.timeout) == (None, 3.0)
    assert (config.ids, config.front, config.sites, config.warm) == (IdRange(), Front(), SiteDefaults(), Warm())
    assert config.front.listen == ("127.0.0.1:8080",)
    assert config.sites.site("a.example", "Alice") == Site("a.example", "Alice")


def test_a_relative_root_gives_an_absolute_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its folder goes on using the same file."""
    monkeypatch.chdir(tmp_path)
    assert load(Layout(Path("r")), None).registry.url.database == str(Layout(tmp_path / "r").sites_db)


def test_every_key_is_read() -> None:
    """None of them keeps its default."""
    config = parse(EVERYTHING.encode(), NO_URL)
    assert (
        config.registry.url.render_as_string(hide_password=False) == "postgresql+psycopg://u:p@db.example:5433/sites"
    )
    assert config.registry.lookup_url.drivername == "mysql+pymysql"
    assert config.registry.lookup_query == "SELECT username FROM u WHERE d = %s"
    assert config.registry.timeout == 2.0
    assert config.ids == IdRange(300_000, 300_999)
    assert config.front == Front(
        listen=("80", "[::]:443 ssl http2", "*:8080"),
        real_ip_from=("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"),
        real_ip_header="X-Real-IP",
        max_body_mib=20,
        user="nginx",
        read_timeout=30,
    )
    assert config.sites == SiteDefaults(idle=60, processes=2, threads=4, memory=512)
    assert config.warm == Warm(page_after=0.5, give_up_after=10.0, threads=8)


def test_the_layouts_file_is_read_if_there_is_one_and_a_named_file_instead_of_it(tmp_path: Path) -> None:
    """A named file that isn't there is an error."""
    layout = Layout(tmp_path)
    layout.config_file.parent.mkdir(parents=True)
    layout.config_file.write_text("[sites]\nidle = 7\n")
    named = tmp_path / "named.toml"
    named.write_text("[sites]\nthreads = 7\n")
    assert load(layout, None).sites == SiteDefaults(idle=7)
    assert load(layout, named).sites == SiteDefaults(threads=7)
    with pytest.raises(ConfigError, match=r"missing\.toml: there is no such file"):
        load(layout, tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(layout, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[registry", "not TOML"),
        ("[sites]\nidle = 1\nidle = 2", "not TOML"),
        (
            "[site]\nidle = 1",
            "[site]: there is no such section; registry, ids, front, sites, warm, limits, web are known",
        ),
        ("sites = 1", "sites: it is not a section"),
        ("[[sites]]\nidle = 1", "sites: it is not a section"),
        ("[sites]\nidel = 1", "sites.'idel': there is no such key; idle, processes, threads, memory are known"),
        ('[sites]\n"a\\nb" = 1', "no such key"),
        ("[sites]\nidle = '1'", "sites.idle: '1' is not a whole number"),
        ("[sites]\nidle = true", "sites.idle: True is not a whole number"),
        ("[sites]\nidle = 1.0", "sites.idle: 1.0 is not a whole number"),
        ("[sites]\nidle = 0", "sites: idle 0: from 1 to"),
        ("[sites]\nmemory = 1", "sites: memory 1: from 16 to"),
        ("[sites]\nprocesses = 100", "sites: processes 100: from 1 to 64"),
        ("[limits]\ncgroups = 'yes'", "limits.cgroups: 'yes': one of auto, required, off is needed"),
        ("[limits]\nopen_files = 3", "limits.open_files: 3: 0, or from 128 to"),
        ("[registry]\nurl = 1", "registry.url: not a string"),
        ("[registry]\nurl = ['postgresql://u:s3cret@h/d']", "registry.url: not a string"),
        ("[registry]\nurl = 'x'", "registry.url: not a database URL"),
        ("[registry]\nurl = 'oracle://u:s3cret@h/d'", "registry.url: 'oracle': one of sqlite,"),
        ("[registry]\nurl = 'postgresql+asyncpg://u:s3cret@h/d'", "'postgresql+asyncpg'"),
        ("[registry]\nurl = 'postgresql://u:s3cret@h:x/d'", "not a database URL"),
        ("[registry]\nurl = 'postgresql://u:s3cret@h'", "the URL names no database"),
        ("[registry]\nurl = 'sqlite://'", "the URL names no database"),
        ("[registry]\nurl = 'sqlite:///:memory:'", "absolute path"),
        ("[registry]\nurl = 'sqlite:///relative.db'", "absolute path"),
        ("[registry]\nurl = 'sqlite:////a.db?mode=ro'", "absolute path"),
        ("[registry]\nlookup_query = 'SELECT 1'", "registry.lookup_query: there is no placeholder"),
        ("[registry]\nlookup_query = 'DELETE FROM x WHERE d = %s'", "is not a SELECT"),
        ("[registry]\ntimeout = 0", "registry.timeout: 0: from 0.1 to 60 seconds"),
        ("[registry]\ntimeout = nan", "registry.timeout: nan"),
        ("[registry]\ntimeout = inf", "registry.timeout: inf"),
        ("[registry]\ntimeout = '3'", "registry.timeout: '3' is not a number of seconds"),
        ("[ids]\nfirst = 0", "ids.first: 0: from 1000 to"),
        ("[ids]\nfirst = 300000", "ids.first: 300000 is above ids.last, 299999"),
        ("[ids]\nfirst = 60000\nlast = 70000", "ids.first: the range has 65534 (nobody) in it"),
        ("[front]\nlisten = '80'", "front.listen: '80' is not a list of strings"),
        ("[front]\nlisten = [80]", "front.listen: [80] is not a list of strings"),
        ("[front]\nlisten = []", "front.listen: at least one address is needed"),
        ("[front]\nlisten = ['80', '80 ssl']", "front.listen: '80' is there twice"),
        ("[front]\nreal_ip_from = ['10.0.0.1/8']", "front.real_ip_from: '10.0.0.1/8' is not a network"),
        ("[front]\nreal_ip_from = ['fe80::%eth0/64']", "front.real_ip_from:"),
        ("[front]\nreal_ip_from = ['0.0.0.0/0;']", "front.real_ip_from:"),
        ("[front]\nreal_ip_from = ['example.com']", "front.real_ip_from:"),
        ("[front]\nreal_ip_header = 'X Real'", "front.real_ip_header:"),
        ("[front]\nreal_ip_header = 'proxy_protocol'", "proxy_protocol must stand at each address of front.listen"),
        ("[front]\nuser = 'www-data; daemon off'", "front.user:"),
        ("[warm]\nuser = 'uww; daemon off'", "warm.user:"),
        ("[warm]\nuser = 'root'", "warm.user: root has other rights"),
        ("[warm]\nuser = 'www-data'", "warm.user: www-data has other rights"),
        ("[front]\nuser = 'one'\n[warm]\nuser = 'one'", "warm.user: one has other rights"),
        ("[front]\nmax_body_mib = 0", "front.max_body_mib: 0: from 1 to"),
        ("[front]\nread_timeout = 1.5", "front.read_timeout: 1.5 is not a whole number"),
        ("[warm]\npage_after = -1", "warm.page_after: -1: from 0 to 600"),
        ("[warm]\nthreads = 0", "warm.threads: 0: from 1 to 1024"),
        ("[web]\nhost = 'a b; listen 1'", "web.host: domain 'a b; listen 1'"),
        ("[web]\nhost = '10.0.0.1'", "web.host: domain '10.0.0.1'"),
        ("[web]\nstreams = 0", "web.streams: 0: from 1 to 1024"),
        ("[warm]\nthreads = " + "9" * 4000, "warm.threads: "),
    ],
)
def test_a_mistake_is_told_by_key_and_rule(tmp_path: Path, text: str, words: str) -> None:
    """On one line, with the file's name before it, and with no part of a database URL that may hold a password."""
    assert words in refusal(text)
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Layout(tmp_path), file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "s3cret" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_not_utf8_is_refused() -> None:
    """TOML is UTF-8."""
    with pytest.raises(BadValueError, match="it is not UTF-8"):
        parse(b"[sites]\n# \xff\n", NO_URL)


@pytest.mark.parametrize(
    "address",
    ["80", "65535", "127.0.0.1:80", "*:80", "[::1]:80", "80 ssl", "443 ssl http2 proxy_protocol"],
)
def test_what_nginx_listens_to_is_carried_as_it_is(address: str) -> None:
    """A port, an address with a port, and what may follow."""
    assert config_values.listen_addresses([address]) == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "0",
        "65536",
        "080",
        "http",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.256:80",
        "::1:80",
        "[::1]",
        "[127.0.0.1]:80",
        "[fe80::1%eth0]:80",
        "example.com:80",
        "unix:/run/x",
        "80 default_server",
        "80 reuseport",
        "80 ssl ssl",
        "80  ssl",
        " 80",
        "80 ",
        "80;",
        "80; }",
        "80\n",
        "80 ssl\n",
        "80\tssl",
        "80 ssl;daemon off",
        "$x:80",
        "\uff18\uff10",
    ],
)
def test_nothing_else_gets_into_a_listen_directive(address: str) -> None:
    """No second directive, no parameter that two servers on one address can't share."""
    with pytest.raises(BadValueError):
        config_values.listen_addresses([address])


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789:.[]*abcdefslhtpxy _;{}$#\n\t\"'\\"), max_size=30))
def test_no_text_injects_into_nginx(text: str) -> None:
    """What any of the rules lets through has no character that means something to nginx's parser."""
    for rule in (
        lambda: config_values.listen_addresses([text])[0],
        lambda: config_values.networks([text])[0],
        lambda: config_values.header(text),
        lambda: config_values.account(text),
    ):
        try:
            accepted = rule()
        except BadValueError as error:
            assert len(str(error).splitlines()) == 1
            continue
        assert not set(accepted) & set(";{}$#\n\t\"'\\")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_file_is_a_configuration_or_refused(document: bytes) -> None:
    """Nothing but BadValueError comes out, on one line."""
    try:
        assert isinstance(parse(document, NO_URL), Config)
    except BadValueError as error:
        assert len(str(error).splitlines()) == 1


def test_real_nginx_takes_what_is_accepted(tmp_path: Path) -> None:
    """`nginx -t` parses every kind of address twice, as the front's two servers use it, and every network."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    addresses = config_values.listen_addresses(
        [
            "18080",
            "127.0.0.1:18081 proxy_protocol",
            "[::1]:18082",
            "*:18083 http2",
            "127.0.0.1:18084 http2 proxy_protocol",
        ]
    )
    networks = config_values.networks(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"])
    first = "".join(f"listen {address};\n" for address in addresses)
    second = "".join(f"listen {address} default_server;\n" for address in addresses)
    real_ip = "".join(f"set_real_ip_from {network};\n" for network in networks)
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{real_ip}real_ip_header "
        f"{config_values.header('CF-Connecting-IP')};\n"
        f"server {{ {first} server_name a; }}\nserver {{ {second} server_name b; }}\n}}\n"
    )
    done = subprocess.run(
        [nginx, "-t", "-q", "-p", tmp_path, "-c", file, "-e", tmp_path / "error.log"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
