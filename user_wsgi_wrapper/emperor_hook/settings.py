"""A site from what was said on the command line. Pure."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from user_wsgi_wrapper.emperor_hook.config import SiteDefaults
from user_wsgi_wrapper.site import (
    LIMITS,
    Site,
    parse_domain,
    parse_env,
    parse_inside_path,
    parse_static,
    parse_username,
)


def new_site(arguments: argparse.Namespace, defaults: SiteDefaults) -> Site:
    """The site that `site add` names; raises BadValueError."""
    plain = Site(
        parse_domain(arguments.domain),
        parse_username(arguments.user),
        processes=defaults.processes,
        threads=defaults.threads,
        idle=defaults.idle,
        memory=defaults.memory,
    )
    return with_settings(plain, arguments)


def with_settings(site: Site, arguments: argparse.Namespace) -> Site:
    """`site` with what the arguments of `site add` or `site set` say; raises BadValueError."""
    changes: dict[str, Any] = {
        name: value
        for name in ("processes", "threads", "idle", "log_format", "preflight")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.wsgi_file is not None:
        changes["wsgi_file"] = parse_inside_path("wsgi file", arguments.wsgi_file)
    for name in ("memory", *LIMITS):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name) or None
    if arguments.static is not None:
        changes["static"] = tuple(parse_static(text) for text in arguments.static if text)
    for name in ("check_static", "virtualenv"):
        text = getattr(arguments, name)
        if text is not None:
            changes[name] = parse_inside_path(name.replace("_", "-"), text) if text else None
    changes["env"] = _environment(site, arguments)
    return replace(site, **changes)


def _environment(site: Site, arguments: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    variables = dict(site.env)
    variables.update(parse_env(text) for text in arguments.env or ())
    for name in getattr(arguments, "unset_env", ()):
        variables.pop(name, None)
    return tuple(variables.items())
