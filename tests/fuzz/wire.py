"""The two messages between initialize's HTTP side and the warmer, each read by the end that gets it."""

from __future__ import annotations

from tests.fuzz.names import lawful
from user_wsgi_wrapper.emperor_hook import warm_protocol
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome, ProtocolError


def check_question(data: bytes) -> None:
    """parse_question: a domain that is canonical by the law, and asked for in no other way; else one short line."""
    name = data[5:-1] if data[:5] == b"WARM " and data[-1:] == b"\n" else b""
    try:
        domain = warm_protocol.parse_question(data)
    except ProtocolError as error:
        assert str(error).isprintable() and len(str(error)) < 2000, str(error)
        assert lawful(name) != name, data
        return
    assert lawful(name) == name == domain.encode("ascii")
    assert warm_protocol.question(domain) == data
    assert not {"/", "\\", "\0", "%", "@"} & set(domain)
    assert len(data) <= warm_protocol.LONGEST_QUESTION


def check_answer(data: bytes) -> None:
    """parse_answer: an outcome and one line that steers nothing; answer() of any text is one that comes back."""
    known = {outcome.value for outcome in Outcome}
    try:
        outcome, text = warm_protocol.parse_answer(data)
    except ProtocolError:
        assert data[:1] not in known or len(data) > 201
    else:
        assert outcome.value == data[:1] and len(data) <= 201
        assert text == "" or text.isprintable()
    for said in (
        data.decode("latin-1"),
        data.decode("utf-8", "surrogateescape"),
        data.decode("utf-16-le", "replace"),
    ):
        message = warm_protocol.answer(Outcome.FAILED, said)
        assert len(message) <= 201
        outcome, text = warm_protocol.parse_answer(message)
        assert outcome is Outcome.FAILED
        assert warm_protocol.answer(outcome, text) == message
        shown = "".join(one if one.isprintable() else "?" for one in said)
        assert shown.startswith(text)
        assert len(message) > 197 or text == shown
