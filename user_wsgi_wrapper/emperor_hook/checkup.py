"""What this machine lacks to run the stack."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import cgroups, nginx, service_account, templates
from user_wsgi_wrapper.emperor_hook.config import Config
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError

_PLUGINS = Path("/usr/lib/uwsgi/plugins")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` says what to do if it isn't `good`."""

    what: str
    good: bool
    advice: str = ""


def examine(layout: Layout, config: Config) -> Iterator[Finding]:
    """Look at everything that the stack needs; changes nothing."""
    yield Finding("running as root", os.geteuid() == 0, "run it as root: chroots and mounts need it")
    yield Finding(f"Linux 5.12 or later ({platform.release()})", _kernel() >= (5, 12), "upgrade the kernel")
    for program, package in (("/usr/sbin/nginx", "nginx-light"), ("/usr/bin/uwsgi", "uwsgi-core")):
        yield Finding(program, shutil.which(program) is not None, f"apt-get install {package}")
    for plugin, package in (("python3", "uwsgi-plugin-python3"), ("ping", "uwsgi-core")):
        yield Finding(
            f"uWSGI plugin {plugin}", (_PLUGINS / f"{plugin}_plugin.so").exists(), f"apt-get install {package}"
        )
    yield Finding("/usr/bin/python3", Path("/usr/bin/python3").exists(), "apt-get install python3")
    yield _same_python()
    yield _nginx_user(config)
    yield _initialize_user(config)
    yield _passable_root()
    yield _device_nodes(layout)
    yield _control_groups(config)
    yield Finding(
        "the templates", (templates.conf_folder() / "vassal.ini.template").exists(), "install the package again"
    )


def _kernel() -> tuple[int, int]:
    found = re.match(r"([0-9]+)\.([0-9]+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _same_python() -> Finding:
    """initialize runs in uWSGI's Python with this interpreter's packages."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    what = f"this Python ({here}) and uWSGI's are of one version"
    try:
        answer = subprocess.run(
            ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what, False, str(error))
    return Finding(what, answer.stdout.strip() == here, "install user-wsgi-wrapper with /usr/bin/python3")


def _nginx_user(config: Config) -> Finding:
    what = f"account {config.front.user} of nginx's workers"
    try:
        nginx.account(config.front.user)
    except BadValueError as error:
        return Finding(what, False, str(error))
    return Finding(what, True)


def _initialize_user(config: Config) -> Finding:
    name = config.warm.user
    what = f"account {name} of initialize's HTTP side"
    try:
        service_account.find(name)
    except BadValueError as error:
        if service_account.is_there(name):
            return Finding(what, False, str(error))
        # `up` and `configure` make it
        advice = "as root: " + " ".join(map(str, service_account.command(name)))
        return Finding(what, service_account.can_be_made(), advice)
    return Finding(what, True)


def _passable_root() -> Finding:
    """Without it no program but root's finds anything on this machine."""
    return Finding("/ can be entered by everyone", bool(Path("/").stat().st_mode & stat.S_IXOTH), "chmod 755 /")


def _control_groups(config: Config) -> Finding:
    """Sites are served without those that can't be made, unless the configuration says otherwise."""
    there = {name for one in cgroups.mounted() if os.access(one.folder, os.W_OK) for name in one.controllers}
    missing = ", ".join(name for name in cgroups.CONTROLLERS if name not in there)
    if config.limits.cgroups == "off" or not missing:
        return Finding("control groups for the limits of sites", True)
    what = f"control groups for {missing} are not to be had: sites are served without those limits"
    return Finding(what, config.limits.cgroups == "auto", "mount a cgroup file system that can be written to")


def _device_nodes(layout: Layout) -> Finding:
    """A chroot's /dev/null is made in the chroot itself."""
    folder = layout.chroots_dir
    while not folder.exists():
        folder = folder.parent
    good = not os.statvfs(folder).f_flag & os.ST_NODEV
    return Finding(
        f"device nodes work under {layout.chroots_dir}", good, f"remount the file system of {folder} without nodev"
    )
