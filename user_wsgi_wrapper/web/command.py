"""The commands `web` and `token`: give the exit status."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import configuration_files
from user_wsgi_wrapper.emperor_hook.atomic import write_if_changed
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError, RegistryDownError
from user_wsgi_wrapper.emperor_hook.spinup import Machine, open_machine
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain, parse_username
from user_wsgi_wrapper.web import tokens

DONE, FAILED, USAGE = 0, 1, 2
_UWSGI = "/usr/bin/uwsgi"


def run(arguments: argparse.Namespace) -> int:
    """Run the command that the grammar (see emperor_hook.arguments) has parsed; errors are one line."""
    try:
        return _COMMANDS[arguments.command](arguments)
    except BadValueError as error:
        return _complain(error, USAGE)
    except (tokens.TokenError, NoSuchSiteError, RegistryDownError) as error:
        return _complain(error, FAILED)
    except PermissionError as error:
        return _complain(f"{error.filename}: permission denied; run this as root", FAILED)
    except OSError as error:
        return _complain(error, FAILED)


def _complain(error: object, status: int) -> int:
    print(f"user-wsgi-wrapper: {error}", file=sys.stderr)
    return status


def _machine(arguments: argparse.Namespace) -> Machine:
    return open_machine(Layout(arguments.root.resolve()), arguments.config)


def _web(arguments: argparse.Namespace) -> int:
    """Becomes uWSGI, which serves the pages until SIGTERM or Ctrl-C."""
    machine = _machine(arguments)
    if arguments.port is None and machine.config.web.host is None:
        raise BadValueError("web.host: the pages need a host name of their own in the configuration, or --port")
    run_dir = machine.layout.run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / ("web.ini" if arguments.port is None else f"web-{arguments.port}.ini")
    write_if_changed(path, configuration_files.web(machine, arguments.port))
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        configuration_files.ROOT_VARIABLE: str(machine.layout.root),
    }
    if arguments.config is not None:
        environment[configuration_files.CONFIG_VARIABLE] = str(Path(arguments.config).resolve())
    if arguments.port is not None:
        print(f"http://localhost:{arguments.port}/", flush=True)
    os.chdir("/")
    os.execve(_UWSGI, [_UWSGI, "--ini", str(path)], environment)  # noqa: S606 - a program of our own choice


def _token_add(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    kind, username = tokens.TENANT, None
    sites: tuple[tuple[str, str], ...] = ()
    if arguments.operator:
        kind = tokens.OPERATOR
    elif arguments.metrics:
        kind = tokens.METRICS
    elif arguments.user is not None:
        username = parse_username(arguments.user)
    else:
        sites = tuple(_owned(machine, text) for text in arguments.site)
    text = tokens.add(machine.layout, arguments.name, kind, username, sites)
    print(text)
    if sys.stdout.isatty():
        print("It is shown this once; hand it over by a way that nobody else reads.", file=sys.stderr)
    return DONE


def _owned(machine: Machine, text: str) -> tuple[str, str]:
    domain = parse_domain(text)
    site = machine.registry.find(domain)
    if site is None:
        raise NoSuchSiteError(f"domain {domain}: there is no such site")
    return site.domain, site.username


def _token_list(arguments: argparse.Namespace) -> int:
    found = tokens.read(Layout(arguments.root.resolve())).values()
    if arguments.json:
        shown = [{key: value for key, value in dataclasses.asdict(one).items() if key != "digest"} for one in found]
        print(json.dumps(shown, indent=2))
        return DONE
    for one in found:
        print(f"{one.name}  {one.created}  {_scope(one)}")
    return DONE


def _scope(token: tokens.Token) -> str:
    if token.username is not None:
        return f"all sites of {token.username}"
    return " ".join(domain for domain, _ in token.sites) or token.kind


def _token_revoke(arguments: argparse.Namespace) -> int:
    tokens.revoke(Layout(arguments.root.resolve()), arguments.name)
    print(f"{arguments.name}: revoked; whoever is logged in with it is logged out")
    return DONE


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "web": _web,
    "token_add": _token_add,
    "token_list": _token_list,
    "token_revoke": _token_revoke,
}
