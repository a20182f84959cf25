"""A vassal gives uWSGI exactly the values it was rendered from, and nothing that a tenant wrote is ever run."""

import re
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from user_wsgi_wrapper.emperor_hook import vassal
from user_wsgi_wrapper.emperor_hook.limits import Limits
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site

LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,000 \[-\] - ([a-z0-9-]+) = (.*)")
MAPPING = re.compile(rb"\[uwsgi-static\] added mapping for (.*) => (.*)")
# What uWSGI's ini format can't carry, said a second time and in other words than `carry` says it.
REFUSED = re.compile(r"[\x00-\x1f\x7f]|\A | \Z|[$@%]\(")
SITE = Site("one.test", "Alice")


@dataclass(frozen=True)
class Tenant:
    username: str = "Alice"
    uid: int = 70001
    gid: int = 70002


class Answer:
    """What real uWSGI made of a vassal, as root, up to the chroot(2) that fails because there is no such folder."""

    def __init__(self, folder: Path, text: str) -> None:
        ini, environment = folder / "vassal.ini", folder / "environment"
        ini.write_bytes(text.encode())
        environment.unlink(missing_ok=True)
        done = subprocess.run(
            ["uwsgi", "--ini", ini.name, "--show-config", "--exec-asap", f"/usr/bin/env -0 >{environment}"],
            cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": "/", "PLANTED": str(folder / "planted")},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
        )  # fmt: skip
        assert b"chroot(): No such file or directory" in done.stdout, done.stdout[-2000:]
        lines = done.stdout.split(b"\n")
        self.options = [match.groups() for line in lines if (match := LINE.fullmatch(line))]
        self.mappings = [match.groups() for line in lines if (match := MAPPING.fullmatch(line))]
        self.planted = (folder / "planted").exists()
        self.environment = dict(entry.split(b"=", 1) for entry in environment.read_bytes().split(b"\0") if entry)

    def values(self, name: str) -> list[bytes]:
        """All values of one option, in order."""
        return [value for key, value in self.options if key == name.encode()]


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """A root without any chroot in it."""
    return Layout(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Run real uWSGI over a vassal's text."""
    folder = tmp_path_factory.mktemp("uwsgi")
    return lambda text: Answer(folder, text)


# -- what goes in comes out

nasty = st.text(
    st.one_of(st.sampled_from("%$@(){}[];#=\"'\\ "), st.sampled_from("%dnpsuU0vex"), st.characters(codec="utf-8")),
    max_size=40,
)
carried = nasty.filter(lambda text: not REFUSED.search(text))


def paths(characters):
    """Absolute, normalized paths inside the chroot whose parts are made of `characters`."""
    part = characters.map(lambda text: text.replace("/", "")).filter(lambda text: text not in ("", ".", ".."))
    return st.lists(part, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)).filter(
        lambda path: not REFUSED.search(path) and len(path.encode()) <= 1024
    )  # fmt: skip


mapped = paths(nasty.map(lambda text: text.replace("=", "").replace(":", "")))
usernames = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}", fullmatch=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    env=st.lists(carried, max_size=20),
    static=st.lists(st.tuples(mapped | st.just("/"), mapped | st.just("/")), max_size=5),
    check_static=paths(nasty) | st.none(),
    virtualenv=paths(nasty) | st.none(),
    wsgi_file=paths(nasty),
    username=usernames,
)
def test_uwsgi_reads_every_value_byte_for_byte(
    ask, layout, env, static, check_static, virtualenv, wsgi_file, username
):
    """Its configuration, its static mappings and its environment hold what the site holds."""
    variables = tuple((f"T_{number}", value) for number, value in enumerate(env))
    site = Site(
        "one.test",
        username,
        wsgi_file,
        tuple(static),
        check_static=check_static,
        virtualenv=virtualenv,
        env=variables,
    )
    joined = ":".join(f"{url}={folder}" for url, folder in static)
    answer = ask(vassal.render(site, Tenant(username), layout))

    for name, value in (*variables, ("USER", username), ("HOME", f"/home/{username}"), ("SITE_WSGI_FILE", wsgi_file)):
        assert answer.environment[name.encode()] == value.encode(), name
    assert answer.environment[b"SITE_STATIC"] == joined.encode()
    assert answer.environment.get(b"SITE_CHECK_STATIC") == (None if check_static is None else check_static.encode())
    folders = [(f"{url.rstrip('/')}/".encode(), f"{folder.rstrip('/')}/".encode()) for url, folder in static]
    assert answer.mappings == folders
    for name, value in (("check-static", check_static), ("virtualenv", virtualenv)):
        assert answer.values(name) == ([] if value is None else [value.encode()]), name
    assert answer.values("hook-touch") == touches(wsgi_file)
    assert answer.values("chroot") == [str(layout.chroot(username)).encode()]
    assert answer.values("uid") == [b"70001"]


def touches(wsgi_file):
    """How the vassal has a touch of the file seen; a space would end the path for uWSGI, so the workers look then."""
    return [] if " " in wsgi_file else [f"{wsgi_file} writefifo:/dev/shm/{SITE.domain}.commands +".encode()]


def test_no_value_changes_which_options_there_are(ask, layout):
    """The worst that can be carried adds no line to the plain vassal's, and takes none away."""
    worst = "] [uwsgi] ; exec-asap = id # %%% %d%n% \\ \u2028exec-asap = id\x85 =%"
    names = [key for key, _ in ask(vassal.render(replace(SITE, env=(("T_0", "x"),)), Tenant(), layout)).options]
    answer = ask(vassal.render(replace(SITE, env=(("T_0", worst),)), Tenant(), layout))
    assert [key for key, _ in answer.options] == names
    assert answer.environment[b"T_0"] == worst.encode()


@pytest.mark.parametrize("value", ["x" * 40_000, "%" * 20_000, "é" * 60_000, "$" * 10_000 + "%"])
def test_long_values_arrive_whole(ask, layout, value):
    """uWSGI has no limit that the kernel hasn't: 128 KiB for one variable, execve(2)."""
    began = time.monotonic()
    answer = ask(vassal.render(replace(SITE, env=(("T_LONG", value),)), Tenant(), layout))
    assert answer.environment[b"T_LONG"] == value.encode()
    assert time.monotonic() - began < 10


@given(text=st.one_of(nasty, st.text()))
def test_what_is_refused_is_refused_in_one_line_that_names_it(text):
    """A value is refused if, and only if, the format can't carry it or isn't text at all."""
    encodable = text.encode(errors="replace").decode() == text
    if REFUSED.search(text) or not encodable:
        with pytest.raises(BadValueError) as caught:
            vassal.carry(text)
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).startswith(f"value {text[:60]!r}")
    else:
        assert vassal.carry(text).replace("%%", "%") == text


# -- attacks

ATTACKS = [
    "@(exec://touch $PLANTED)", "$(HOME)", "%(uid)", "a@(exec://touch $PLANTED)b", "@(/etc/passwd)", "%(uid gid +)",
    "%@(exec://touch $PLANTED)", "@@(exec://touch $PLANTED)", "$$(HOME)", "%%(uid)", "%$(HOME)",
    "x\nexec-asap = touch $PLANTED", "x\rexec-asap = touch $PLANTED", "x\r\nexec-asap = touch $PLANTED", "x\0y",
    "x\x0bexec-asap = touch $PLANTED", "x\tx", "\udcff",
]  # fmt: skip
FIELDS = {
    "env": lambda value: {"env": (("X", value),)},
    "static URL": lambda value: {"static": ((f"/a{value}b", "/var/www/static"),)},
    "static folder": lambda value: {"static": (("/static", f"/{value}"),)},
    "check-static": lambda value: {"check_static": f"/{value}"},
    "virtualenv": lambda value: {"virtualenv": f"/{value}"},
    "wsgi file": lambda value: {"wsgi_file": f"/{value}"},
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("field", FIELDS)
def test_an_attack_in_any_field_is_refused(layout, field, attack):
    """Whatever the law of names may let through, the vassal refuses on its own."""
    with pytest.raises(BadValueError) as caught:
        vassal.render(replace(SITE, **FIELDS[field](attack)), Tenant(), layout)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [" x", "x ", " "])
def test_spaces_that_uwsgi_would_strip_are_refused(layout, value):
    """A variable, and a path whose last part ends in one, would come out shorter than they went in."""
    fields = ["env"] if value == " x" else ["env", "check-static", "virtualenv", "wsgi file"]
    for field in fields:
        with pytest.raises(BadValueError, match="space"):
            vassal.render(replace(SITE, **FIELDS[field](value)), Tenant(), layout)


NEAR_MISSES = [
    "@ (exec://touch $PLANTED)", "@[exec://touch $PLANTED]", "@", "@%", "%@", "exec://touch $PLANTED", "%", "%%",
    "%d", "100%", "(exec://touch $PLANTED)", ")@", "@\u200b(exec://touch $PLANTED)", "@\uff08exec://touch $PLANTED)",
    "\u2028exec-asap = touch $PLANTED", "\x85exec-asap = touch $PLANTED", "$HOME", "${HOME}", "`touch $PLANTED`",
    "%%@", "@%%", "$%", "%n", "\\", "x\\", "x\\\\",
]  # fmt: skip


# Each alone and each before each, where that can be carried.
HARMLESS = [
    value for first in NEAR_MISSES for second in ("", *NEAR_MISSES) if not REFUSED.search(value := first + second)
]


def test_near_misses_are_text_to_uwsgi_in_a_variable(ask, layout):
    """They arrive byte for byte, and nothing of them was run."""
    variables = tuple((f"T_{number}", value) for number, value in enumerate(HARMLESS))
    answer = ask(vassal.render(replace(SITE, env=variables), Tenant(), layout))
    assert {name: answer.environment[name.encode()].decode() for name, _ in variables} == dict(variables)
    assert not answer.planted


def test_near_misses_are_text_to_uwsgi_in_a_static_mapping(ask, layout):
    """As URL and as folder."""
    static = tuple((f"/u{value}", f"/f{value}") for value in HARMLESS if "=" not in value)
    answer = ask(vassal.render(replace(SITE, static=static), Tenant(), layout))
    assert answer.mappings == [(f"{url}/".encode(), f"{folder}/".encode()) for url, folder in static]
    assert not answer.planted


@pytest.mark.parametrize(
    ("field", "option"), [("check-static",) * 2, ("virtualenv",) * 2, ("wsgi file", "hook-touch")]
)
def test_near_misses_are_text_to_uwsgi_in_a_path(ask, layout, field, option):
    """The options that a vassal has once."""
    for value in (*NEAR_MISSES, *HARMLESS[:: len(HARMLESS) // 40]):
        answer = ask(vassal.render(replace(SITE, **FIELDS[field](value)), Tenant(), layout))
        wanted = touches(f"/{value}") if option == "hook-touch" else [f"/{value}".encode()]
        assert answer.values(option) == wanted
        assert not answer.planted


def test_an_attack_does_run_where_nobody_refuses_it(tmp_path):
    """Without this the tests above would prove nothing: uWSGI executes what it expands, as root."""
    stamp = vassal.carry(vassal.LOG_DATE)
    text = f"[uwsgi]\nlog-date = {stamp}\nuid = 70001\nchroot = {tmp_path}/none\nenv = X=@(exec://touch $PLANTED)\n"
    assert Answer(tmp_path, text).planted


def test_a_root_that_cannot_be_carried_is_refused(tmp_path):
    """The operator's own paths pass through the same quoting."""
    with pytest.raises(BadValueError, match="uWSGI would expand it"):
        vassal.render(SITE, Tenant(), Layout(tmp_path / "@(exec://id)"))


# -- the file itself


def test_a_vassal_is_written_only_if_it_differs(tmp_path):
    """The Emperor reloads a vassal whose time stamp changes; nobody but root reads a tenant's settings."""
    layout = Layout(tmp_path)
    text = vassal.render(SITE, Tenant(), layout)
    assert vassal.write(layout, SITE.domain, text) is True
    before = layout.vassal(SITE.domain).stat()
    assert vassal.write(layout, SITE.domain, text) is False
    assert layout.vassal(SITE.domain).stat() == before
    assert before.st_mode & 0o777 == 0o600
    assert vassal.write(layout, SITE.domain, text + "; changed\n") is True


def test_warm_domains_are_those_with_a_vassal(tmp_path):
    """In order; half-written files and other people's are none."""
    layout = Layout(tmp_path)
    assert vassal.warm_domains(layout) == []
    for domain in ("b.test", "a.test"):
        vassal.write(layout, domain, "x")
    (layout.vassals_dir / "c.test.ini.4711.tmp").write_text("x")
    (layout.vassals_dir / "README").write_text("x")
    assert vassal.warm_domains(layout) == ["a.test", "b.test"]
    vassal.remove(layout, "a.test")
    vassal.remove(layout, "a.test")
    assert (vassal.exists(layout, "a.test"), vassal.exists(layout, "b.test")) == (False, True)


def test_a_vassal_enters_its_groups_before_the_chroot_or_does_not_start(layout, ask, tmp_path):
    """By writing 0, which the kernel takes for the writer; a group that is gone ends it, it doesn't run unbounded."""
    entrances = {name: tmp_path / name / "tasks" for name in ("memory", "pids")}
    for entrance in entrances.values():
        entrance.parent.mkdir()
    text = vassal.render(SITE, Tenant(), layout, Limits(tasks=50, open_files=300, log_rate=7), entrances)
    answer = ask(text)
    assert [entrance.read_text() for entrance in entrances.values()] == ["0", "0"]
    assert answer.values("max-fd") == [b"300"]
    assert answer.environment[b"SITE_LOG_RATE"] == b"7"
    assert answer.values("limit-nproc") == [], "the group counts them"
    entrances["pids"].unlink()
    (tmp_path / "pids").rmdir()
    with pytest.raises(AssertionError, match="FATAL hook failed, destroying instance"):
        ask(text)


def test_without_a_group_that_counts_processes_the_tenants_are_counted(layout, ask):
    """Where there is a limit at all."""
    assert ask(vassal.render(SITE, Tenant(), layout, Limits(tasks=50), {})).values("limit-nproc") == [b"50"]
    bare = ask(vassal.render(SITE, Tenant(), layout))
    assert bare.values("limit-nproc") == bare.values("max-fd") == bare.values("hook-pre-jail") == []


def test_the_seed_is_still_recognizable(layout):
    """An operator who knows a plain uWSGI vassal finds its lines in this one."""
    lines = vassal.render(replace(SITE, check_static="/var/www/static"), Tenant(), layout).splitlines()
    for line in (
        "[uwsgi]", "uid = 70001", "gid = 70002", f"chroot = {layout.root}/mnt/chroots/Alice", "chdir = /var/www",
        "file = /bin/user_wsgi_wrapper.py", "check-static = /var/www/static",
    ):  # fmt: skip
        assert line in lines
