"""Werkzeug's threaded server on a socket that several processes accept from, and that it can be called away from."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from werkzeug.serving import ThreadedWSGIServer

from user_wsgi_wrapper.embedded.handler import Handler
from user_wsgi_wrapper.embedded.plan import HOST

_IDLE_GRACE = 0.2  # seconds in which a request that is on its way on a connection without one may arrive
_TICK = 0.02
_FULL = 0.1  # seconds to wait when there is no descriptor left for a further connection


class Server(ThreadedWSGIServer):
    """Serves `app`, which may be set after it was made. `channel` leads to the supervisor."""

    def __init__(self, listener: socket.socket, channel: socket.socket, app: Any, is_alone: bool) -> None:
        self.channel = channel
        self._lock = threading.Lock()
        self._connections: dict[int, bool] = {}  # a connection's number -> whether it has brought a request
        super().__init__(HOST, listener.getsockname()[1], app, Handler, fd=listener.fileno())
        self.multiprocess = not is_alone
        self.socket.setblocking(False)  # another process may be quicker to accept

    def serve_until(self, signals: int, is_stale: Callable[[], bool]) -> bool:
        """Serve until the descriptor `signals` brings SIGTERM's number, or until `is_stale` says so, which is told.

        It is asked before a connection is accepted, so that the connection waits for whoever isn't stale.
        """
        poller = select.poll()
        poller.register(self.socket.fileno(), select.POLLIN)
        poller.register(signals, select.POLLIN)
        while True:
            ready = {number for number, _event in poller.poll()}
            if signals in ready and signal.SIGTERM in os.read(signals, 4096):
                return False
            if self.socket.fileno() in ready:
                if is_stale():
                    return True
                self.handle_request()

    def finish(self, patience: float) -> None:
        """Let the requests end that have begun, for at most `patience` seconds."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            with self._lock:
                waiting = list(self._connections.values())
            if not any(waiting) and (not waiting or time.monotonic() - began > _IDLE_GRACE):
                return
            time.sleep(_TICK)

    def busy(self, connection: socket.socket) -> None:
        """A request has begun to arrive on this connection."""
        with self._lock:
            self._connections[id(connection)] = True

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. With no descriptor left for it, it is tried again a little later."""
        try:
            return super().get_request()
        except BlockingIOError:
            raise
        except OSError:
            time.sleep(_FULL)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand it to a thread of its own."""
        with self._lock:
            self._connections[id(request)] = False
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection; one that is to end in a reset isn't ended in good order first."""
        if _is_to_reset(request):
            request.close()
        else:
            super().shutdown_request(request)
        with self._lock:
            self._connections.pop(id(request), None)


def _is_to_reset(connection: socket.socket) -> bool:
    try:
        return any(connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    except OSError:  # the application has closed it
        return False
