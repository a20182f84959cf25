"""The HTTP side's end of the wire: asks the warmer for one domain and waits for what comes of it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import warm_protocol
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome, ProtocolError

# struct timeval of a second: the warmer takes a connection up at once, or there are too many
_CONNECT = struct.pack("ll", 1, 0)


class NotWarmError(Exception):
    """The site isn't up. `outcome` says why, None if the warmer is away; str() is one line for a log."""

    def __init__(self, outcome: Outcome | None, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome


class WarmClient:
    """Asks over a connection of its own for each domain. Safe with threads."""

    def __init__(self, path: Path, patience: float) -> None:
        self._path = str(path)
        self._patience = patience  # seconds until an answer must be there

    def warm(self, domain: str) -> None:
        """Have the domain brought up; returns once a worker of it has answered. Raises NotWarmError."""
        try:
            outcome, text = warm_protocol.parse_answer(self._exchange(warm_protocol.question(domain)))
        except OSError as error:
            raise NotWarmError(None, f"the warmer is away: {error.strerror or error}") from None
        except ProtocolError as error:
            raise NotWarmError(None, f"the warmer's answer: {error}") from None
        if outcome is not Outcome.UP:
            raise NotWarmError(outcome, text)

    def _exchange(self, message: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            # unlike a timeout of Python's, it also waits for room in a full queue (socket(7), SO_SNDTIMEO)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _CONNECT)
            connection.connect(self._path)
            connection.send(message)
            connection.settimeout(self._patience)
            reply = connection.recv(warm_protocol.LONGEST_ANSWER + 1)
        if not reply:
            raise ConnectionResetError("it hung up")
        return reply
