"""The commands for whoever is asked why something doesn't work: explain, check DOMAIN, collect."""

from __future__ import annotations

import argparse
import dataclasses
import json

from user_wsgi_wrapper.emperor_hook import explain as explaining
from user_wsgi_wrapper.emperor_hook.deploys import harmless
from user_wsgi_wrapper.emperor_hook.spinup import Machine

FINE, IN_THE_WAY = 0, 1


def explain(machine: Machine, arguments: argparse.Namespace) -> int:
    """Say what becomes of a URL; 1 if something stands in the way."""
    found = explaining.explain(machine, arguments.url)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        print("\n".join(harmless(line) for line in explaining.lines(found)))
    return FINE if found.is_fine else IN_THE_WAY
