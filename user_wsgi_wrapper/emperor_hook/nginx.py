"""The front: nginx's configuration, rendered from the operator's template and the configuration."""

from __future__ import annotations

import grp
import os
import pwd
import re
from pathlib import Path
from typing import Protocol

from user_wsgi_wrapper.emperor_hook import templates
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, shorten

# What may stand in a value of nginx's configuration without any quoting. Spaces only where several arguments may.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@*\[\]+ -]*")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./@+-]+")
# Requests a second for domains never served here: of one address, of all. Twenty times as many may come at once.
_STRANGERS_OF_ONE, _STRANGERS = 5, 20
# How many requests may be under way at once: one address's to one site, and all to one site.
_REQUESTS_OF_ONE, _REQUESTS_OF_SITE = 200, 1000
# What no visitor is ever shown, as runtime.beneath has it: the beginnings of names after their dot.
SECRETS = ("env", "git", "hg", "ht", "netrc", "pgpass", "ssh", "svn")
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


class Front(Protocol):
    """The part of the configuration that the front needs."""

    @property
    def listen(self) -> tuple[str, ...]:
        """Arguments of nginx's `listen`."""

    @property
    def real_ip_from(self) -> tuple[str, ...]:
        """Networks of load balancers, as CIDR."""

    @property
    def real_ip_header(self) -> str:
        """The header in which a load balancer gives the visitor's address."""

    @property
    def max_body_mib(self) -> int:
        """The largest request body, in MiB."""

    @property
    def read_timeout(self) -> int:
        """Seconds that a site may stay silent while it answers."""

    @property
    def user(self) -> str:
        """The account that nginx's workers run as."""


class _Quoted(str):
    """A value of our own making that is already fit for a quoted string."""


def carry(value: object) -> str:
    """A value as it may stand in nginx's configuration; raises BadValueError for what needs quoting."""
    text = str(value)
    if isinstance(value, Path) and not _PLAIN_PATH.fullmatch(text):
        raise BadValueError(f"path {shorten(text)}: only letters, digits and _ . / @ + - are allowed here")
    if isinstance(value, _Quoted) or _PLAIN.fullmatch(text):
        return text
    raise BadValueError(f"value {shorten(text)}: only letters, digits and _ . / : @ * [ ] + - are allowed here")


def host_regex(longest: int) -> str:
    """A regular expression (PCRE) that matches the host names of at most `longest` characters that can be sites.

    It is the law of site.parse_domain: labels of RFC 1123, the last one not a number.
    """
    return rf"~^(?=.{{1,{longest}}}$)(?!(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)$)(?<domain>{_LABEL}(?:\.{_LABEL})*)$"


def render(layout: Layout, front: Front, initialize_timeout: float, web_host: str | None = None) -> str:
    """The http-level configuration of the front. `web_host` is the host name of the pages, if there are any."""
    return templates.fill(
        "nginx.conf.template",
        carry,
        listen=front.listen,
        real_ip_from=front.real_ip_from,
        real_ip_header=front.real_ip_header,
        max_body_mib=front.max_body_mib,
        read_timeout=front.read_timeout,
        initialize_timeout=int(initialize_timeout),
        host_regex=_Quoted(host_regex(layout.longest_domain)),
        user_logs=layout.user_logs_dir,
        sockets=layout.sockets_dir,
        initialize_socket=layout.initialize_socket,
        web_host=web_host or "",
        web_socket=layout.web_socket,
        own_logs=layout.own_logs_dir,
        strangers_of_one=_STRANGERS_OF_ONE,
        strangers=_STRANGERS,
        requests_of_one=_REQUESTS_OF_ONE,
        requests_of_site=_REQUESTS_OF_SITE,
        secrets=_Quoted("|".join(SECRETS)),
    )


def render_main(layout: Layout, front: Front) -> str:
    """A whole nginx.conf around the front, for the stack in the foreground."""
    return templates.fill(
        "nginx-main.conf.template",
        carry,
        user=front.user,
        run=layout.run_dir,
        own_logs=layout.own_logs_dir,
        workers="auto",
        temporary=layout.run_dir / "nginx",
        front=layout.run_dir / "nginx-front.conf",
        mime_types="/etc/nginx/mime.types",
    )


def account(name: str) -> tuple[int, int]:
    """The uid and gid of the account that nginx's workers run as; raises BadValueError if there is none."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BadValueError(f"user {shorten(name)} of [front]: no such account on this machine") from None
    return entry.pw_uid, entry.pw_gid


def group_name(gid: int) -> str:
    """The name of a group, or its number if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def prepare_folders(layout: Layout, front: Front) -> None:
    """The folders that nginx opens files in: sockets behind a door that only its group passes."""
    uid, gid = account(front.user)
    layout.sockets_dir.mkdir(parents=True, exist_ok=True)
    os.chown(layout.sockets_dir, 0, gid)
    layout.sockets_dir.chmod(0o750)
    for folder in (layout.user_logs_dir, layout.own_logs_dir):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
    temporary = layout.run_dir / "nginx"
    temporary.mkdir(parents=True, exist_ok=True)
    os.chown(temporary, uid, gid)
    temporary.chmod(0o700)
