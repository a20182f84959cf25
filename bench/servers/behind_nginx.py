"""gunicorn and bare uWSGI behind an nginx that is set up as this project's own: every site always on."""

from __future__ import annotations

import os
import pwd
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.servers.server import Enclosed
from bench.servers.site import Site

# The settings of conf/nginx-main.conf.template; one server block for all, the site's socket and its access log named
# after the domain, as in conf/nginx.conf.template, but nothing else of what that does. The log's format is shorter.
_NGINX = """\
user www-data;
daemon off;
worker_processes auto;
worker_rlimit_nofile 16384;
pid {folder}/run/nginx.pid;
error_log {folder}/log/nginx.error.log warn;
events {{
    worker_connections 4096;
}}
http {{
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 65s;
    client_body_temp_path {folder}/tmp/body;
    uwsgi_temp_path {folder}/tmp/uwsgi;
    proxy_temp_path {folder}/tmp/proxy;
    fastcgi_temp_path {folder}/tmp/fastcgi;
    scgi_temp_path {folder}/tmp/scgi;
    # nginx's documentation of access_log: with a variable in the path, or each line opens its file
    open_log_file_cache max=1000 inactive=30s valid=10s;
    server {{
        listen 127.0.0.1:{port};
        server_name ~^(?<domain>[a-z0-9.]+)$;
        access_log {folder}/log/sites/$domain.access.log combined;
        location / {{
{way}
        }}
    }}
}}
"""


class BehindNginx(Enclosed):
    """What both share."""

    way = ""  # nginx's directives for a request

    def commands(self, sites: Sequence[Site]) -> str:
        """Of sh, each in the background."""
        raise NotImplementedError

    def script(self, sites: Sequence[Site]) -> str:
        way = self.way.format(folder=self.folder)
        (self.folder / "nginx.conf").write_text(_NGINX.format(folder=self.folder, port=self.port, way=way))
        for site in sites:
            run = self.folder / "run" / site.domain
            run.mkdir(exist_ok=True)
            os.chown(run, site.uid, site.uid)
        logs = self.folder / "log" / "sites"
        logs.mkdir(exist_ok=True)
        account = pwd.getpwnam("www-data")
        os.chown(logs, account.pw_uid, account.pw_gid)  # a log that nginx's workers open by a variable path
        return f"{self.commands(sites)}exec nginx -c {self.folder}/nginx.conf\n"


class BareUwsgi(BehindNginx):
    """The Emperor over fixed vassals, without chroots, without anything of this project."""

    name = "uWSGI behind nginx"
    always_on = "fixed vassals: every site has its processes from the start"
    way = """\
            include /etc/nginx/uwsgi_params;
            uwsgi_pass unix:{folder}/run/$domain/socket;"""
    # uWSGI's "things to know": a master, single-interpreter for one application, need-app, vacuum, die-on-term; nginx
    # writes the access log, as it does for this project
    vassal = """\
[uwsgi]
plugins = python3
uid = {site.uid}
gid = {site.uid}
chdir = {site.folder}
wsgi-file = wsgi.py
socket = {folder}/run/{site.domain}/socket
chmod-socket = 666
master = true
processes = 1
single-interpreter = true
need-app = true
vacuum = true
die-on-term = true
disable-logging = true
"""

    def commands(self, sites: Sequence[Site]) -> str:
        vassals = self.folder / "vassals"
        shutil.rmtree(vassals, ignore_errors=True)
        vassals.mkdir()
        for site in sites:
            (vassals / f"{site.domain}.ini").write_text(self.vassal.format(site=site, folder=self.folder))
        return f"uwsgi --emperor {vassals} --die-on-term >>log/emperor.log 2>&1 &\n"


class Gunicorn(BehindNginx):
    """One gunicorn a site, as its deployment page has it under systemd: a unit each, which names the user."""

    name = "gunicorn behind nginx"
    always_on = "a service a site: every site has its processes from the start"
    # gunicorn's deployment page; no keepalive towards it, for its sync workers have none
    way = """\
            include /etc/nginx/proxy_params;
            proxy_redirect off;
            proxy_pass http://unix:{folder}/run/$domain/socket:;"""
    # sync, one worker: the same as the others have. /dev/shm is its FAQ's advice for the heartbeat's file. Its access
    # log is off unless asked for; nginx writes it. Without the control socket it needs no thread and no home.
    command = (
        "setpriv --reuid {site.uid} --regid {site.uid} --clear-groups /usr/bin/python3 -m gunicorn"
        " --bind unix:{folder}/run/{site.domain}/socket --workers 1 --worker-tmp-dir /dev/shm --no-control-socket"
        " --chdir {site.folder} wsgi:application >>log/gunicorn.log 2>&1 &\n"
    )

    def commands(self, sites: Sequence[Site]) -> str:
        library = self.folder / "library"
        if not library.exists():
            # gunicorn alone, without what else the environment of this script loads at each start
            for package in ("gunicorn", "packaging"):
                shutil.copytree(Path(sysconfig.get_path("purelib")) / package, library / package)
        starts = "".join(self.command.format(site=site, folder=self.folder) for site in sites)
        return f"export PYTHONPATH={library} PYTHONDONTWRITEBYTECODE=1\n{starts}"

    def is_a_sites(self, process: psutil.Process) -> bool:
        return super().is_a_sites(process) and "gunicorn" in " ".join(process.cmdline())
