"""The whole stack in the foreground: the Emperor, initialize, its warmer and nginx, until a signal says stop."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import psutil

from user_wsgi_wrapper.emperor_hook import (
    cgroups,
    chroot,
    configuration_files,
    door,
    nginx,
    probe,
    processes,
    reaper,
    service,
    service_account,
    spinup,
    tally,
    vassal,
)
from user_wsgi_wrapper.emperor_hook.locks import LockedError, locked
from user_wsgi_wrapper.emperor_hook.registry import RegistryDownError
from user_wsgi_wrapper.emperor_hook.service import Service
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.layout import Layout

START_PATIENCE = 20.0  # seconds that all services together have to come up
LEFTOVER_PATIENCE = 15.0  # seconds that the services of a killed stack have to end by themselves
REAP_EVERY = 60.0
_TICK = 0.2
_UWSGI = "/usr/bin/uwsgi"
_WARMER = "user_wsgi_wrapper.emperor_hook.warmer"
_NGINX = "/usr/sbin/nginx"


class StackError(Exception):
    """The stack can't run; str() is fit to print and says what to do."""


class Stack:
    """One running stack over one layout; `run` returns after it has been told to stop and left nothing behind."""

    def __init__(self, machine: Machine, config_file: Path | None, say: Callable[[str], None]) -> None:
        self._machine = machine
        self._layout = machine.layout
        self._config_file = config_file
        self._say = say
        self._stop_asked = False
        self._running: dict[str, tuple[Service, subprocess.Popen[bytes]]] = {}

    def run(self, when_up: Callable[[], None]) -> None:
        """Start everything, call `when_up`, keep it running. Raises StackError."""
        try:
            with locked(self._layout, "stack", "up", wait=False):
                self._take_signals()
                try:
                    self._clear_leftovers()
                    self._start()
                    when_up()
                    self._watch()
                finally:
                    self._end()
        except LockedError:
            raise StackError(f"another stack is running on {self._layout.root}") from None

    def _take_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        service.become_subreaper()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True

    def _clear_leftovers(self) -> None:
        """What a stack that was killed left: its Emperor, orphans, warm sites whose Emperor is gone."""
        deadline = time.monotonic() + LEFTOVER_PATIENCE
        while reaper.emperor_pids(self._layout):
            if time.monotonic() > deadline:
                raise StackError("an Emperor is already running on this root; stop it first")
            time.sleep(_TICK)
        self._reap(everyone=True)
        cool_all(self._layout)

    def _start(self) -> None:
        config = self._machine.config
        accounts = nginx.account(config.front.user), service_account.ensure(config.warm.user)
        configuration_files.write(self._machine, door.open_door(self._layout, *accounts))
        self._layout.warmer_socket.unlink(missing_ok=True)
        for one in self._services():
            self._running[one.name] = one, service.start(one)
        self._wait_until_up()

    def _services(self) -> tuple[Service, ...]:
        run, logs = self._layout.run_dir, self._layout.own_logs_dir
        options = ["--root", str(self._layout.root)]
        if self._config_file is not None:
            options += ["--config", str(self._config_file.resolve())]
        nginx_log = logs / "nginx.error.log"
        return (
            Service("emperor", (_UWSGI, "--ini", str(run / "emperor.ini")), logs / "emperor.log"),
            # -B: nothing is written to where its code lies
            Service("warmer", (sys.executable, "-I", "-B", "-m", _WARMER, *options), logs / "warmer.log"),
            Service(
                "initialize",
                (_UWSGI, "--ini", str(run / "initialize.ini")),
                logs / "initialize.log",
                {"PYTHONDONTWRITEBYTECODE": "1"},
            ),
            *self._web(),
            Service(
                "nginx",
                (_NGINX, "-e", str(nginx_log), "-c", str(run / "nginx.conf")),
                nginx_log,
                stop_signal=signal.SIGQUIT,
                patience=3.0,
            ),
        )

    def _web(self) -> tuple[Service, ...]:
        if self._machine.config.web.host is None:
            return ()
        environment = {configuration_files.ROOT_VARIABLE: str(self._layout.root)}
        if self._config_file is not None:
            environment[configuration_files.CONFIG_VARIABLE] = str(self._config_file.resolve())
        argv = (_UWSGI, "--ini", str(self._layout.run_dir / "web.ini"))
        return (Service("web", argv, self._layout.own_logs_dir / "web.log", environment, patience=3.0),)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while not (
            self._layout.emperor_fifo.exists()
            and (self._layout.run_dir / "nginx.pid").exists()
            and self._layout.warmer_socket.exists()
            # an answer: its socket is there before its program is
            and probe.ping(self._layout.initialize_socket, 1.0)
            and ("web" not in self._running or probe.ping(self._layout.web_socket, 1.0))
        ):
            self._raise_if_one_died()
            if time.monotonic() > deadline:
                raise StackError(
                    f"the stack did not come up within {START_PATIENCE:g} s; its logs are in "
                    f"{self._layout.own_logs_dir}"
                )
            time.sleep(0.01)
        self._raise_if_one_died()

    def _raise_if_one_died(self) -> None:
        for one, process in self._running.values():
            if process.poll() is not None:
                raise StackError(f"{one.name} ended with status {process.returncode}:\n{service.tail(one)}")

    def _watch(self) -> None:
        reap_at = time.monotonic() + REAP_EVERY
        while not self._stop_asked:
            time.sleep(_TICK)
            self._restart_the_dead()
            _collect_adopted({process.pid for _, process in self._running.values()})
            if time.monotonic() >= reap_at:
                self._reap(everyone=False)
                reap_at = time.monotonic() + REAP_EVERY

    def _restart_the_dead(self) -> None:
        for one, process in list(self._running.values()):
            if process.poll() is not None and not self._stop_asked:
                self._say(f"{one.name} ended with status {process.returncode}; starting it again")
                time.sleep(1.0)  # one that can't live must not make this loop spin
                self._running[one.name] = one, service.start(one)

    def _reap(self, *, everyone: bool) -> None:
        """End tenants' processes that no Emperor owns (all of them, once there is no Emperor)."""
        living = frozenset() if everyone else reaper.emperor_pids(self._layout)
        if not everyone and not living:
            return
        try:
            # only those who have processes: of a registry's many tenants, they are few
            identities = self._machine.registry.identities_of(processes.uids())
        except RegistryDownError as error:
            self._say(f"no orphans are reaped: {error}")
            return
        for reaped in reaper.reap_all(identities, living, self._layout):
            if reaped.outcome in ("terminated", "killed"):
                tally.add(self._layout, {tally.REAPED: 1})
            if reaped.outcome not in ("gone", "zombie"):
                self._say(f"reaped {reaped}")

    def _stop(self, *names: str) -> None:
        stopping = [self._running[name] for name in names if name in self._running]
        for one, process in stopping:
            service.ask_to_stop(one, process)
        for one, process in stopping:
            # uWSGI's masters take seconds to notice that nothing is left to do
            service.wait_stopped(one, process, functools.partial(_has_no_vassal, one, process.pid))

    def _end(self) -> None:
        with contextlib.ExitStack() as last_to_first:  # each is done whatever becomes of the others
            last_to_first.callback(_collect_adopted, set())
            last_to_first.callback(door.close_door, self._layout)
            last_to_first.callback(chroot.tear_down_all, self._layout)
            last_to_first.callback(cool_all, self._layout)
            last_to_first.callback(self._reap, everyone=True)
            last_to_first.callback(self._stop, "web", "initialize", "warmer", "emperor")
            last_to_first.callback(self._stop, "nginx")


def _has_no_vassal(one: Service, pid: int) -> bool:
    """Whether it is an Emperor with none of its tenants' processes left."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        return one.name == "emperor" and all(child.uids().real == 0 for child in children)
    except psutil.Error:
        return False


def cool_all(layout: Layout) -> list[str]:
    """Make every site cold; each is warmed afresh by its next request. Gives the domains."""
    domains = vassal.warm_domains(layout)
    for domain in domains:
        spinup.cool(layout, domain)
    for left in (*layout.sockets_dir.glob("*.awake"), *layout.sockets_dir.glob("*.socket")):
        left.unlink(missing_ok=True)
    cgroups.remove_all(layout)
    return domains


def _collect_adopted(own: set[int]) -> None:
    """Collect what has died among processes whose parents are gone: they fall to us, a subreaper or pid 1."""
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if info is None or info.si_pid in own:
            return
        try:
            os.waitpid(info.si_pid, os.WNOHANG)
        except ChildProcessError:
            return
