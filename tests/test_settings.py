"""A site from a command line: what is named changes, nothing else, and bad values are told in one line."""

import dataclasses

import pytest

from user_wsgi_wrapper.emperor_hook import arguments, settings
from user_wsgi_wrapper.emperor_hook.config import SiteDefaults
from user_wsgi_wrapper.site import BadValueError, Site, check

FULL = Site(
    "a.test", "Alice", "/var/www/app.py", (("/s", "/d"), ("/t", "/e")), "/var/www/public", "/home/Alice/v",
    (("A", "1"), ("B", "2")), 2, 3, 60, 256, "json", "off",
)  # fmt: skip


def new(*argv, defaults=None):
    parsed = arguments.parser().parse_args(["site", "add", *argv])
    return settings.new_site(parsed, defaults or SiteDefaults())


def changed(*argv, site=FULL):
    return settings.with_settings(site, arguments.parser().parse_args(["site", "set", "a.test", *argv]))


def test_a_new_site_has_the_defaults():
    """Its domain in canonical form, its tenant's name as it was given."""
    assert new("WWW.Example.ORG.", "--user", "MixedCase") == Site("www.example.org", "MixedCase")


def test_the_operators_defaults_stand_in_for_what_is_not_said():
    """Of those things that the configuration can say."""
    defaults = SiteDefaults(idle=60, processes=2, threads=4, memory=128)
    site = new("a.test", "--user", "Alice", "--threads", "8", defaults=defaults)
    assert (site.idle, site.processes, site.threads, site.memory) == (60, 2, 8, 128)


def test_every_setting_reaches_the_site():
    """And keeps the law."""
    site = new(
        "a.test", "--user", "Alice", "--wsgi-file", "/var/www/app.py", "--static", "/s=/d", "--static", "/t=/e",
        "--check-static", "/var/www/public", "--virtualenv", "/home/Alice/v", "--env", "A=1", "--env", "B=2",
        "--processes", "2", "--threads", "3", "--idle", "60", "--memory", "256", "--log-format", "json",
        "--preflight", "off",
    )  # fmt: skip
    assert site == FULL
    assert check(site) == FULL


def test_nothing_said_changes_nothing():
    assert changed() == FULL


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["--wsgi-file", "/x.py"], "wsgi_file", "/x.py"),
        (["--static", "/n=/o"], "static", (("/n", "/o"),)),
        (["--static", ""], "static", ()),
        (["--static", "", "--static", "/n=/o"], "static", (("/n", "/o"),)),
        (["--check-static", "/x/"], "check_static", "/x"),
        (["--check-static", ""], "check_static", None),
        (["--virtualenv", "/x"], "virtualenv", "/x"),
        (["--virtualenv", ""], "virtualenv", None),
        (["--env", "A=3"], "env", (("A", "3"), ("B", "2"))),
        (["--env", "C="], "env", (("A", "1"), ("B", "2"), ("C", ""))),
        (["--env", "C=x=y"], "env", (("A", "1"), ("B", "2"), ("C", "x=y"))),
        (["--env", "C=1", "--env", "C=2"], "env", (("A", "1"), ("B", "2"), ("C", "2"))),
        (["--unset-env", "A"], "env", (("B", "2"),)),
        (["--unset-env", "A", "--unset-env", "B"], "env", ()),
        (["--unset-env", "NONE"], "env", (("A", "1"), ("B", "2"))),
        (["--processes", "9"], "processes", 9),
        (["--threads", "9"], "threads", 9),
        (["--idle", "9"], "idle", 9),
        (["--memory", "99"], "memory", 99),
        (["--memory", "0"], "memory", None),
        (["--tasks-max", "9"], "tasks_max", 9),
        (["--memory-max", "99"], "memory_max", 99),
        (["--cpu-quota", "50"], "cpu_quota", 50),
        (["--open-files", "512"], "open_files", 512),
        (["--log-rate", "8"], "log_rate", 8),
        (["--log-rate", "0"], "log_rate", None),
        (["--log-format", "text"], "log_format", "text"),
        (["--preflight", "compile"], "preflight", "compile"),
    ],
)
def test_only_what_is_named_changes(argv, field, value):
    """One field, and the rest of the site is as it was."""
    assert changed(*argv) == dataclasses.replace(FULL, **{field: value})


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--wsgi-file", ""], "''"),
        (["--wsgi-file", "relative"], "'relative'"),
        (["--wsgi-file", "/a/../b"], "'/a/../b'"),
        (["--static", "/s"], "'/s'"),
        (["--static", "s=/d"], "'s'"),
        (["--static", "/s=d"], "'d'"),
        (["--static", "/s=/d=e"], "'/s=/d=e'"),
        (["--static", "/s=/d:e"], "'/s=/d:e'"),
        (["--check-static", "x\ny"], "'x\\ny'"),
        (["--virtualenv", "//v"], "'//v'"),
        (["--env", "none"], "'none'"),
        (["--env", "=v"], "''"),
        (["--env", "A B=v"], "'A B'"),
        (["--env", "SITE_X=v"], "'SITE_X'"),
        (["--env", "UWSGI_FILE=v"], "'UWSGI_FILE'"),
        (["--env", "A=x\ny"], "A"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(argv, named):
    """In `site set` and in `site add` alike."""
    for act in (lambda: changed(*argv), lambda: new("a.test", "--user", "Alice", *argv)):
        with pytest.raises(BadValueError) as caught:
            act()
        assert len(str(caught.value).splitlines()) == 1
        assert named in str(caught.value)


@pytest.mark.parametrize(("domain", "user"), [("a/b", "Alice"), ("..", "Alice"), ("a.test", "a/b"), ("a.test", "")])
def test_a_bad_name_is_one_line_that_names_it(domain, user):
    with pytest.raises(BadValueError) as caught:
        new(domain, "--user", user)
    assert len(str(caught.value).splitlines()) == 1
    assert repr(domain) in str(caught.value) or repr(user) in str(caught.value)
