"""The commands for whoever is asked why something doesn't work: explain, check, collect."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import BinaryIO

from user_wsgi_wrapper.emperor_hook import checkup, collecting, evidence, site_checkup
from user_wsgi_wrapper.emperor_hook import explain as explaining
from user_wsgi_wrapper.emperor_hook.checkup import Finding
from user_wsgi_wrapper.emperor_hook.deploys import harmless
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.site import BadValueError, parse_domain

FINE, IN_THE_WAY = 0, 1


def explain(machine: Machine, arguments: argparse.Namespace) -> int:
    """Say what becomes of a URL; 1 if something stands in the way."""
    found = explaining.explain(machine, arguments.url)
    if arguments.json:
        _print_json(dataclasses.asdict(found))
    else:
        print("\n".join(harmless(line) for line in explaining.lines(found)))
    return FINE if found.is_fine else IN_THE_WAY


def check(machine: Machine, arguments: argparse.Namespace) -> int:
    """Say what stands in the way of a site, or of the whole machine; 1 if anything does."""
    if arguments.domain is None:
        return _check_machine(machine, arguments)
    domain = parse_domain(arguments.domain)
    findings = list(site_checkup.examine(machine, domain))
    codes, record = evidence.last_codes(machine.layout, domain), evidence.last_record(machine.layout, domain)
    if arguments.json:
        _print_json(
            {
                "findings": [dataclasses.asdict(one) for one in findings],
                "server_log": codes,
                "last_error_record": record,
            }
        )
    else:
        print("\n".join(harmless(collecting.line(one)) for one in findings))
        _print_evidence("The last that happened to it", codes)
        _print_evidence("The last failure in its error log", record)
    return _status(findings)


def _check_machine(machine: Machine, arguments: argparse.Namespace) -> int:
    findings = list(checkup.examine(machine.layout, machine.config))
    if arguments.json:
        _print_json([dataclasses.asdict(one) for one in findings])
    else:
        for one in findings:
            print(f"ok       {one.what}" if one.good else f"missing  {one.what}: {one.advice}")
    return _status(findings)


def _status(findings: Sequence[Finding]) -> int:
    return FINE if all(one.good for one in findings) else IN_THE_WAY


def _print_evidence(title: str, lines: list[str]) -> None:
    if lines:
        print(f"\n{title}:")
        print("\n".join(f"  {harmless(line)}" for line in lines))


def collect(machine: Machine, arguments: argparse.Namespace) -> int:
    """Write a site's archive to a file that wasn't there, or to standard output if that is no terminal."""
    domain = parse_domain(arguments.domain)
    site = machine.registry.find(domain)
    if site is None:
        raise NoSuchSiteError(f"domain {domain}: there is no such site")
    with _output(arguments.output) as output:
        collecting.collect(machine, site, arguments.config, arguments.lines, output)
    return FINE


def _output(path: str | None) -> BinaryIO:
    if path is not None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    if sys.stdout.isatty():
        raise BadValueError("an archive is nothing for a terminal: name a file with -o, or pipe it")
    return os.fdopen(os.dup(1), "wb")


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2))
