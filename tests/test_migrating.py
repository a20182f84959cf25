"""`site import` adds all sites of a file or none, and says what it can't carry over; `site export` is read back."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live import LiveStack
from user_wsgi_wrapper.__main__ import main
from user_wsgi_wrapper.emperor_hook import import_apache, import_piku, site_fields, site_tables
from user_wsgi_wrapper.emperor_hook.carried import Carried
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import LOG_FORMATS, PREFLIGHTS, Site, check

DEFAULTS = Site("import.invalid", "nobody")
OTHER_DEFAULTS = Site("import.invalid", "nobody", processes=7, threads=5, idle=77, memory=99)

# -- a table and back

NAME = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
DOMAIN = st.tuples(NAME, st.from_regex("[a-z]{2,5}", fullmatch=True)).map(".".join)
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, [*range(32), 127]))), max_size=20
)
PART = TEXT.map(lambda text: text.replace("/", "").replace(":", "").replace("=", "")).filter(
    lambda part: part.strip(".")
)
PATH = st.lists(PART, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
ENV_NAME = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True).filter(
    lambda name: not name.startswith(("SITE_", "UWSGI_"))
)
SITES = st.builds(
    Site,
    domain=DOMAIN,
    username=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,20}", fullmatch=True),
    wsgi_file=PATH,
    static=st.lists(st.tuples(PATH, PATH), max_size=3).map(tuple),
    check_static=st.none() | PATH,
    virtualenv=st.none() | PATH,
    env=st.dictionaries(ENV_NAME, TEXT, max_size=4).map(lambda found: tuple(found.items())),
    processes=st.integers(1, 64),
    threads=st.integers(1, 256),
    idle=st.integers(1, 7 * 86400),
    memory=st.none() | st.integers(16, 1 << 20),
    log_format=st.sampled_from(LOG_FORMATS),
    preflight=st.sampled_from(PREFLIGHTS),
)


@given(st.lists(SITES, max_size=4))
def test_what_is_exported_is_read_back_whatever_the_defaults_are(sites: list[Site]) -> None:
    """Every field of every lawful site, in CSV and as JSON lines; the line of each is told."""
    for site in sites:
        check(site)
    for write, read in (
        (site_tables.write_csv, site_tables.read_csv),
        (site_tables.write_json_lines, site_tables.read_json_lines),
    ):
        text = "".join(write(sites))
        for defaults in (DEFAULTS, OTHER_DEFAULTS):
            found = read("f", text, defaults)
            assert (found.errors, found.notes) == ((), ())
            assert [entry.site for entry in found.entries] == sites
    lines = ("".join(site_tables.write_json_lines(sites))).split("\n")
    for entry in site_tables.read_json_lines("f", "\n".join(lines), DEFAULTS).entries:
        assert json.loads(lines[int(entry.where.partition(":")[2]) - 1])["domain"] == entry.site.domain


def test_every_field_of_a_site_is_in_a_table() -> None:
    """Those that are added later, too."""
    assert tuple(field.name for field in dataclasses.fields(Site)) == site_fields.NAMES


def test_a_table_by_hand_may_have_some_columns_in_any_order() -> None:
    """What isn't said has the operator's default; an empty cell of pairs means none."""
    text = (
        "\ufeff".lstrip("\ufeff")
        + 'Username,domain,static,processes\r\nAlice,Bücher.example,,\r\n"Bob",b.test.,/s=/d:/t=/e,3\r\n'
    )
    found = site_tables.read_csv("f", text, OTHER_DEFAULTS)
    assert [entry.site for entry in found.entries] == [
        dataclasses.replace(OTHER_DEFAULTS, domain="xn--bcher-kva.example", username="Alice", static=()),
        dataclasses.replace(
            OTHER_DEFAULTS, domain="b.test", username="Bob", static=(("/s", "/d"), ("/t", "/e")), processes=3
        ),
    ]
    assert [entry.where for entry in found.entries] == ["f:2", "f:3"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f:1: there is no column domain; the first line must name the columns"),
        ("domain;username\n", "f:1: column 'domain;username': domain, username,"),
        ("domain,username,domain\n", "f:1: column 'domain': it stands there twice"),
        ("domain,username\na.test\n", "f:2: 1 cells, the heading has 2"),
        ("domain,username\na.test,\n", "f:2: username: it is needed"),
        ("domain,username\n\na b.test,x\n", "f:3: domain 'a b.test': the part 'a b' is not"),
        ("domain,username,processes\na.test,x,two\n", "f:2: processes 'two': a whole number is needed"),
        ("domain,username,processes\na.test,x,65\n", "f:2: processes 65: from 1 to 64 is allowed"),
        ("domain,username,env\na.test,x,1=2\n", "f:2: environment name '1'"),
        ("domain,username,static\na.test,x,/s\n", "f:2: static mapping '/s': URL=DIR is needed"),
        ('domain,username,env\na.test,x,"A=1\nB=2"\nb.test,x,"A=\t"\n', "f:4: the value of environment A: control"),
        ('domain,username\n"a.test,x\n', "f: it is not CSV"),
        ("domain,username,memory\na.test,x," + "9" * 5000 + "\n", "f:2: memory '999"),
    ],
)  # fmt: skip
def test_a_bad_line_of_a_table_is_named_with_the_value_and_the_rule(text: str, error: str) -> None:
    found = site_tables.read_csv("f", text, DEFAULTS)
    assert len(found.errors) == 1, found
    assert found.errors[0].startswith(error)
    assert "\n" not in found.errors[0]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "f:1: it is not JSON"),
        ("\n[]", "f:2: it is no JSON object"),
        ('{"domain": "a.test"}', "f:1: username: it is needed"),
        ('{"domain": "a.test", "username": "x", "colour": 1}', "f:1: key 'colour'"),
        ('{"domain": 1, "username": "x"}', "f:1: domain '1': str is needed"),
        ('{"domain": "a.test", "username": "x", "processes": true}', "f:1: processes 'True': int is needed"),
        ('{"domain": "a.test", "username": "x", "memory": "1"}', "f:1: memory \"'1'\": int or null is needed"),
        ('{"domain": "a.test", "username": "x", "env": {"A": "1"}}', "f:1: env \"{'A': '1'}\": a list of pairs"),
        ('{"domain": "a.test", "username": "x", "static": [["/s"]]}', "f:1: static"),
        ("[" * 100_000, "f:1: it is not JSON"),
    ],
)
def test_a_bad_line_of_json_is_named_with_the_value_and_the_rule(text: str, error: str) -> None:
    found = site_tables.read_json_lines("f", text, DEFAULTS)
    assert len(found.errors) == 1, found
    assert found.errors[0].startswith(error)


# -- Apache

VHOST = r"""
# the server's own
Listen 80
WSGIDaemonProcess other user=nobody
<VirtualHost *:80>
    ServerName www.example.org:80
    ServerAlias example.org *.example.org
    ServerAdmin me@example.org
    DocumentRoot /srv/site/htdocs
    <IfModule mod_wsgi.c>
    WSGIDaemonProcess site user=Carol group=carol processes=2 threads=15 \
        display-name=%{GROUP} python-home=/srv/venvs/site "python-path=/srv/site/lib:/opt/shared code" \
        maximum-requests=1000
    WSGIProcessGroup site
    WSGIScriptAlias / /srv/site/app/../app/site.wsgi
    WSGIScriptAlias /admin /srv/site/admin.wsgi
    </IfModule>
    Alias /static/ /srv/site/app/static/
    Alias /media "/srv/user media"
    SetEnv DJANGO_SETTINGS_MODULE site.settings
    SetEnv GREETING "hello \"you\""
    <Directory /srv/site/app>
        Require all granted
        SetEnv INNER 1
    </Directory>
    SSLEngine on
    SSLCertificateFile /etc/ssl/site.pem
    RewriteRule ^/old$ /new [R]
</VirtualHost>
<VirtualHost *:80>
    ServerName static.example.org
    DocumentRoot /srv/static
</VirtualHost>
"""


def test_an_apache_virtual_host_with_mod_wsgi_becomes_sites() -> None:
    """One for each name, with the daemon's user and numbers, the code's folder being /var/www."""
    found = import_apache.read("f", VHOST, DEFAULTS, None)
    assert found.errors == ()
    site = dataclasses.replace(
        DEFAULTS,
        domain="www.example.org",
        username="Carol",
        wsgi_file="/var/www/site.wsgi",
        static=(("/static", "/var/www/static"), ("/media", "/var/www/user media")),
        virtualenv="/var/www/site",
        env=(
            ("PYTHONPATH", "/var/www/lib:/var/www/shared code"),
            ("DJANGO_SETTINGS_MODULE", "site.settings"),
            ("GREETING", 'hello "you"'),
        ),
        processes=2,
        threads=15,
    )
    assert [entry.site for entry in found.entries] == [site, dataclasses.replace(site, domain="example.org")]
    assert [entry.where for entry in found.entries] == ["f:6", "f:7"]


def test_what_apache_has_and_sites_have_not_is_told_by_its_line() -> None:
    """And what is left to do; what the stack does anyway is not mentioned."""
    notes = import_apache.read("f", VHOST, DEFAULTS, None).notes
    lines = VHOST.split("\n")
    not_carried = {note.split(": ")[0]: note for note in notes if ": not carried over" in note}
    assert sorted(int(where.split(":")[1]) for where in not_carried) == [3, 7, 9, 11, 16, 24, 27, 28, 30]
    for where, note in not_carried.items():
        line = lines[int(where.split(":")[1]) - 1].strip()
        assert line.split()[0] in note or "maximum-requests" in note or "without WSGIScriptAlias" in note
    todo = [note for note in notes if ": to do: " in note]
    assert any("copy /srv/user media to /var/www/user media" in note for note in todo)
    assert any("copy /srv/site/app/../app to /var/www" in note for note in todo)
    assert any("python3 -m venv" in note for note in todo)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Listen 80", "f:1: there is no <VirtualHost> in it"),
        ("<VirtualHost *:80>\nServerName a.test", "f:1: <virtualhost> isn't closed"),
        ("</VirtualHost>", "f:1: '</VirtualHost>' closes what isn't open"),
        ("<VirtualHost *:80", "f:1: '<VirtualHost *:80' is no section"),
        (
            "<VirtualHost *>\nWSGIScriptAlias / /a/b.py\nServerName a.test\n</VirtualHost>",
            "f:1: no WSGIDaemonProcess",
        ),
        ("<VirtualHost *>\nWSGIScriptAlias /x /a/b.py\n</VirtualHost>", "f:2: WSGIScriptAlias / FILE is needed"),
        (
            "WSGIDaemonProcess x user=U\n<VirtualHost *>\nWSGIProcessGroup x\nWSGIScriptAlias / /a/b.py\n"
            "</VirtualHost>",
            "f:2: there is no ServerName",
        ),
        (
            "WSGIDaemonProcess x user=U processes=999\n<VirtualHost *>\nWSGIProcessGroup x\nServerName a.test\n"
            "WSGIScriptAlias / /a/b.py\n</VirtualHost>",
            "f:4: processes 999: from 1 to 64 is allowed",
        ),
        (
            "WSGIDaemonProcess x user=U\n<VirtualHost *>\nWSGIProcessGroup x\nServerName a_b\n"
            "WSGIScriptAlias / /a/b.py\n</VirtualHost>",
            "f:4: domain 'a_b'",
        ),
    ],
)
def test_a_bad_line_of_apaches_is_named(text: str, error: str) -> None:
    found = import_apache.read("f", text, DEFAULTS, None)
    assert len(found.errors) == 1, found
    assert found.errors[0].startswith(error)


@given(st.text(st.sampled_from("<>/\\\"' \nabVirtualHostWSGIScriptAlias.=:"), max_size=80))
def test_no_text_breaks_the_reader_of_apaches(text: str) -> None:
    """It is carried, or refused, and nothing else."""
    assert isinstance(import_apache.read("f", text, DEFAULTS, "x"), Carried)


# -- piku


@pytest.fixture
def piku(tmp_path: Path) -> Path:
    """A piku root as piku makes it."""
    files = {
        "apps/blog/Procfile": "wsgi: blog.wsgi:application\nworker: python work.py\n# comment\nrelease: ./migrate\n",
        "apps/blog/ENV": "DEBUG=False\nBASE=/x\n",
        "envs/blog/ENV": "# settings\nNGINX_SERVER_NAME=blog.test www.blog.test\nSECRET_KEY=a=b c\n"
        "DATA=${BASE}/$APP\nNGINX_STATIC_PATHS=/static:public/static,/media:media/\nNGINX_HTTPS_ONLY=true\nPORT=8001\nDEBUG=True\n",
        "envs/blog/SCALING": "wsgi:3\nworker:1\n",
        "apps/shop/Procfile": "wsgi: main:app\n",
        "envs/shop/ENV": "NGINX_SERVER_NAME=shop.test\nUWSGI_PROCESSES=2\nUWSGI_GEVENT=10\n",
        "apps/node/Procfile": "web: node server.js\n",
        "envs/node/ENV": "NGINX_SERVER_NAME=node.test\n",
        "apps/hidden/Procfile": "wsgi: main:application\n",
    }
    for name, text in files.items():
        path = tmp_path / ".piku" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / ".piku"


def test_a_pikus_apps_become_sites(piku: Path) -> None:
    """Each app's tenant has its name; what an ENV sets later counts, its variables are filled in."""
    found = import_piku.read(piku, DEFAULTS, None)
    assert found.errors == ()
    blog = dataclasses.replace(
        DEFAULTS,
        domain="blog.test",
        username="blog",
        wsgi_file="/var/www/blog/wsgi.py",
        static=(("/static", "/var/www/public/static"), ("/media", "/var/www/media")),
        virtualenv="/home/blog/venv",
        env=(("DEBUG", "True"), ("BASE", "/x"), ("SECRET_KEY", "a=b c"), ("DATA", "/x/blog")),
        processes=3,
    )
    shop = dataclasses.replace(
        DEFAULTS, domain="shop.test", username="shop", virtualenv="/home/shop/venv", processes=2
    )
    assert [entry.site for entry in found.entries] == [blog, dataclasses.replace(blog, domain="www.blog.test"), shop]
    assert found.entries[0].where == f"{piku}/envs/blog/ENV:2"


def test_what_piku_has_and_sites_have_not_is_told_by_its_line(piku: Path) -> None:
    notes = [note.removeprefix(f"{piku}/") for note in import_piku.read(piku, DEFAULTS, None).notes]
    assert [note for note in notes if ": not carried over: " in note] == [
        "apps/blog/Procfile:2: not carried over: worker: python work.py",
        "apps/blog/Procfile:4: not carried over: release: ./migrate",
        "envs/blog/ENV:6: not carried over: NGINX_HTTPS_ONLY=true",
        "apps/hidden:1: not carried over: no NGINX_SERVER_NAME in its ENV",
        "apps/node/Procfile:1: not carried over: no wsgi in it, but web",
        "envs/shop/ENV:3: not carried over: UWSGI_GEVENT=10",
    ]
    assert any(
        "put this line into /var/www/wsgi.py of shop: from main import app as application" in one for one in notes
    )


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("envs/shop/ENV", "NGINX_SERVER_NAME=a_b\n", "envs/shop/ENV:1: domain 'a_b'"),
        ("envs/shop/ENV", "NGINX_SERVER_NAME=a.test\n9X=1\n", "envs/shop/ENV:2: environment name '9X'"),
        ("envs/shop/ENV", "NGINX_SERVER_NAME=a.test\nnothing\n", "envs/shop/ENV:2: 'nothing': NAME=VALUE is needed"),
        ("envs/shop/SCALING", "wsgi:many\n", "envs/shop/SCALING:1: processes 'many'"),
        ("apps/shop/Procfile", "wsgi: run me\n", "apps/shop/Procfile:1: wsgi 'run me': MODULE:CALLABLE is needed"),
        (
            "envs/shop/ENV",
            "NGINX_SERVER_NAME=a.test\nNGINX_STATIC_PATHS=/s:/srv/other\n",
            "envs/shop/ENV:2: static path '/srv/other'",
        ),
    ],
)
def test_a_bad_line_of_pikus_is_named(piku: Path, name: str, text: str, error: str) -> None:
    if name != "envs/shop/ENV":
        (piku / "envs/shop/ENV").write_text("NGINX_SERVER_NAME=shop.test\n")
    (piku / name).write_text(text)
    found = import_piku.read(piku, DEFAULTS, None)
    assert [one.removeprefix(f"{piku}/")[: len(error)] for one in found.errors] == [error]


@pytest.mark.parametrize("name", ["apps/shop/Procfile", "envs/shop/ENV", "envs/shop", "apps/shop/ENV"])
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_link_in_a_piku_leads_nowhere(piku: Path, tmp_path: Path, name: str, kind: str) -> None:
    """What somebody has pushed doesn't have root read another's file, or wait for ever."""
    secret = tmp_path / "secret"
    secret.write_text("wsgi: secret:application\nSECRET=1\nNGINX_SERVER_NAME=secret.test\n")
    path = piku / name
    path.rename(tmp_path / "moved") if path.exists() else None
    path.symlink_to(secret) if kind == "link" else os.mkfifo(path)
    found = import_piku.read(piku, DEFAULTS, None)
    assert [one.partition(":")[0].startswith(str(path)) for one in found.errors][:1] == [True], found.errors
    assert "secret" not in str(found).replace(str(secret), "").replace("SECRET_KEY", "")


# -- the commands


@dataclasses.dataclass
class Here:
    """A root with nothing running in it, and its commands in this process."""

    live: LiveStack
    capture: pytest.CaptureFixture[str]

    @property
    def layout(self) -> Layout:
        return self.live.layout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.capture.readouterr()
        status = main(["--root", str(self.live.root), *arguments])
        return subprocess.CompletedProcess(arguments, status, *self.capture.readouterr())

    def command(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done
        return str(done.stdout)


@pytest.fixture
def idle(capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    live = LiveStack(Path(tempfile.mkdtemp(prefix="uww-")))
    yield Here(live, capsys)
    live.close()


def test_a_registry_is_carried_to_another_machine(idle: Here, tmp_path: Path) -> None:
    """Exported, removed, imported: the sites are as they were, and their tenants' folders are there."""
    idle.command(
        "site",
        "add",
        "a.test",
        "--user",
        "Alice",
        "--env",
        'K=v, "w"',
        "--env",
        "L=ü",
        "--static",
        "",
        "--memory",
        "99",
    )
    idle.command("site", "add", "b.test", "--user", "Alice", "--check-static", "/var/www/public")
    idle.command("site", "add", "c.test", "--user", "Carol", "--virtualenv", "/home/Carol/v")
    before = json.loads(idle.command("site", "list", "--json"))
    for kind, name in (("csv", "sites.csv"), ("json", "sites.jsonl")):
        file = tmp_path / name
        file.write_text(idle.command("site", "export", "--format", kind))
        for domain in ("a.test", "b.test", "c.test"):
            idle.command("site", "remove", domain, "--purge")
        assert "would be added" in idle.command("site", "import", str(file), "--dry-run")
        assert json.loads(idle.command("site", "list", "--json")) == []
        assert not idle.layout.storage("Alice").exists()
        assert idle.command("site", "import", str(file)).count(": added for ") == 3
        assert json.loads(idle.command("site", "list", "--json")) == before
        assert idle.layout.www("Alice").stat().st_uid == idle.layout.home("Alice").stat().st_uid
        assert idle.layout.log_file("b.test", "error").exists()


def test_one_bad_line_refuses_all(idle: Here, tmp_path: Path) -> None:
    """Every bad line is told, what the vassal can't carry and who is there already too; nothing is added or made."""
    idle.command("site", "add", "there.test", "--user", "Alice")
    before = idle.command("site", "export")
    file = tmp_path / "sites.csv"
    file.write_text(
        "domain,username,env\ngood.test,Bob,\nthere.test,Bob,\nbad_name,Bob,\ncase.test,alice,\ngood.test,Bob,\n"
        "exec.test,Bob,X=@(exec://id)\n" + "x" * 200 + ".test,Bob,\n"
    )
    done = idle.run("site", "import", str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    told = [line.removeprefix(f"user-wsgi-wrapper: {file}:").partition(": ")[0] for line in done.stderr.splitlines()]
    assert sorted(told) == ["3", "4", "5", "6", "7", "8"], done.stderr
    assert idle.command("site", "export") == before
    assert not idle.layout.storage("Bob").exists()


def test_a_disk_that_refuses_a_folder_leaves_no_site_behind(idle: Here, tmp_path: Path) -> None:
    """What stands where a tenant's folder must be: no site is registered, and it can be done again."""
    file = tmp_path / "sites.csv"
    file.write_text("domain,username\na.test,Alice\nb.test,Bob\n")
    idle.layout.storage_dir.mkdir(parents=True)
    idle.layout.storage("Bob").write_text("in the way")
    done = idle.run("site", "import", str(file))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
    assert json.loads(idle.command("site", "list", "--json")) == []
    idle.layout.storage("Bob").unlink()
    idle.command("site", "import", str(file))
    assert len(json.loads(idle.command("site", "list", "--json"))) == 2


def test_apache_and_piku_are_read_by_the_command(idle: Here, tmp_path: Path, piku: Path) -> None:
    """Notes go to standard error, what is added to standard output."""
    (tmp_path / "site.conf").write_text(VHOST)
    done = idle.run("site", "import", str(tmp_path / "site.conf"))
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == ["www.example.org: added for Carol", "example.org: added for Carol"]
    assert f"{tmp_path}/site.conf:28: not carried over: RewriteRule" in done.stderr
    done = idle.run("site", "import", str(piku.parent), "--user", "Dave")
    assert done.returncode == 0, done
    assert "shop.test: added for Dave" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nonexistent.csv"], "No such file"),
        (["/etc/passwd"], "its name doesn't tell what it is"),
        (["{}/b.csv"], "b.csv:2: it is not UTF-8"),
        (["{}/c.csv", "--user", "x"], "--user is for piku and apache"),
        (["{}"], "No such file"),
        (["{}/c.csv", "--user", "a b"], "username 'a b'"),
    ],
)
def test_what_cannot_be_read_is_one_line(idle: Here, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "b.csv").write_bytes(b"domain,username\n\xff\n")
    (tmp_path / "c.csv").write_text("domain,username\n")
    done = idle.run("site", "import", *(one.format(tmp_path) for one in arguments))
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1, done
    assert said in done.stderr
