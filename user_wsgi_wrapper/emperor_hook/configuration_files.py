"""The generated configurations of the stack's servers, and where they lie."""

from __future__ import annotations

import sys
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import emperor, initialize_environment, nginx, service_account, templates, vassal
from user_wsgi_wrapper.emperor_hook.atomic import write_if_changed
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.layout import Layout

# The environment variables in which initialize and the web pages get the two global options.
ROOT_VARIABLE = "USER_WSGI_WRAPPER_ROOT"
CONFIG_VARIABLE = "USER_WSGI_WRAPPER_CONFIG"


def front(machine: Machine, door: Layout) -> str:
    """nginx's http-level configuration; `door` is the layout as those reach it who aren't root."""
    # initialize answers a POST only once its site is up or given up
    patience = machine.config.warm.give_up_after + 15
    return nginx.render(door, machine.config.front, patience, machine.config.web.host)


def initialize(machine: Machine, door: Layout) -> str:
    """The uWSGI configuration of initialize's HTTP side, whose account is made if it isn't there; `door` as above."""
    warm = machine.config.warm
    uid, own_gid = service_account.ensure(warm.user)
    settings = initialize_environment.Settings(
        uid, own_gid, door.warmer_socket, warm.page_after, warm.give_up_after, warm.threads
    )
    return _service(
        machine,
        "initialize.ini.template",
        machine.layout.initialize_socket,
        environment=initialize_environment.write(settings),
        threads=warm.threads,
        backlog=emperor.BACKLOG,
    )


def web(machine: Machine, port: int | None = None) -> str:
    """The uWSGI configuration of the web pages; with a port they are served to this machine's own users too."""
    settings = machine.config.web
    threads = settings.threads + settings.streams  # a live tail has a thread for as long as it lasts
    return _service(machine, "web.ini.template", machine.layout.web_socket, port=port, threads=threads)


def _service(machine: Machine, template: str, socket: Path, **values: object) -> str:
    """The uWSGI configuration of a service of ours, run by this Python, whose socket nginx's group may open."""
    _, gid = nginx.account(machine.config.front.user)
    return templates.fill(
        template,
        vassal.carry,
        virtualenv=sys.prefix if sys.prefix != sys.base_prefix else None,
        socket=socket,
        socket_owner=f"root:{nginx.group_name(gid)}",
        log_date=vassal.LOG_DATE,
        **values,
    )


def write(machine: Machine, door: Layout) -> tuple[Path, ...]:
    """Write all of them and make the folders that they name; gives the files."""
    layout, run = machine.layout, machine.layout.run_dir
    for folder in (layout.vassals_dir, run):
        folder.mkdir(parents=True, exist_ok=True)
    run.chmod(0o755)
    nginx.prepare_folders(layout, machine.config.front)
    texts = {
        run / "emperor.ini": emperor.render(layout),
        run / "initialize.ini": initialize(machine, door),
        run / "nginx-front.conf": front(machine, door),
        run / "nginx.conf": nginx.render_main(door, machine.config.front),
    }
    if machine.config.web.host is not None:
        texts[run / "web.ini"] = web(machine)
    for path, text in texts.items():
        write_if_changed(path, text)
    return tuple(texts)
