"""The wire between initialize's two processes: what is no question or answer is refused, whoever sends it."""

import pytest

from user_wsgi_wrapper.emperor_hook import warm_protocol
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome, ProtocolError
from user_wsgi_wrapper.site import MAX_DOMAIN

LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


@pytest.mark.parametrize("domain", ["one.test", "a", "xn--bcher-kva.example", LONGEST])
def test_a_question_comes_back_as_its_domain(domain):
    message = warm_protocol.question(domain)
    assert warm_protocol.parse_question(message) == domain
    assert len(message) <= warm_protocol.LONGEST_QUESTION


def test_the_longest_domain_makes_the_longest_question():
    assert len(LONGEST) == MAX_DOMAIN
    assert len(warm_protocol.question(LONGEST)) == warm_protocol.LONGEST_QUESTION


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\n", b"WARM", b"WARM \n", b"WARM one.test", b"WARM one.test\n\n", b"WARM one.test\r\n",
        b"warm one.test\n", b"WARM  one.test\n", b"WARM one.test \n", b"WARM ../../etc/shadow\n",
        b"WARM /etc/passwd\n", b"WARM one.test/..\n", b"WARM .\n", b"WARM ..\n", b"WARM one..test\n",
        b"WARM .one.test\n", b"WARM one.test.\n", b"WARM One.test\n", b"WARM 127.0.0.1\n", b"WARM 0x7f\n",
        b"WARM -a.test\n", b"WARM a-.test\n", b"WARM one.test\0\n", b"WARM one\0.test\n",
        b"WARM b\xc3\xbccher.test\n", b"WARM one.test\nWARM two.test\n", b"WARM %2e%2e\n", b"WARM @(exec:id)\n",
        b"WARM " + b"a" * 64 + b"\n", b"WARM " + LONGEST.encode() + b"x\n", b"HALT one.test\n",
        b"WARM one.test" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(message):
    """In one short line, whatever it holds."""
    with pytest.raises(ProtocolError) as caught:
        warm_protocol.parse_question(message)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("outcome", Outcome)
def test_an_answer_comes_back(outcome):
    assert warm_protocol.parse_answer(warm_protocol.answer(outcome, "a reason")) == (outcome, "a reason")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 1000, "x" * 200),
        ("é" * 1000, "é" * 100),
        ("x" + "é" * 1000, "x" + "é" * 99),  # no half of a character
        ("two\nlines\x1b[2J\0", "two?lines?[2J?"),
        ("\udcff", "?"),
        ("", ""),
    ],
)
def test_a_text_is_cut_and_made_harmless(text, expected):
    message = warm_protocol.answer(Outcome.FAILED, text)
    assert len(message) <= warm_protocol.LONGEST_ANSWER
    assert warm_protocol.parse_answer(message) == (Outcome.FAILED, expected)


@pytest.mark.parametrize("message", [b"", b"u", b"?", b"\0", b" U", b"U" + b"x" * 201, b"x" * 10_000])
def test_what_is_no_answer_is_refused(message):
    with pytest.raises(ProtocolError):
        warm_protocol.parse_answer(message)


def test_an_answer_that_steers_terminals_does_not():
    """Also one that is not of our own making."""
    assert warm_protocol.parse_answer(b"F\x1b]0;x\x07\xff") == (Outcome.FAILED, "?]0;x?\ufffd")


def test_no_two_outcomes_have_one_byte():
    assert len({outcome.value for outcome in Outcome}) == len(list(Outcome))
    assert all(len(outcome.value) == 1 for outcome in Outcome)
