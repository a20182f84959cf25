"""The form of a site's settings: static mappings, environment and virtual environment, a line each. Pure.

Each value goes through the rules that the command line's go through. A tenant may set less than the operator: his
variables are in the environment of uWSGI while that is root's and outside his chroot.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from user_wsgi_wrapper.site import BadValueError, Site, parse_env, parse_inside_path, parse_static, shorten

# What the C library and its loader obey, and ignore in programs that gain privileges (glibc, unsecvars.h), and TZ
# where it names a file: it would be opened by root.
_OBEYED = re.compile(
    r"LD_.*|MALLOC_.*|GLIBC_.*|GCONV_PATH|GETCONF_DIR|HOSTALIASES|LOCALDOMAIN|LOCPATH|NIS_PATH|NLSPATH"
    r"|RESOLV_HOST_CONF|RES_OPTIONS|TMPDIR|TZDIR"
)
_TIME_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}")


@dataclass(frozen=True)
class SettingsForm:
    """What stands in the fields. `made_of` tells of which settings: others may have changed them meanwhile."""

    static: str
    env: str
    virtualenv: str
    made_of: str


def show(site: Site) -> SettingsForm:
    """The form of a site's settings as they are."""
    return SettingsForm(
        "\n".join(f"{url}={folder}" for url, folder in site.static),
        "\n".join(f"{name}={value}" for name, value in site.env),
        site.virtualenv or "",
        fingerprint(site),
    )


def fingerprint(site: Site) -> str:
    """A word that changes with the site's settings."""
    return hashlib.sha256(repr(site).encode()).hexdigest()[:32]


def read(fields: Mapping[str, str]) -> SettingsForm:
    """The form that was sent."""
    return SettingsForm(*(fields.get(name, "") for name in ("static", "env", "virtualenv", "made_of")))


def apply(site: Site, form: SettingsForm, *, is_operator: bool) -> Site:
    """The site with the form's settings. Raises BadValueError for the first value that breaks a rule."""
    virtualenv = form.virtualenv.strip()
    variables = dict(parse_env(line) for line in _lines(form.env))
    if not is_operator:
        unchanged = dict(site.env)
        for name, value in variables.items():
            if unchanged.get(name) != value:
                _refuse_what_root_obeys(name, value)
    return replace(
        site,
        static=tuple(parse_static(line) for line in _lines(form.static)),
        env=tuple(variables.items()),
        virtualenv=parse_inside_path("virtualenv", virtualenv) if virtualenv else None,
    )


def _lines(text: str) -> list[str]:
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def _refuse_what_root_obeys(name: str, value: str) -> None:
    if _OBEYED.fullmatch(name):
        raise BadValueError(f"environment name {name}: only the operator can set this one")
    if name == "TZ" and not _TIME_ZONE.fullmatch(value):
        raise BadValueError(f"the value of environment TZ: {shorten(value)} is not a time zone such as Europe/Vienna")
