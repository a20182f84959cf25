"""The operator's commands: `run(arguments)` gives the exit status."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from user_wsgi_wrapper.emperor_hook import (
    checkup,
    configuration_files,
    log_budget,
    migrating,
    processes,
    reaper,
    reloading,
    settings,
    sites,
    spinup,
    support,
    tally,
)
from user_wsgi_wrapper.emperor_hook.as_tenant import AskError
from user_wsgi_wrapper.emperor_hook.cgroups import CgroupError
from user_wsgi_wrapper.emperor_hook.chroot import ChrootError
from user_wsgi_wrapper.emperor_hook.emperor import EmperorDownError
from user_wsgi_wrapper.emperor_hook.logs import command as logs
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError, RegistryDownError, SiteExistsError
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.emperor_hook.stack import Stack, StackError, cool_all
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site, parse_domain

DONE, FAILED, USAGE = 0, 1, 2
_ANNOUNCED = 20  # sites that `up` names when it begins to serve
_FAILURES = (
    sites.SiteError, reloading.ReloadError, NoSuchSiteError, SiteExistsError, RegistryDownError, ChrootError,
    CgroupError, EmperorDownError, StackError, AskError,
)  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the command that the grammar (see arguments) has parsed; errors are one line on standard error."""
    try:
        return _COMMANDS[arguments.command](arguments)
    except BadValueError as error:
        return _complain(error, USAGE)
    except _FAILURES as error:
        return _complain(error, FAILED)
    except PermissionError as error:
        return _complain(f"{error.filename}: permission denied; run this as root", FAILED)
    except OSError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _complain(error: object, status: int) -> int:
    print(f"user-wsgi-wrapper: {error}", file=sys.stderr)
    return status


def _machine(arguments: argparse.Namespace) -> Machine:
    machine = spinup.open_machine(Layout(arguments.root.resolve()), arguments.config)
    if getattr(arguments, "port", None):
        front = dataclasses.replace(machine.config.front, listen=(f"127.0.0.1:{arguments.port}",))
        machine = dataclasses.replace(machine, config=dataclasses.replace(machine.config, front=front))
    return machine


def _up(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    bad = [one for one in checkup.examine(machine.layout, machine.config) if not one.good]
    if bad:
        raise StackError("\n".join(f"{one.what}: missing; {one.advice}" for one in bad))
    Stack(machine, arguments.config, _say).run(lambda: _announce(machine))
    return DONE


def _say(text: str) -> None:
    print(text, flush=True)


def _announce(machine: Machine) -> None:
    layout = machine.layout
    port = machine.config.front.listen[0].split()[0].rpartition(":")[2]
    _say("Serving:")
    try:
        for site in itertools.islice(machine.registry.sites(), _ANNOUNCED):
            _say(f"  http://{site.domain}{'' if port == '80' else ':' + port}/   {layout.www(site.username)}/")
    except RegistryDownError as error:
        _say(f"  (the sites can't be listed: {error})")
    _say(
        f"Logs: {layout.user_logs_dir}/DOMAIN/DOMAIN.{{access,error,server}}.log; of the stack: {layout.own_logs_dir}"
    )
    _say("Ctrl-C stops it.")


def _cool(arguments: argparse.Namespace) -> int:
    layout = Layout(arguments.root.resolve())
    domains = cool_all(layout) if arguments.all else _cool_one(layout, arguments.domain)
    for domain in domains:
        print(f"{domain}: cold")
    return DONE


def _cool_one(layout: Layout, text: str) -> list[str]:
    domain = parse_domain(text)
    spinup.cool(layout, domain)
    return [domain]


def _configure(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    for path in configuration_files.write(machine, machine.layout):
        print(path)
    return DONE


def _site_add(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    site = settings.new_site(arguments, machine.config.sites)
    sites.add(machine, site)
    print(f"{site.domain}: added; its files go to {machine.layout.www(site.username)}")
    return DONE


def _site_set(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    site = settings.with_settings(_site(machine, arguments.domain), arguments)
    told = sites.change(machine, site)
    print(f"{site.domain}: changed" + ("" if told else "; it is cold and takes it up on its next request"))
    return DONE


def _site_remove(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    domain = parse_domain(arguments.domain)
    was_last = sites.remove(machine, domain, purge=arguments.purge)
    print(f"{domain}: removed" + ("" if arguments.purge else "; its files and logs are kept"))
    if arguments.purge and not was_last and machine.registry.has_lookup:
        print("its tenant's files are kept: the lookup query may know other domains of his")
    return DONE


def _site_list(arguments: argparse.Namespace) -> int:
    found = _machine(arguments).registry.sites()
    if arguments.json:
        _print_json([dataclasses.asdict(site) for site in found])
    else:
        _print_table(("DOMAIN", "USER"), ((site.domain, site.username) for site in found))
    return DONE


def _site_show(arguments: argparse.Namespace) -> int:
    site = _site(_machine(arguments), arguments.domain)
    if arguments.json:
        _print_json(dataclasses.asdict(site))
        return DONE
    for field in dataclasses.fields(site):
        print(f"{field.name:14}{_plain(getattr(site, field.name))}")
    return DONE


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{name}={text}" for name, text in value) or "-"
    return "-" if value is None else str(value)


def _reload(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    site = _site(machine, arguments.domain)
    seconds = reloading.reload(machine, site, lambda text: print(text, file=sys.stderr))
    cold = "cold; its next request loads the code as it is then"
    print(f"{site.domain}: " + (cold if seconds is None else f"reloaded in {seconds:.1f} s"))
    return DONE


def _status(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    chosen = [_site(machine, arguments.domain)] if arguments.domain else list(machine.registry.sites())
    uids = {one.username: one.uid for one in machine.registry.identities()}
    titles = processes.by_title()
    rows = [processes.status(machine.layout, site, uids.get(site.username, -1), titles) for site in chosen]
    if arguments.json:
        _print_json([dataclasses.asdict(row) for row in rows])
    else:
        _print_table(
            ("DOMAIN", "USER", "STATE", "MIB", "PIDS"),
            (
                (row.domain, row.username, row.state, f"{row.memory / 2**20:.0f}", ",".join(map(str, row.pids)))
                for row in rows
            ),
        )
    return DONE


def _logs(arguments: argparse.Namespace) -> int:
    choice = logs.choose(arguments, time.time())
    machine = _machine(arguments)
    site = _site(machine, arguments.domain)
    if not logs.run(machine.layout, site.domain, choice):
        folder = machine.layout.log_dir(site.domain)
        raise sites.SiteError(f"{folder}: no such log yet; it begins with the site's first request")
    return DONE


def _trim(arguments: argparse.Namespace) -> int:
    layout = Layout(arguments.root.resolve())
    chosen = [parse_domain(arguments.domain)] if arguments.domain else log_budget.domains(layout)
    status = DONE
    for domain in chosen:
        try:
            done = log_budget.trim(layout, domain, arguments.budget * log_budget.MIB)
        except OSError as error:  # the others' logs are trimmed all the same
            status = _complain(error, FAILED)
            continue
        if done is not None:
            print(f"{domain}: {done.files} rotated logs deleted, {done.size / log_budget.MIB:.1f} MiB")
    return status


def _reap(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    identities, living = machine.registry.identities(), reaper.emperor_pids(machine.layout)
    rows: list[Any] = []
    if arguments.dry_run:
        rows += reaper.find_orphans(identities, living, machine.layout)
    else:
        rows += reaper.reap_all(identities, living, machine.layout)
        tally.add(machine.layout, {tally.REAPED: sum(row.outcome in ("terminated", "killed") for row in rows)})
    if arguments.json:
        _print_json([dataclasses.asdict(row) for row in rows])
    else:
        for row in rows:
            print(row)
    return DONE


def _site(machine: Machine, text: str) -> Site:
    domain = parse_domain(text)
    site = machine.registry.find(domain)
    if site is None:
        raise NoSuchSiteError(f"domain {domain}: there is no such site")
    return site


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2))


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "check": lambda arguments: support.check(_machine(arguments), arguments),
    "collect": lambda arguments: support.collect(_machine(arguments), arguments),
    "cool": _cool,
    "configure": _configure,
    "explain": lambda arguments: support.explain(_machine(arguments), arguments),
    "site_add": _site_add,
    "site_set": _site_set,
    "site_remove": _site_remove,
    "site_export": lambda arguments: migrating.export(_machine(arguments), arguments),
    "site_import": lambda arguments: migrating.bring_in(_machine(arguments), arguments),
    "site_list": _site_list,
    "site_show": _site_show,
    "reload": _reload,
    "status": _status,
    "logs": _logs,
    "trim": _trim,
    "reap": _reap,
}
