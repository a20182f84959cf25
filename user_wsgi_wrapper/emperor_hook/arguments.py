"""The command line's grammar and its help."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from user_wsgi_wrapper import __version__, inside
from user_wsgi_wrapper.emperor_hook.help_texts import TEXTS
from user_wsgi_wrapper.site import LOG_FORMATS, PREFLIGHTS

_DESCRIPTION = """\
Host many people's WSGI applications on one machine: nginx in front, the uWSGI Emperor
behind it, one chroot per user. A site that is added answers its first request; nothing
is restarted for it, and no process runs for a site that nobody visits."""

_EPILOG = """\
exit status: 0 done, 1 failed, 2 wrong usage or a value that breaks a rule

examples:
  user-wsgi-wrapper site add www.example.org --user Alice
  user-wsgi-wrapper up --port 8080
  user-wsgi-wrapper logs www.example.org -f
  user-wsgi-wrapper check www.example.org
  user-wsgi-wrapper explain http://www.example.org/static/site.css
  user-wsgi-wrapper serve wsgi.py"""

_DOMAIN = "the site's host name"


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line, as all others of this program."""

    def error(self, message: str) -> NoReturn:
        text = " ".join(message.split())
        self.exit(2, f"{self.prog}: {text} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line. Every leaf sets `command`, the name under which __main__ finds its function."""
    top = _Parser(
        "user-wsgi-wrapper",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="where every path begins (default: /)"
    )
    top.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration (default: etc/user_wsgi_wrapper.toml under the root)",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_running(commands)
    _add_site(commands)
    _add_watching(commands)
    _add_pages(commands)
    _add_serving(commands)
    return top


if TYPE_CHECKING:  # TypeAlias came with Python 3.10, and `serve` is for 3.9 too
    from typing import TypeAlias

    _Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _leaf(commands: _Commands, name: str, command: str, text: str) -> _Parser:
    description, epilog = TEXTS.get(command, (text[0].upper() + text[1:] + ".", ""))
    leaf = commands.add_parser(
        name,
        help=text,
        description=textwrap.fill(description, 90),
        epilog=epilog or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    leaf.set_defaults(command=command)
    return leaf


def _json(leaf: argparse.ArgumentParser) -> None:
    leaf.add_argument("--json", action="store_true", help="print JSON, one document")


def _add_running(commands: _Commands) -> None:
    up = _leaf(commands, "up", "up", "run the whole stack in the foreground until Ctrl-C or SIGTERM")
    up.add_argument(
        "--port", type=_port, metavar="N", help="listen on 127.0.0.1:N instead of what the configuration says"
    )
    cool = _leaf(commands, "cool", "cool", "make sites cold: the next request builds and starts them afresh")
    which = cool.add_mutually_exclusive_group(required=True)
    which.add_argument("domain", nargs="?", metavar="DOMAIN", help=_DOMAIN)
    which.add_argument("--all", action="store_true", help="every site; no Emperor needs to run")
    _leaf(commands, "configure", "configure", "write the servers' configurations, for running them under systemd")


def _add_site(commands: _Commands) -> None:
    group = commands.add_parser(
        "site",
        help="add, change, remove and list sites",
        description="Manage sites; each command has its own --help.",
    )
    leaves = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = _leaf(leaves, "add", "site_add", "add a site; it wakes on its first request")
    add.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    add.add_argument("--user", required=True, metavar="NAME", help="the tenant; created if new, case is kept")
    _settings(add)
    change = _leaf(leaves, "set", "site_set", "change a site; only what is named changes, a running site takes it up")
    change.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    _settings(change).add_argument("--unset-env", action="append", default=[], metavar="K", help="drop a variable")
    remove = _leaf(leaves, "remove", "site_remove", "remove a site and end its processes")
    remove.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    remove.add_argument(
        "--purge",
        action="store_true",
        help="delete its logs, and its tenant's files if it was the last (never with a lookup_query)",
    )
    bring_in = _leaf(leaves, "import", "site_import", "add the sites of a table, a piku or an Apache configuration")
    bring_in.add_argument("source", metavar="FILE", help="what to read; of piku its root, the folder that has apps")
    bring_in.add_argument("--format", choices=("csv", "json", "piku", "apache"), help="default: as its name tells")
    bring_in.add_argument("--user", metavar="NAME", help="the tenant of all sites that are read from piku or Apache")
    bring_in.add_argument("--dry-run", action="store_true", help="say what would be added, add nothing")
    export = _leaf(leaves, "export", "site_export", "write all sites as a table that `site import` reads")
    export.add_argument("--format", choices=("csv", "json"), default="csv", help="json: an object a line")
    _json(_leaf(leaves, "list", "site_list", "list the sites"))
    show = _leaf(leaves, "show", "site_show", "show a site's settings")
    show.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    _json(show)


def _settings(leaf: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    settings = leaf.add_argument_group("settings (paths are as the tenant sees them)")
    settings.add_argument(
        "--static",
        action="append",
        metavar="URL=DIR",
        help="serve DIR's files under URL; may be given again; '' for none "
        f"(default: {inside.STATIC_URL}={inside.STATIC_DIR})",
    )
    settings.add_argument(
        "--check-static", metavar="DIR", help="serve any file that exists under DIR first; '' for none"
    )
    settings.add_argument("--wsgi-file", metavar="F", help=f"the application (default: {inside.WSGI_FILE})")
    settings.add_argument("--virtualenv", metavar="DIR", help="a virtual environment of the tenant's; '' for none")
    settings.add_argument("--env", action="append", metavar="K=V", help="set a variable; may be given again")
    settings.add_argument("--processes", type=int, metavar="N", help="workers (default: 1)")
    settings.add_argument("--threads", type=int, metavar="N", help="threads a worker (default: 1)")
    settings.add_argument(
        "--idle", type=int, metavar="SECONDS", help="sleep after so long without a request (default: 600)"
    )
    settings.add_argument("--memory", type=int, metavar="MIB", help="address space of each process; 0 for no limit")
    _limits(leaf)
    settings.add_argument(
        "--preflight",
        choices=PREFLIGHTS,
        help="how new code is tried before it replaces the code that serves: import it (default), compile it, or not "
        "at all; what fails is refused",
    )
    settings.add_argument("--log-format", choices=LOG_FORMATS, help="of the error log (default: text)")
    return settings


def _limits(leaf: argparse.ArgumentParser) -> None:
    limits = leaf.add_argument_group(
        "limits of the whole site (0: as [limits] says; its server log tells what was refused)"
    )
    limits.add_argument(
        "--tasks-max", type=int, metavar="N", help="processes and threads beside those that serve (cgroup pids)"
    )
    limits.add_argument("--memory-max", type=int, metavar="MIB", help="memory of all its processes (cgroup memory)")
    limits.add_argument("--cpu-quota", type=int, metavar="PERCENT", help="of one core; 150 is one and a half")
    limits.add_argument("--open-files", type=int, metavar="N", help="descriptors of each process (RLIMIT_NOFILE)")
    limits.add_argument("--log-rate", type=int, metavar="KIB", help="a second that its error log takes, all in all")


def _add_watching(commands: _Commands) -> None:
    reload = _leaf(commands, "reload", "reload", "reload a site's code, as touching its wsgi.py does")
    reload.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    status = _leaf(commands, "status", "status", "show which sites are cold, idle, running or broken")
    status.add_argument("domain", nargs="?", metavar="DOMAIN", help=_DOMAIN)
    _json(status)
    _add_logs(commands)
    trim = _leaf(commands, "trim", "trim", "delete the oldest rotated logs of sites whose logs take too much")
    trim.add_argument("domain", nargs="?", metavar="DOMAIN", help="of this site alone")
    trim.add_argument(
        "--budget",
        type=_count,
        default=1024,
        metavar="MIB",
        help="what the logs of a site may take together; those that are written to stay (default: 1024)",
    )
    check = _leaf(
        commands, "check", "check", "say what stands in a site's way; without DOMAIN, what this machine lacks"
    )
    check.add_argument("domain", nargs="?", metavar="DOMAIN", help=_DOMAIN)
    _json(check)
    collect = _leaf(commands, "collect", "collect", "put what a helper needs to know of a site into one archive")
    collect.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    collect.add_argument("-o", metavar="FILE", dest="output", help="a new file (default: standard output)")
    collect.add_argument(
        "-n", type=_count, metavar="N", dest="lines", default=500, help="lines of each log (default: 500)"
    )
    explain = _leaf(commands, "explain", "explain", "say what becomes of a URL: which site, which file, and why")
    explain.add_argument("url", metavar="URL", help="http://HOST/PATH, the scheme may be left out")
    _json(explain)
    reap = _leaf(commands, "reap", "reap", "end tenants' processes that no living Emperor owns")
    reap.add_argument("--dry-run", action="store_true", help="list them, end none")
    _json(reap)


def _add_logs(commands: _Commands) -> None:
    logs = _leaf(commands, "logs", "logs", "print the end of a site's log, or what is wanted of its logs")
    logs.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    logs.add_argument(
        "--kind",
        action="append",
        choices=(*inside.LOG_KINDS, "all"),
        help="which log (default: error; with --request error and access); given again: several, merged by time",
    )
    logs.add_argument(
        "-n",
        type=_count,
        metavar="N",
        dest="lines",
        help="how many lines, the last ones (default: 50; 10 before those that -f waits for; all that the options "
        "below leave, if one is given)",
    )
    logs.add_argument(
        "-f",
        action="store_true",
        dest="follow",
        help="go on as lines come, also when the log is rotated, until Ctrl-C",
    )
    logs.add_argument("--request", metavar="ID", help="only what one request left, by the id on its error page")
    logs.add_argument(
        "--since", metavar="WHEN", help="only what is newer: 30m, 2h, 3d, 10:11, 2012-08-24 or '2012-08-24 10:11:12'"
    )
    logs.add_argument("--grep", metavar="PATTERN", help="only records with a line that this Python regex is found in")


def _add_pages(commands: _Commands) -> None:
    web = _leaf(commands, "web", "web", "serve the pages that tenants and the operator look at, until SIGTERM")
    web.add_argument(
        "--port", type=_port, metavar="N", help="on 127.0.0.1:N, instead of to nginx under the host of [web]"
    )
    group = commands.add_parser(
        "token", help="make, list and revoke the tokens that log in there", description="Manage tokens."
    )
    leaves = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = _leaf(leaves, "add", "token_add", "make a token and print it; it can't be shown again")
    add.add_argument("name", metavar="NAME", help="what it is called in `token list`")
    scope = add.add_mutually_exclusive_group(required=True)
    scope.add_argument("--site", action="append", metavar="DOMAIN", help="for this site; may be given again")
    scope.add_argument("--user", metavar="USER", help="for all sites of this tenant, those to come as well")
    scope.add_argument("--operator", action="store_true", help="for all sites, and for /metrics")
    scope.add_argument("--metrics", action="store_true", help="for /metrics alone")
    _json(_leaf(leaves, "list", "token_list", "list the tokens and what they are for"))
    revoke = _leaf(leaves, "revoke", "token_revoke", "forget a token and end its logins")
    revoke.add_argument("name", metavar="NAME", help="what it is called in `token list`")


def _add_serving(commands: _Commands) -> None:
    serve = _leaf(commands, "serve", "serve", "serve one application on your own machine, as an ordinary user")
    serve.add_argument("wsgi_file", metavar="WSGI_FILE", help="the file that defines `application`")
    serve.add_argument("--port", type=_port, default=8000, metavar="N", help="listen on 127.0.0.1:N (default: 8000)")
    serve.add_argument(
        "--static",
        metavar="DIR",
        help=f"serve DIR's files under {inside.STATIC_URL} (default: the folder `static` beside WSGI_FILE)",
    )
    serve.add_argument("--log", metavar="FILE", help="append the error log to FILE, besides showing it")
    serve.add_argument(
        "--processes", type=_processes, default=1, metavar="N", help="serve with N processes (default: 1)"
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r}: a port from 1 to 65535 is needed")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r}: a number of lines is needed")
    return int(text)


def _processes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 1 to 64 is needed")
    return int(text)
