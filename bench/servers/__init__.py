"""The servers that bench/percentiles.py compares."""

from __future__ import annotations

from bench.servers.apache import ModWsgi, Passenger
from bench.servers.behind_nginx import BareUwsgi, Gunicorn
from bench.servers.fcgid import Fcgid, FcgidMany
from bench.servers.server import Server
from bench.servers.this_project import ThisProject

SERVERS: tuple[type[Server], ...] = (ThisProject, BareUwsgi, Gunicorn, ModWsgi, Passenger, Fcgid, FcgidMany)
