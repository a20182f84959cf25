"""What initialize's two processes say to each other: one question, one answer, a message each. Pure.

The HTTP side, which strangers' bytes reach, asks `WARM <domain>` and a line end. The warmer, which is root, answers
one byte, an Outcome, and at most 200 bytes of text, which are for a log. They talk over a unix socket of sequenced
packets (unix(7), SOCK_SEQPACKET): a message arrives whole and by itself. Neither takes more from the other than this.
"""

from __future__ import annotations

import re
from enum import Enum

from user_wsgi_wrapper.site import MAX_DOMAIN, BadValueError, parse_domain

_QUESTION = re.compile(rb"WARM ([a-z0-9.-]{1,%d})\n" % MAX_DOMAIN)
LONGEST_TEXT = 200  # bytes
LONGEST_QUESTION = len(b"WARM \n") + MAX_DOMAIN
LONGEST_ANSWER = 1 + LONGEST_TEXT


class ProtocolError(Exception):
    """A message that is none of the protocol's; str() is one line fit for a log."""


class Outcome(Enum):
    """What came of a question; the value is the byte that says so."""

    UP = b"U"
    NO_SITE = b"N"
    REGISTRY_DOWN = b"R"
    EMPEROR_DOWN = b"E"
    NEVER_STARTED = b"S"
    CANNOT_BUILD = b"B"
    BUSY = b"Y"  # more is asked for at once than can be, or than an honest HTTP side would
    FAILED = b"F"  # of something that nobody foresaw
    REFUSED = b"X"  # the question was none


def question(domain: str) -> bytes:
    """The message that asks for a domain in its canonical form."""
    return f"WARM {domain}\n".encode("ascii")


def parse_question(message: bytes) -> str:
    """The domain that a message asks for, by the naming law once more. Raises ProtocolError."""
    match = _QUESTION.fullmatch(message)
    if match is None:
        raise ProtocolError(f"{_shown(message)} is no question")
    name = match[1].decode("ascii")
    try:
        domain = parse_domain(name)
    except BadValueError as error:
        raise ProtocolError(str(error)) from None
    if domain != name:
        raise ProtocolError(f"domain {name!r}: not in its canonical form")
    return domain


def answer(outcome: Outcome, text: str = "") -> bytes:
    """The message that tells what came of it; of the text only what fits, on one line that steers no terminal."""
    data = _printable(text).encode("utf-8", "replace")[:LONGEST_TEXT]
    return outcome.value + data.decode("utf-8", "ignore").encode()


def parse_answer(message: bytes) -> tuple[Outcome, str]:
    """The outcome and the text of an answer. Raises ProtocolError."""
    if len(message) > LONGEST_ANSWER:
        raise ProtocolError(f"{_shown(message)} is too long for an answer")
    try:
        outcome = Outcome(message[:1])
    except ValueError:
        raise ProtocolError(f"{_shown(message)} is no answer") from None
    return outcome, _printable(message[1:].decode("utf-8", "replace"))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:LONGEST_TEXT])


def _shown(message: bytes) -> str:
    return f"{message[:60]!r}{'…' if len(message) > 60 else ''}"
