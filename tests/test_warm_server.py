"""Both ends of the wire on a real socket: who asks gets what came of it, and nobody takes more than there is."""

import array
import contextlib
import os
import random
import socket
import threading
import time
from concurrent.futures import Future

import psutil
import pytest

from tests.fuzz.targets import read_seeds
from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import warm_protocol, warmer
from user_wsgi_wrapper.emperor_hook.chroot import ChrootError
from user_wsgi_wrapper.emperor_hook.emperor import EmperorDownError
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError, RegistryDownError
from user_wsgi_wrapper.emperor_hook.shared_files import SharedFilesError
from user_wsgi_wrapper.emperor_hook.spinup import NeverStartedError
from user_wsgi_wrapper.emperor_hook.warm_client import NotWarmError, WarmClient
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome
from user_wsgi_wrapper.emperor_hook.warm_server import Bounds, WarmServer
from user_wsgi_wrapper.site import BadValueError

QUESTION = b"WARM one.test\n"


class Wire:
    """A server in a thread; a test ends the warm-ups by hand, unless they are `ended` from the start."""

    def __init__(self, folder, bounds, peers):
        self.path = folder / "warmer.socket"
        self.bounds, self.known, self.ended = bounds, True, {}
        self.joined, self.running, self.complaints = [], {}, []
        listener = warmer.listen(self.path, os.getegid())
        self.server = WarmServer(
            listener, peers, bounds, self._join, warmer.outcome_of, lambda domain: self.known, self.complaints.append
        )
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop:
            self.server.serve_once(0.02)

    def _join(self, domain):
        self.joined.append(domain)
        if domain not in self.running or self.running[domain].done():
            self.running[domain] = Future()
        if domain in self.ended:
            self.running[domain].set_result(None)
        return self.running[domain]

    def close(self):
        self._stop = True
        self._thread.join(20)
        self.server.close()

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(20)
        connection.connect(str(self.path))
        return connection

    def exchange(self, message):
        with self.connect() as connection:
            connection.send(message)
            return connection.recv(1000)

    def ask(self, domain="one.test", patience=20.0):
        WarmClient(self.path, patience).warm(domain)


@pytest.fixture
def wire_with(tmp_path):
    """A wire with other bounds than it has by itself; nothing stays open."""
    before = psutil.Process().num_fds()
    wires = []

    def make(uid=None, **bounds):
        peers = frozenset({os.geteuid() if uid is None else uid})
        wires.append(Wire(tmp_path, Bounds(**{"warmups": 8, **bounds}), peers))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()
    assert psutil.Process().num_fds() == before


@pytest.fixture
def wire(wire_with):
    return wire_with()


def in_threads(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_who_asks_hears_when_the_site_is_up(wire):
    (thread,) = in_threads(wire.ask)
    wait_for(lambda: wire.joined == ["one.test"], "it is asked for", 10)
    assert thread.is_alive()
    wire.running["one.test"].set_result(None)
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NoSuchSiteError("no such"), Outcome.NO_SITE),
        (RegistryDownError("down"), Outcome.REGISTRY_DOWN),
        (EmperorDownError("down"), Outcome.EMPEROR_DOWN),
        (NeverStartedError("hangs"), Outcome.NEVER_STARTED),
        (BadValueError("bad"), Outcome.CANNOT_BUILD),
        (ChrootError("no room"), Outcome.CANNOT_BUILD),
        (SharedFilesError("no room"), Outcome.CANNOT_BUILD),
    ],
)
def test_each_error_has_its_outcome(wire, error, outcome):
    """With its text."""
    caught = []

    def ask():
        try:
            wire.ask()
        except NotWarmError as found:
            caught.append(found)

    (thread,) = in_threads(ask)
    wait_for(lambda: wire.joined, "it is asked for", 10)
    wire.running["one.test"].set_exception(error)
    thread.join(10)
    assert [(found.outcome, str(found)) for found in caught] == [(outcome, str(error))]


def test_of_an_error_that_nobody_foresaw_its_words_stay_with_root():
    assert warmer.outcome_of(RuntimeError("/root/secret")) == (Outcome.FAILED, "unforeseen; the warmer's log has it")
    assert warmer.outcome_of(None) == (Outcome.UP, "")


@pytest.mark.parametrize("message", [b"garbage", b"WARM ../../etc\n", QUESTION * 2, b"x" * 100_000, b"WARM one.test"])
def test_garbage_is_refused_and_asks_for_nothing(wire, message):
    """Oversized messages too: what is cut off is not what counts."""
    assert warm_protocol.parse_answer(wire.exchange(message))[0] is Outcome.REFUSED
    assert wire.joined == []
    assert len(wire.complaints) == 1
    assert wire.complaints[0].isprintable()


def test_a_question_with_something_after_it_is_no_question(wire):
    """Cut to its length it would be one."""
    longest = warm_protocol.question(".".join(["a" * 63] * 3 + ["b" * 61]))
    assert len(longest) == warm_protocol.LONGEST_QUESTION
    assert wire.exchange(longest + b"x")[:1] == Outcome.REFUSED.value
    assert wire.joined == []


def test_descriptors_that_are_sent_along_stay_outside(wire):
    """The message counts as garbage, and nothing more is open afterwards."""
    before = psutil.Process().num_fds()
    with wire.connect() as connection, open(os.devnull) as file:
        rights = array.array("i", [file.fileno()] * 20).tobytes()
        connection.sendmsg([QUESTION], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert connection.recv(1000)[:1] == Outcome.REFUSED.value
    assert wire.joined == []
    wait_for(lambda: psutil.Process().num_fds() == before, "none is open", 10)


def test_a_connection_takes_one_question(wire):
    """What is sent after it is never read, and costs who sent it his answer."""
    with wire.connect() as connection:
        connection.send(QUESTION)
        connection.send(b"WARM two.test\n")
        wait_for(lambda: wire.joined, "the first is asked for", 10)
        wire.running["one.test"].set_result(None)
        with pytest.raises(ConnectionResetError):
            connection.recv(1000)
    assert wire.joined == ["one.test"]


def test_a_stranger_is_hung_up_on(wire_with):
    """By the kernel's word for who he is; not even what he says is read."""
    wire = wire_with(uid=os.geteuid() + 1)
    with pytest.raises(NotWarmError, match="the warmer is away") as caught:
        wire.ask()
    assert caught.value.outcome is None
    assert wire.joined == []
    assert wire.complaints == [f"uid {os.geteuid()} may not ask"]


def test_a_thousand_silent_connections_are_a_few_and_end_soon(wire_with):
    """Meanwhile and afterwards who has something to ask is heard."""
    wire = wire_with(silent=8, silent_for=0.5)
    before = psutil.Process().num_fds()
    wire.ended["one.test"] = True
    with contextlib.ExitStack() as crowd:
        opened = 0
        for _ in range(1000):
            connection = crowd.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            connection.setblocking(False)
            try:
                connection.connect(str(wire.path))
            except BlockingIOError:
                break
            opened += 1
        assert opened >= 100
        taken_up = psutil.Process().num_fds() - before - opened
        assert taken_up <= 8 + 1
    wire.ask()
    wait_for(lambda: psutil.Process().num_fds() == before, "all are gone", 10)


def test_silence_ends_while_nobody_else_comes(wire_with):
    wire = wire_with(silent_for=0.1)
    with wire.connect() as connection:
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began < 5
    assert wire.server._silent == {}


def test_who_asks_again_takes_the_place_of_who_asked_before(wire):
    """A thousand questions for one site that hangs hold one connection and one callback; the last is answered."""
    with contextlib.ExitStack() as crowd:
        connections = []
        for _ in range(100):
            connections.append(crowd.enter_context(wire.connect()))
            connections[-1].send(QUESTION)
        wait_for(lambda: len(wire.joined) == 100, "all were heard", 10)
        assert len(wire.server._waiting) == 1
        assert len(wire.running["one.test"]._done_callbacks) == 1
        wire.running["one.test"].set_result(None)
        assert connections[-1].recv(1000) == Outcome.UP.value
        assert all(connection.recv(1000) == b"" for connection in connections[:-1])


def test_no_more_sites_are_waited_for_than_there_may_be(wire_with):
    """One more is told that it is too much, and started is nothing; when one is up there is room."""
    wire = wire_with(warmups=3)
    with contextlib.ExitStack() as crowd:
        for number in range(3):
            crowd.enter_context(wire.connect()).send(b"WARM site%d.test\n" % number)
        wait_for(lambda: len(wire.joined) == 3, "three are asked for", 10)
        with pytest.raises(NotWarmError) as caught:
            wire.ask()
        assert caught.value.outcome is Outcome.BUSY
        assert len(wire.joined) == 3
        wire.running["site1.test"].set_result(None)
        wire.ended["one.test"] = True
        wire.ask()


def test_unknown_domains_are_looked_up_at_a_bounded_rate(wire_with):
    """Whoever asks for them, and however; known ones go on."""
    wire = wire_with(strangers=(0.001, 5.0))
    wire.known = False
    for number in range(10):
        wire.ended[f"made-up{number}.test"] = True
    told = [wire.exchange(b"WARM made-up%d.test\n" % number)[:1] for number in range(10)]
    assert told == [Outcome.UP.value] * 5 + [Outcome.BUSY.value] * 5
    assert len(wire.joined) == 5
    wire.known, wire.ended["one.test"] = True, True
    wire.ask()


def test_complaints_are_bounded(wire_with):
    wire = wire_with(complaints=(0.001, 3.0))
    for _ in range(50):
        wire.exchange(b"garbage")
    assert len(wire.complaints) == 3


def test_who_hangs_up_costs_nothing(wire):
    """Before it asks, and before it is answered."""
    wire.connect().close()
    with wire.connect() as connection:
        connection.send(QUESTION)
    wait_for(lambda: wire.joined, "it is asked for", 10)
    wire.running["one.test"].set_result(None)
    wait_for(lambda: wire.server._waiting == {}, "it was answered", 10)
    wire.ended["two.test"] = True
    wire.ask("two.test")


def test_nobody_there_is_told_at_once(tmp_path):
    """No socket, and one that nobody listens at."""
    client = WarmClient(tmp_path / "warmer.socket", 20.0)
    with pytest.raises(NotWarmError, match="away"):
        client.warm("one.test")
    warmer.listen(tmp_path / "warmer.socket", os.getegid()).close()
    with pytest.raises(NotWarmError, match="away") as caught:
        client.warm("one.test")
    assert caught.value.outcome is None


def test_a_warmer_that_dies_over_it_is_away(wire):
    """The one who waits hears of it at once."""
    failed = []

    def ask():
        try:
            wire.ask()
        except NotWarmError as error:
            failed.append(error.outcome)

    (thread,) = in_threads(ask)
    wait_for(lambda: wire.joined, "it is asked for", 10)
    wire.close()
    thread.join(10)
    assert failed == [None]


def test_a_warmer_that_never_answers_is_not_waited_for_for_ever(wire):
    with pytest.raises(NotWarmError, match="away"):
        wire.ask(patience=0.1)


@pytest.mark.parametrize("reply", [b"?", b"U" + b"x" * 500, b"\xff"])
def test_an_answer_that_is_none_is_a_failure(tmp_path, reply):
    """Whoever gave it."""
    with warmer.listen(tmp_path / "socket", os.getegid()) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.send(reply)

        (thread,) = in_threads(answer)
        with pytest.raises(NotWarmError, match="answer"):
            WarmClient(tmp_path / "socket", 20.0).warm("one.test")
        thread.join(10)


def test_the_socket_is_for_root_and_the_group(tmp_path):
    """It takes the place of one that a killed warmer left, and of one that is half made."""
    (tmp_path / "socket.new").touch()
    for _ in range(2):
        with warmer.listen(tmp_path / "socket", 65534):
            status = (tmp_path / "socket").stat()
            assert (oct(status.st_mode & 0o777), status.st_uid, status.st_gid) == ("0o660", 0, 65534)
    assert [path.name for path in tmp_path.iterdir()] == ["socket"]


def test_whatever_many_do_at_random_the_bounds_hold_and_the_honest_are_answered(wire_with):
    """Connections that say, half-say, repeat, hang up and stay silent, from four threads, for a second."""
    wire = wire_with(silent=6, silent_for=0.05, warmups=5)
    before, stop, over = psutil.Process().num_fds(), threading.Event(), threading.Event()
    seeds = [*read_seeds("question"), QUESTION, b"WARM two.test\n", b"x" * 5000]
    unheard, most = [], []

    def misbehave(number):
        chance, held = random.Random(number), []
        while not stop.is_set():
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.connect(str(wire.path))
                for _ in range(chance.randrange(3)):
                    connection.send(chance.choice(seeds))
            held.append(connection)
            while len(held) > chance.randrange(8):
                held.pop(chance.randrange(len(held))).close()
        for connection in held:
            connection.close()

    def end_warmups():
        chance = random.Random(5)
        while not over.is_set():
            time.sleep(0.002)
            most.append((len(wire.server._silent), len(wire.server._waiting)))
            for future in list(wire.running.values()):
                if chance.random() < 0.3 and not future.done():
                    future.set_result(None) if chance.random() < 0.5 else future.set_exception(OSError())

    def ask_honestly():
        while not stop.is_set():
            try:
                wire.ask("one.test")
            except NotWarmError as error:
                # hung up on for somebody else who asks for the same, or out of room: never anything else
                if error.outcome not in (None, Outcome.BUSY, Outcome.FAILED):
                    unheard.append(error)

    threads = in_threads(*(lambda number=number: misbehave(number) for number in range(3)), ask_honestly)
    (ending,) = in_threads(end_warmups)
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert unheard == []
    # what they left in the queue is heard and ended as well
    wait_for(lambda: (wire.server._silent, wire.server._waiting) == ({}, {}), "nobody is left", 10)
    over.set()
    ending.join(10)
    assert max(silent for silent, _ in most) <= 6
    assert max(waiting for _, waiting in most) <= 5
    wire.ended["one.test"] = True
    wire.ask()
    wait_for(lambda: psutil.Process().num_fds() == before, "nothing is left open", 10)


def test_whatever_answers_the_client_says_up_to_one_thing_alone(tmp_path):
    """The fuzzer's answers over a real socket: UP is taken for up, all else is an error of one kind."""
    replies = [*read_seeds("answer"), b"U", b"U" * 201, b"U" * 202, b"u", b"N", bytes(range(256))]
    with warmer.listen(tmp_path / "socket", os.getegid()) as listener:

        def answer():
            for reply in replies:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    if reply:
                        connection.send(reply)

        (thread,) = in_threads(answer)
        for reply in replies:
            try:
                WarmClient(tmp_path / "socket", 20.0).warm("one.test")
                is_up = True
            except NotWarmError:
                is_up = False
            assert is_up is (reply[:1] == b"U" and len(reply) <= 201), reply
        thread.join(10)
