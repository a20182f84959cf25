"""Whoever gets a value into the registry, onto a command line or into the configuration gets that value, no more."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.registries import FULL, LAYOUT, sqlite_config
from tests.test_vassal import Answer, Tenant
from user_wsgi_wrapper import site as law
from user_wsgi_wrapper.emperor_hook import arguments, chroot, nginx, vassal
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook import config_values as values
from user_wsgi_wrapper.emperor_hook import settings as site_settings
from user_wsgi_wrapper.emperor_hook.registry import Registry, open_registry
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
# What means something to some reader on the way: SQLite, JSON, uWSGI's ini, nginx, a shell, a path, a terminal.
PIECES = [
    "/", "..", "/var/www", "/static", "a", "=", ":", " ", "\t", "\n", "\r\n", "\0", "\x1b[2J", "%", "%%", "%d", "%n",
    "%(", "$(", "@(", "@(exec://id)", "$(HOME)", "[uwsgi]", "exec-asap = id", ";", "#", "'", '"', "\\", "{", "}",
    "${x}", "$domain", "`id`", "\u2028", "\x85", "\udcff", "é", "𝄞", "A", "UWSGI_FILE", "SITE_", "LD_PRELOAD",
    "[[", "null", "-", "0", "x" * 300,
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=6).map("".join)
PATH = st.lists(st.sampled_from(PIECES), max_size=4).map(lambda parts: "/" + "/".join(parts))
VALUE = TEXT | PATH | st.none() | st.integers(-3, 2**40) | st.binary(max_size=20) | st.floats(allow_nan=False)
PAIRS = st.lists(st.lists(TEXT | PATH, min_size=1, max_size=3) | TEXT, max_size=3).map(json.dumps)
COLUMNS = {
    "username": st.sampled_from(["Alice"]) | TEXT, "wsgi_file": VALUE | PATH, "static": PAIRS | VALUE,
    "check_static": VALUE | PATH, "virtualenv": VALUE | PATH, "env": PAIRS | VALUE, "processes": VALUE,
    "threads": VALUE, "idle": VALUE, "memory": VALUE, "log_format": VALUE, "preflight": VALUE,
}  # fmt: skip


# -- a model of how uWSGI reads its ini format: core/ini.c and magic_sub of core/utils.c


def read_ini(text: str) -> list[tuple[str, str]]:
    """The options of the section [uwsgi], in order. Fails for whatever uWSGI would expand in any way."""
    assert not re.search(r"%[^%]", re.sub("%%", "", text)), "a magic variable"
    options, section = [], ""
    for line in text.replace("%%", "%").split("\n"):
        line = line.strip(" \t\r")
        if line.startswith("["):
            section = line[1:-1]
        elif line and line[0] not in ";#":
            key, _, value = line.partition("=")
            assert section == "uwsgi"
            options.append((key.rstrip(" \t\r"), value.strip(" \t\r")))
    for _, value in options:
        assert not re.search(r"[$@%]\(|\0", value), value
    return options


def values_of(options: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in options if key == name]


HOST = chroot.host_facts()
PLAIN = [key for key, _ in read_ini(vassal.render(Site("one.test", "Alice"), Tenant(), LAYOUT))]
SETTABLE = ("env", "static-map", "static-skip-ext", "check-static", "virtualenv", "hook-touch", "limit-as")


def check_vassal(site: Site) -> str | None:
    """The vassal holds the site's values and no other line; None if it is refused, with one line."""
    try:
        text = vassal.render(site, Tenant(site.username), LAYOUT)
    except BadValueError as error:
        assert len(str(error).splitlines()) == 1
        return None
    options = read_ini(text)
    expected = [key for key in PLAIN if key not in SETTABLE]
    assert [key for key, _ in options if key not in SETTABLE] == expected
    fixed = 7 if site.check_static is None else 8
    environment = values_of(options, "env")
    assert environment[len(environment) - len(site.env) :] == [f"{name}={value}" for name, value in site.env]
    fixed_names = [one.partition("=")[0] for one in environment[: len(environment) - len(site.env)]]
    assert len(fixed_names) == len(set(fixed_names)) == fixed + 5
    assert not {name for name, _ in site.env if name.startswith(("SITE_", "UWSGI_"))}
    assert f"SITE_WSGI_FILE={site.wsgi_file}" in environment
    assert f"SITE_STATIC={':'.join('='.join(pair) for pair in site.static)}" in environment
    folders = [f"{url.rstrip('/')}/={folder.rstrip('/')}/" for url, folder in site.static]
    assert values_of(options, "static-map") == folders
    for name, value in (("check-static", site.check_static), ("virtualenv", site.virtualenv)):
        assert values_of(options, name) == ([] if value is None else [value])
    assert values_of(options, "processes") == [str(2 * site.processes + 2)]
    assert values_of(options, "chroot") == [f"{LAYOUT.root}/mnt/chroots/{site.username}"]
    assert values_of(options, "uid") == ["70001"] and values_of(options, "gid") == ["70002"]
    assert values_of(options, "limit-as") == ([] if site.memory is None else [str(site.memory + 64)])
    check_plan(site)
    return text


def check_plan(site: Site) -> None:
    """Nothing of the tenant's root is planned outside the folders that are for it."""
    bases = {LAYOUT.storage_dir, LAYOUT.user_logs_dir, LAYOUT.chroots_dir}
    for step in chroot.plan(LAYOUT, Tenant(site.username), (site.domain,), HOST, 33).steps:
        assert step.place.base in bases, step
        assert all(part not in ("", ".", "..") for part in step.place.path.split("/")), step


# -- the registry


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, sqlite3.Connection]:
    """A registry with one site, and another script's connection to its file."""
    path = tmp_path_factory.mktemp("registry") / "sites.db"
    registry = open_registry(sqlite_config(path), LAYOUT)
    registry.add(FULL)
    other = sqlite3.connect(path, isolation_level=None)
    other.text_factory = bytes
    return registry, other


@QUICK
@given(st.dictionaries(st.sampled_from(sorted(COLUMNS)), st.none(), min_size=1, max_size=3), st.data())
def test_a_row_that_someone_else_wrote_is_a_lawful_site_or_one_line(shelf: Any, names: dict, data: Any) -> None:
    """No value of any type, in any column, gets a second option into a vassal, or a path out of its place."""
    registry, other = shelf
    values = {name: data.draw(COLUMNS[name], name) for name in names}
    try:
        other.execute("BEGIN")
        assignments = ", ".join(f"{name} = ?" for name in values)
        other.execute(f"UPDATE user_wsgi_sites SET {assignments}", list(values.values()))
        other.execute("COMMIT")
    except (sqlite3.Error, UnicodeEncodeError, OverflowError):
        other.execute("ROLLBACK")
        return
    try:
        site = registry.find(FULL.domain)
    except BadValueError as error:
        assert len(str(error).splitlines()) == 1
        assert str(error).isprintable()
        return
    finally:
        restore(other)
    assert site is not None
    assert law.check(site) == site
    check_vassal(site)


def restore(other: sqlite3.Connection) -> None:
    row = {
        "username": FULL.username, "wsgi_file": FULL.wsgi_file, "static": json.dumps(FULL.static),
        "env": json.dumps(FULL.env),
        "check_static": FULL.check_static, "virtualenv": FULL.virtualenv, "processes": 2, "threads": 3, "idle": 4,
        "memory": 512, "log_format": "json", "preflight": "compile",
    }  # fmt: skip
    other.execute(f"UPDATE user_wsgi_sites SET {', '.join(f'{name} = ?' for name in row)}", list(row.values()))


def test_real_uwsgi_reads_what_the_model_reads(tmp_path: Path) -> None:
    """Option for option, with each piece in every field that takes it, so that the model can be trusted."""
    texts = set()
    for piece in PIECES:
        site = FULL
        for change in (
            {"env": (("X", piece), ("Y", f"a{piece}b"))}, {"wsgi_file": f"/var/www/a{piece}b"},
            {"static": ((f"/a{piece}b", "/var/www/static"), ("/x", f"/a{piece}b"))}, {"check_static": f"/a{piece}b"},
            {"virtualenv": f"/a{piece}b"},
        ):  # fmt: skip
            try:
                law.check(changed := replace(site, **change))
            except BadValueError:
                continue
            if check_vassal(changed) is not None:
                site = changed
        texts.add(check_vassal(site))
    assert len(texts) > 25
    for text in texts:
        answer = Answer(tmp_path, text)
        wanted = [(key.encode(), value.encode()) for key, value in read_ini(text)]
        added = [option for option in answer.options if option not in wanted]  # by the test's own command line
        assert sorted(key for key, _ in added) == [b"exec-asap", b"ini", b"show-config"]
        assert [option for option in answer.options if option in wanted] == wanted
        assert not answer.planted


# -- the command line

ARGUMENTS = ("--static", "--check-static", "--wsgi-file", "--virtualenv", "--env", "--user", "DOMAIN")


@QUICK
@given(st.lists(st.tuples(st.sampled_from(ARGUMENTS), TEXT | PATH), max_size=5))
def test_a_command_line_is_a_lawful_site_or_one_line(given_values: list[tuple[str, str]]) -> None:
    """Also where a value looks like an option, a pair or a list."""
    words = {name: value for name, value in given_values if name in ("--user", "DOMAIN")}
    line = ["site", "add", f"--user={words.get('--user', 'Alice')}"]
    line += [f"{name}={value}" for name, value in given_values if name not in ("--user", "DOMAIN")]
    line += ["--", words.get("DOMAIN", "one.test")]
    try:
        site = site_settings.new_site(arguments.parser().parse_args(line), configuration.SiteDefaults())
    except BadValueError as error:
        assert len(str(error).splitlines()) == 1 and str(error).isprintable()
        return
    check_vassal(site)


# -- nginx


def directives(text: str, folder: Path) -> list[Any]:
    """nginx's configuration as crossplane reads it: names, arguments and blocks."""
    path = folder / "front.conf"
    path.write_text(text)
    read = crossplane.parse(str(path), single=True, comments=False, strict=False, check_ctx=False, check_args=False)
    assert read["status"] == "ok", read["errors"]
    return [_plain(one) for one in read["config"][0]["parsed"]]


def _plain(one: dict[str, Any]) -> Any:
    block = [_plain(inner) for inner in one["block"]] if "block" in one else None
    return one["directive"], tuple(one["args"]), block


def shape(tree: list[Any], without: tuple[str, ...]) -> list[Any]:
    """The directives' names and blocks, without those that may be there several times."""
    return [(name, block and shape(block, without)) for name, _, block in tree if name not in without]


LISTEN = st.lists(st.sampled_from(["127.0.0.1", ":80", "8080", "*:81", "[::]:82", " ssl", " http2",
                                   " proxy_protocol", ";", "{",
                                   "}", "\n", "#", "$host", "'", '"', " ", " default_server",
                                   "unix:/x"]),
                  min_size=1, max_size=3).map("".join)  # fmt: skip
NETWORK = st.sampled_from(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"]) | TEXT
HEADER = st.sampled_from(["X-Forwarded-For", "proxy_protocol", "CF-Connecting-IP", "X-Real-IP"]) | TEXT


@QUICK
@given(st.lists(LISTEN, max_size=2), st.lists(NETWORK, max_size=2), HEADER, TEXT | st.just("www-data"), VALUE, VALUE)
def test_the_front_holds_the_configurations_values_and_no_more(
    tmp_path_factory: Any, listen: list, networks: list, header: str, user: str, body: Any, timeout: Any
) -> None:
    """Each checked value is one argument; the directives and their blocks are those of the plain configuration."""
    folder = tmp_path_factory.mktemp("front")
    rules = {"listen": values.listen_addresses, "real_ip_from": values.networks, "real_ip_header": values.header,
             "user": values.account, "max_body_mib": values.number(1, 10**6),
             "read_timeout": values.number(1, 10**6)}  # fmt: skip
    given_values = dict(zip(rules, (listen, networks, header, user, body, timeout), strict=True))
    front = configuration.Front()
    for name, rule in rules.items():
        try:
            front = replace(front, **{name: rule(given_values[name])})
        except BadValueError as error:
            assert len(str(error).splitlines()) == 1
    tree = directives(nginx.render(LAYOUT, front, 70), folder)
    main = directives(nginx.render_main(LAYOUT, front), folder)
    plain = directives(nginx.render(LAYOUT, configuration.Front(), 70), folder)
    varying = ("listen", "set_real_ip_from", "real_ip_header", "real_ip_recursive", "uwsgi_param", "geo", "map")
    assert shape(tree, varying) == shape(plain, varying)
    servers = [block for name, _, block in tree if name == "server"]
    for number, block in enumerate(servers):
        wanted = [(*one.split(" "), *(["default_server"] if number else [])) for one in front.listen]
        assert [args for name, args, _ in block if name == "listen"] == wanted
    assert [args for name, args, _ in tree if name == "set_real_ip_from"] == [(one,) for one in front.real_ip_from]
    assert [args for name, args, _ in servers[0] if name == "client_max_body_size"] == [(f"{front.max_body_mib}m",)]
    assert [args for name, args, _ in main if name == "user"] == [(front.user,)]
    if front.real_ip_from:
        assert ("real_ip_header", (front.real_ip_header,), None) in tree


@QUICK
@given(TEXT | PATH, st.sampled_from(["listen", "real_ip_header", "user", "real_ip_from"]))
def test_what_passed_no_rule_at_all_is_refused_or_one_argument(tmp_path_factory: Any, text: str, field: str) -> None:
    """The template's own quoting stands behind the rules: a front that some other code made."""
    front = configuration.Front(real_ip_from=("10.0.0.0/8",))
    front = replace(front, **{field: (text,) if field in ("listen", "real_ip_from") else text})
    try:
        rendered = nginx.render(LAYOUT, front, 70), nginx.render_main(LAYOUT, front)
    except BadValueError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert not re.search(r"[;{}#'\"$\\\n\t\0]", text)
    for one, plain in zip(rendered, (nginx.render(LAYOUT, configuration.Front(), 70), None), strict=True):
        count = one.count("\n")
        assert plain is None or count >= plain.count("\n")


@QUICK
@given(PATH)
def test_a_root_is_refused_or_read_back_as_it_is(tmp_path_factory: Any, root: str) -> None:
    """The operator's own path stands in both files; each refuses what it would have to quote."""
    layout = Layout(Path(root))
    try:
        text = nginx.render(layout, configuration.Front(), 70)
    except (BadValueError, ValueError) as error:
        assert len(str(error).splitlines()) == 1
        return
    tree = directives(text, tmp_path_factory.mktemp("root"))
    (log,) = {
        args[0] for name, args, _ in next(block for name, _, block in tree if name == "server") if name == "root"
    }
    assert log == f"{layout.user_logs_dir}/$domain"
