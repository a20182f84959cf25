"""What is missing is said, with what to do about it, and nothing is changed by looking."""

import dataclasses
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from user_wsgi_wrapper.emperor_hook import checkup
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.layout import Layout


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


@pytest.fixture
def config(layout):
    return configuration.load(layout, None)


def bad(layout, config):
    """What doesn't hold: what was looked at, and the advice."""
    return {one.what: one.advice for one in checkup.examine(layout, config) if not one.good}


def test_this_machine_is_fit(layout, config):
    """Where the tests run, nothing is missing; looking made nothing."""
    assert bad(layout, config) == {}
    assert list(layout.root.iterdir()) == []


def test_every_finding_says_what_it_is(layout, config):
    """In one line each, no two the same."""
    findings = list(checkup.examine(layout, config))
    assert len({one.what for one in findings}) == len(findings) >= 10
    assert all(len(one.what.splitlines()) == 1 and len(one.advice.splitlines()) <= 1 for one in findings)


def test_an_account_that_is_not_there_is_found(layout, config):
    """With the name that the configuration gives."""
    front = dataclasses.replace(config.front, user="nobody-of-that-name")
    found = bad(layout, dataclasses.replace(config, front=front))
    assert list(found) == ["account nobody-of-that-name of nginx's workers"]
    assert "no such account" in next(iter(found.values()))


def test_missing_control_groups_are_told_and_only_a_fault_where_they_are_required(layout, config, monkeypatch):
    """And nobody looks for them where they are not wanted."""
    monkeypatch.setattr(checkup.cgroups, "mounted", tuple)
    told = "control groups for cpu, memory, pids are not to be had: sites are served without those limits"
    assert told in {one.what for one in checkup.examine(layout, config)}
    for policy, expected in (("auto", []), ("required", [told]), ("off", [])):
        limits = dataclasses.replace(config.limits, cgroups=policy)
        assert list(bad(layout, dataclasses.replace(config, limits=limits))) == expected


@pytest.mark.parametrize("nodev", [True, False])
def test_a_file_system_without_devices_is_found(config, nodev):
    """Where the root is to lie, also if it isn't there yet."""
    folder = Path(tempfile.mkdtemp(prefix="checkup-"))
    options = "mode=755,nodev" if nodev else "mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        found = bad(Layout(folder / "not" / "yet"), config)
        assert bool(found) is nodev
        assert all(str(folder) in advice and "nodev" in advice for advice in found.values())
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def test_one_who_is_not_root_is_told(layout, config, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert bad(layout, config) == {"running as root": "run it as root: chroots and mounts need it"}


def test_missing_programs_are_named_with_their_packages(layout, config, monkeypatch):
    """Each by the Debian package that has it."""
    monkeypatch.setattr(checkup.shutil, "which", lambda name: None)
    monkeypatch.setattr(checkup, "_PLUGINS", layout.root)
    assert bad(layout, config) == {
        "/usr/sbin/nginx": "apt-get install nginx-light",
        "/usr/bin/uwsgi": "apt-get install uwsgi-core",
        "uWSGI plugin python3": "apt-get install uwsgi-plugin-python3",
        "uWSGI plugin ping": "apt-get install uwsgi-core",
    }


@pytest.mark.parametrize(
    ("release", "good"),
    [
        ("5.12.0", True),
        ("6.1.0-18-amd64", True),
        ("5.12-rc1", True),
        ("5.11.99", False),
        ("4.19", False),
        ("5.4-x", False),
        ("odd", False),
    ],
)
def test_a_kernel_that_is_too_old_is_found(layout, config, monkeypatch, release, good):
    """By the first two numbers of its release, whatever follows."""
    monkeypatch.setattr(checkup.platform, "release", lambda: release)
    assert bad(layout, config) == ({} if good else {f"Linux 5.12 or later ({release})": "upgrade the kernel"})


@pytest.mark.parametrize("failure", [OSError("no such program"), subprocess.TimeoutExpired("python3", 30)])
def test_a_python_that_cannot_be_asked_is_a_finding(layout, config, monkeypatch, failure):
    """And no traceback."""

    def fail(*arguments, **keywords):
        raise failure

    monkeypatch.setattr(checkup.subprocess, "run", fail)
    (advice,) = bad(layout, config).values()
    assert advice == str(failure)
