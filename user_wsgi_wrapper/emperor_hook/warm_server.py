"""The root side's end of the wire. Whatever the HTTP side does, also one that was taken over, is bounded here.

One thread takes questions up and never waits for anybody; the warm-ups run elsewhere. So many connections may be
there that have asked nothing yet, each for so long; a domain that is asked for again while it is being warmed takes
the place of the one who asked before; and the rest is told that it is too much.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from user_wsgi_wrapper.emperor_hook import warm_protocol
from user_wsgi_wrapper.emperor_hook.token_bucket import TokenBucket
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome, ProtocolError

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)
_PAUSE = 0.05  # seconds, when there is no descriptor for one more connection


@dataclass(frozen=True)
class Bounds:
    """How much of each there may be. Times are in seconds.

    `strangers`: questions a second for domains that aren't known here, and so many at once; twice what nginx lets
    through, so that an honest HTTP side never gets there.
    """

    warmups: int
    silent: int = 64
    silent_for: float = 2.0
    strangers: tuple[float, float] = (40.0, 800.0)
    complaints: tuple[float, float] = (1.0, 20.0)


class WarmServer:
    """Answers questions on a listening socket (SOCK_SEQPACKET).

    `peers` are the uids that may ask; `join(domain)` gives the warm-up that runs; `outcome_of` says what an error
    (or None) of it means; `is_known(domain)` is quick; `complain(line)` is told, at a bounded rate, who misbehaves.
    """

    def __init__(
        self, listener: socket.socket, peers: frozenset[int], bounds: Bounds, join: Callable[[str], Future[None]],
        outcome_of: Callable[[BaseException | None], tuple[Outcome, str]], is_known: Callable[[str], bool],
        complain: Callable[[str], None],
    ) -> None:  # fmt: skip
        listener.setblocking(False)
        self._listener, self._peers, self._bounds = listener, peers, bounds
        self._join, self._outcome_of, self._is_known, self._complain = join, outcome_of, is_known, complain
        self._strangers, self._complaints = TokenBucket(*bounds.strangers), TokenBucket(*bounds.complaints)
        self._silent: dict[socket.socket, float] = {}  # until when each may stay so, the oldest first
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Future[None], socket.socket]] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._is_listening = True

    def serve_forever(self) -> None:
        """Never comes back."""
        while True:
            self.serve_once()

    def serve_once(self, patience: float | None = None) -> None:
        """Wait, at most so many seconds, until there is something to do, and do it."""
        if self._silent:
            until = max(next(iter(self._silent.values())) - time.monotonic(), 0.0)
            patience = until if patience is None else min(patience, until)
        for key, _ in self._selector.select(patience):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                self._hear(key.fileobj)
        self._end_silence()

    def close(self) -> None:
        """Hang up on everybody."""
        self._selector.close()
        with self._lock:
            left = [self._listener, *self._silent, *(connection for _, connection in self._waiting.values())]
            self._waiting.clear()
        for one in left:
            one.close()

    def _accept(self) -> None:
        # only so many in a turn, lest those that are here already wait for all that come
        for _ in range(self._bounds.silent - len(self._silent)):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._tell(f"no more connections: {error.strerror}")
                    time.sleep(_PAUSE)
                return
            self._greet(connection)
        if len(self._silent) >= self._bounds.silent:
            self._selector.unregister(self._listener)
            self._is_listening = False

    def _greet(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        uid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
        if uid not in self._peers:
            self._tell(f"uid {uid} may not ask")
            connection.close()
            return
        self._silent[connection] = time.monotonic() + self._bounds.silent_for
        self._selector.register(connection, selectors.EVENT_READ)
        self._hear(connection)  # mostly it has asked already

    def _hear(self, connection: socket.socket) -> None:
        try:
            # with no room for descriptors that are sent along, the kernel closes them (unix(7), SCM_RIGHTS)
            message, _, flags, _ = connection.recvmsg(warm_protocol.LONGEST_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            message, flags = b"", 0
        del self._silent[connection]
        self._selector.unregister(connection)
        if not message:
            connection.close()
            return
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ProtocolError("a message with more than a question")
            self._ask(connection, warm_protocol.parse_question(message))
        except ProtocolError as error:
            self._tell(f"refused: {error}")
            _answer(connection, Outcome.REFUSED, "that is no question")

    def _ask(self, connection: socket.socket, domain: str) -> None:
        if not self._is_known(domain) and not self._strangers.take():
            _answer(connection, Outcome.BUSY, "too many unknown domains")
            return
        with self._lock:
            is_full = domain not in self._waiting and len(self._waiting) >= self._bounds.warmups
        if is_full:
            _answer(connection, Outcome.BUSY, "too many sites are starting")
            return
        warmup = self._join(domain)
        with self._lock:
            before = self._waiting.get(domain)
            self._waiting[domain] = warmup, connection
        if before is not None:
            before[1].close()
        if before is None or before[0] is not warmup:
            warmup.add_done_callback(lambda done: self._done(domain, done))

    def _done(self, domain: str, warmup: Future[None]) -> None:
        """In the warm-up's own thread."""
        with self._lock:
            found = self._waiting.get(domain)
            if found is None or found[0] is not warmup:
                return
            del self._waiting[domain]
        _answer(found[1], *self._outcome_of(warmup.exception()))

    def _end_silence(self) -> None:
        now = time.monotonic()
        for connection in [one for one, until in self._silent.items() if until <= now]:
            del self._silent[connection]
            self._selector.unregister(connection)
            connection.close()
        if not self._is_listening and len(self._silent) < self._bounds.silent:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._is_listening = True

    def _tell(self, line: str) -> None:
        if self._complaints.take():
            self._complain(line)


def _answer(connection: socket.socket, outcome: Outcome, text: str) -> None:
    with contextlib.suppress(OSError):
        connection.send(warm_protocol.answer(outcome, text), socket.MSG_NOSIGNAL)
    connection.close()
