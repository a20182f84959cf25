"""Sorting lines by key: what comes out is what a format is for every single line, however the stream was cut."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from log_splitter import batch
from log_splitter.counters import Counters
from tests.splitting import parse_json, parse_pipe, parse_vhost

PARSERS = {"pipe": parse_pipe, "vhost": parse_vhost, "json": parse_json}
FORMATS = list(PARSERS)

word = st.sampled_from(
    [b"a.com", b"B.com", b"b.com:80", b"b.com", b"..", b"", b"x" * 300, b"\xff", b"a.com|", b"1.2.3.4"]
)
rest = st.sampled_from([b"", b"text", b"a|b", b" ", b"\xe9", b"\t", b'"host": "a.com"'])
lines = st.lists(
    st.tuples(word, st.sampled_from([b"|", b" ", b""]), rest).map(b"".join)
    | st.sampled_from([b'{"host": "a.com"}', b'{"host": "A.com", "x": 1}', b"{"])
)


def dealt(made, stream, cuts):
    """What each key gets of a stream that arrives in pieces: {key: text}, None for the catch-all."""
    last = 0
    for cut in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        if stream[last:cut]:
            made.feed(stream[last:cut], 0.0)
        last = cut
    made.finish()
    found = {}
    for raw, texts in made.take().items():
        key = made.key(raw)
        texts = texts if key is not None else made.whole(raw, texts)
        assert texts and all(text.endswith(b"\n") and text.count(b"\n") == 1 for text in texts)
        found.setdefault(key, []).extend(texts)
    return {key: sorted(texts) for key, texts in found.items()}


@pytest.mark.parametrize("form", FORMATS)
@given(lines, st.lists(st.integers(0, 10_000), max_size=5), st.booleans())
@example([b"a.com|1", b"nothing", b"nothing", b"a.com|2"], [3, 9, 12], False)
def test_it_is_what_the_parser_says_of_every_line(form, texts, cuts, ends):
    stream = b"\n".join(texts) + (b"\n" if ends else b"")
    expected = {}
    for text in stream.splitlines(keepends=True) if b"\r" not in stream else []:
        key, kept = PARSERS[form](text if text.endswith(b"\n") else text + b"\n")
        expected.setdefault(key, []).append(kept)
    made = batch.make_batch(form, "host", Counters())
    assert dealt(made, stream, cuts) == {key: sorted(texts) for key, texts in expected.items()}


@pytest.mark.parametrize("form", FORMATS)
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=4))
def test_no_byte_is_lost_whatever_comes(form, stream, cuts):
    counters = Counters()
    made = batch.make_batch(form, "host", counters)
    found = dealt(made, stream, cuts)
    assert counters.bytes_read == len(stream)
    assert made.unfinished == 0
    missing_newline = bool(stream) and not stream.endswith(b"\n")
    assert sum(len(texts) for texts in found.values()) == stream.count(b"\n") + missing_newline


@pytest.mark.parametrize("cut", range(12))
def test_what_is_unfinished_is_told_in_bytes_of_the_stream(cut):
    """A checkpoint relies on it, so an escaped byte counts as one."""
    stream = b"a.com|\x1bx\nb.c"
    made = batch.make_batch("pipe", "host", Counters())
    for piece in filter(None, (stream[:cut], stream[cut:])):
        made.feed(piece, 0.0)
    assert made.unfinished == 3


def test_a_line_of_ten_megabytes_is_cut_and_counted_and_the_next_is_whole():
    counters = Counters()
    made = batch.make_batch("pipe", "host", counters)
    stream = b"a.com|" + b"x" * 10_000_000 + b"\na.com|y\n"
    found = dealt(made, stream, range(0, len(stream), 100_000))
    assert found[b"a.com"] == [b"x" * (batch.MAX_LINE - 6) + b"\n", b"y\n"]
    assert counters.cut_lines == 1
    assert counters.cut_bytes == pytest.approx(10_000_006 - batch.MAX_LINE, abs=1)


def test_terminal_escapes_and_nuls_are_written_as_servers_write_them():
    made = batch.make_batch("pipe", "host", Counters())
    assert dealt(made, b"a.com|\x1b[2J\0\x07\tend\n", []) == {b"a.com": [b"\\x1b[2J\\x00\\x07\tend\n"]}


def test_in_json_they_are_escaped_as_json_has_it():
    made = batch.make_batch("json", "host", Counters())
    found = dealt(made, b'{"host": "a.com", "x": "\x1b[2J"}\n', [])
    assert json.loads(found[b"a.com"][0]) == {"host": "a.com", "x": "\x1b[2J"}


def test_a_key_with_a_nul_is_none():
    made = batch.make_batch("pipe", "host", Counters())
    assert dealt(made, b"a\0.com|x\n", []) == {None: [b"a\\x00.com|x\n"]}


def test_keys_with_many_lines_can_be_taken_ahead_and_the_others_stay():
    made = batch.make_batch("pipe", "host", Counters())
    made.feed(b"".join(b"busy.com|%d\nk%d.com|x\n" % (n, n) for n in range(100)) + b"busy.com|ha", 7.0)
    size, memory = made.size, made.memory
    assert made.take_largest() == {b"busy.com": [b"%d\n" % n for n in range(100)]}
    assert made.take_largest() == {}
    assert 0 < made.size < size
    assert 0 < made.memory != memory
    assert (made.started, made.unfinished) == (7.0, 11)
    made.feed(b"lf\n", 8.0)
    groups = made.take()
    assert groups.pop(b"busy.com") == [b"half\n"]
    assert groups == {b"k%d.com" % n: [b"x\n"] for n in range(100)}
    assert made.take_largest() == {}


@pytest.mark.parametrize("stream", [b"x\n", b"a|\n", b"\n", b"a.com|x\n"])
def test_memory_is_told_also_for_the_shortest_lines(stream):
    """A flood of two-byte lines takes a hundred times its size."""
    made = batch.make_batch("pipe", "host", Counters())
    block = stream * (100_000 // len(stream))
    for _ in range(11):
        made.feed(block, 0.0)
    held = sum(len(texts) for texts in made.groups.values())
    assert made.memory > 100 * held * 0.9
    made.take()
    assert made.memory == 0


def test_many_keys_count_too():
    made = batch.make_batch("pipe", "host", Counters())
    for number in range(60_000):
        made.feed(b"%d-------------------\n" % number, 0.0)
    assert made.memory > 400 * 50_000
