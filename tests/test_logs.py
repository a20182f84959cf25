"""`logs`: records grouped, merged by time, found in rotated and compressed files, chosen and painted."""

import gzip
import os
import pty
import re
import subprocess
import sys
import threading
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import arguments, tail
from user_wsgi_wrapper.emperor_hook.logs import command, paint, records, skim, sources, stamps, unpack, when
from user_wsgi_wrapper.emperor_hook.logs.records import Record, Wanted
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError

ONE, TWO = "0123456789ab", "ba9876543210"
NOON = time.mktime((2012, 8, 24, 12, 0, 0, 0, 0, -1))


def stamped(seconds, text, request_id="-"):
    """A line of the error log, so many seconds after noon."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON + seconds))
    return f"{moment},{round(seconds % 1 * 1000):03d} [{request_id}] {text}\n".encode()


def access(seconds, request_id, status=200):
    date = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(NOON + seconds))
    return (
        f'127.0.0.1 - - [{date}] "GET / HTTP/1.1" {status} 4 "-" "curl" response-time=0.001 {request_id}\n'.encode()
    )


def as_json(seconds, text, request_id="-"):
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON + seconds))
    return (
        f'{{"timestamp": "{moment},500", "level": "ERROR", "message": "{text}", "request_id": "{request_id}"}}\n'
    ).encode()


# -- stamps


@pytest.mark.parametrize(
    ("kind", "line", "seconds", "request_id"),
    [
        ("error", stamped(1.25, "x", ONE), 1.25, ONE),
        ("error", stamped(1, "x"), 1, "-"),
        ("error", as_json(1, "x", ONE), 1.5, ONE),
        ("server", stamped(2, "- *** Starting uWSGI"), 2, "-"),
        ("access", access(3, ONE), 3.9995, ONE),
        ("access", access(3, ONE + "0" * 20), 3.9995, ONE),
        ("access", access(3, "-"), 3.9995, "-"),
        ("access", b'::1 - x [24/Aug/2012:12:00:00 +0000] "x" 400 0 "-" "a" y\n', None, "-"),
    ],
)
def test_each_kind_of_line_says_when_it_was_written_and_for_which_request(kind, line, seconds, request_id):
    stamp = stamps.parse(kind, line)
    assert stamp.request_id == request_id
    assert seconds is None or stamp.time == pytest.approx(NOON + seconds)


def test_an_access_lines_offset_counts():
    """nginx writes the machine's own; a machine whose zone was changed has lines of both."""
    east, utc = (
        stamps.parse("access", f"[24/Aug/2012:{hour}:00:00 {offset}]".encode()).time
        for hour, offset in (("14", "+0230"), ("11", "-0030"))
    )
    assert east == utc


@given(st.sampled_from(["access", "error", "server"]), st.binary(max_size=120))
def test_no_line_can_break_the_reader(kind, line):
    assert stamps.parse(kind, line) is None or not line.isalpha()


@pytest.mark.parametrize(
    "line",
    [
        b"2012-13-24 10:11:12,345 [-] x\n", b"9999-99-99 99:99:99,999 [-] x\n", b"0000-01-01 00:00:00,000 [-] x\n",
        b"{}\n", b"{" + b"[" * 100_000, b'{"timestamp": 5, "request_id": "-"}', b'{"timestamp": null}', b"[]",
        b'{"timestamp": "2012-08-24 10:11:12,xyz", "request_id": "-"}',
    ],
)  # fmt: skip
def test_what_is_no_time_is_no_stamp(line):
    found = stamps.parse("error", line)
    assert found is None or found.time < 0


# -- records

LINES = st.lists(
    st.sampled_from([stamped(1, "a", ONE), stamped(1, "b", ONE), stamped(2, "c", TWO), stamped(2, "-"), b"loose\n"])
)


@given(LINES)
def test_both_directions_find_the_same_records(lines):
    forwards = list(records.grouped("error", lines))
    assert forwards == list(records.grouped_backwards("error", lines[::-1]))[::-1]
    assert [line for record in forwards for line in record.lines] == lines


def test_a_record_is_the_lines_of_one_stamp_and_what_goes_on_with_them():
    lines = [
        stamped(1, "head", ONE), stamped(1, "  trace", ONE), b"loose\n", stamped(1, "Error: x", ONE),
        stamped(1, "other", TWO), stamped(1.001, "later", ONE),
    ]  # fmt: skip
    assert [len(record.lines) for record in records.grouped("error", lines)] == [4, 1, 1]


def test_records_merge_by_time_and_a_logs_own_order_stays():
    """Also where its clock was set back; an access line comes after what its request wrote in that second."""
    errors = [
        Record("error", 1.0, ONE, (b"1",)),
        Record("error", 5.5, ONE, (b"5",)),
        Record("error", 3.0, ONE, (b"3",)),
    ]
    requests = [Record("access", 5.9995, ONE, (b"A",)), Record("access", 7.0, ONE, (b"B",))]
    texts = [record.lines[0] for record in records.merged([errors, requests])]
    assert texts == [b"1", b"5", b"3", b"A", b"B"]
    back = [record.lines[0] for record in records.merged_backwards([requests[::-1], errors[::-1]])]
    assert sorted(back) == sorted(texts)
    assert [text for text in back if text in b"153"] == [b"3", b"5", b"1"]


def test_a_record_of_any_length_comes_in_pieces():
    lines = [stamped(1, "x" * 1_000_000, ONE)] * 10
    for found in (records.grouped("error", lines), records.grouped_backwards("error", lines)):
        sizes = [sum(map(len, record.lines)) for record in found]
        assert len(sizes) > 1
        assert max(sizes) < tail.LONGEST + 2_000_000


# -- the files


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path)
    found.log_dir("one.test").mkdir(parents=True)
    return found


@pytest.fixture
def log(layout):
    """Puts files of the error log in place: `log("", lines)` the live one, `log(".2.gz", lines)`."""

    def write(suffix, lines, kind="error"):
        path = layout.log_file("one.test", kind)
        path = path.with_name(path.name + suffix)
        data = b"".join(lines)
        path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
        return path

    return write


def said(layout, capfdbinary, *options):
    """What the command writes to a pipe."""
    choice = command.choose(arguments.parser().parse_args(["logs", "one.test", *options]), NOON + 100)
    assert command.run(layout, "one.test", choice)
    return capfdbinary.readouterr().out.splitlines(keepends=True)


def test_rotated_and_compressed_files_are_read_from_the_newest_on(layout, log, capfdbinary):
    """Numbered ones by their numbers, beyond 9 too; what is no log of this kind is left alone."""
    lines = [stamped(number, f"line {number}") for number in range(60)]
    log(".10.gz", lines[:10]), log(".9.gz", lines[10:20]), log(".2.gz", lines[20:40]), log(".1", lines[40:50])
    log("", lines[50:])
    for other in (".swp", ".1.bak", ".0", "-old", ".1.gz.tmp"):
        log(other, [b"no log\n"])
    assert said(layout, capfdbinary, "-n", "5") == lines[-5:]
    assert said(layout, capfdbinary, "-n", "15") == lines[-15:]
    assert said(layout, capfdbinary) == lines[-50:]
    assert said(layout, capfdbinary, "-n", "100") == lines
    assert said(layout, capfdbinary, "--grep", "line [0-5]?5$") == lines[5::10]
    assert said(layout, capfdbinary, "--grep", "line", "-n", "25") == lines[-25:]


def test_dated_names_are_read_too(layout, log, capfdbinary):
    lines = [stamped(number, f"line {number}") for number in range(30)]
    log("-20120822.gz", lines[:10]), log("-20120823", lines[10:20]), log("", lines[20:])
    assert said(layout, capfdbinary, "-n", "100") == lines


def test_since_finds_its_place_in_all_files(layout, log, capfdbinary):
    """And begins at it, in a large file too without reading what is before."""
    old = [stamped(number / 100, f"line {number:06d} {'x' * 200}") for number in range(20_000)]
    log(".2.gz", old[:5000]), log(".1", old[5000:10_000])
    path = log("", old[10_000:])
    spelled = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON + 190))
    with path.open("rb") as file:
        begin = sources._offset_of("error", file, path.stat().st_size, NOON + 190)
        assert path.stat().st_size * 9 // 10 - 2 * sources._CLOSE_ENOUGH < begin < path.stat().st_size * 9 // 10
    assert said(layout, capfdbinary, "--since", spelled) == old[19_000:]
    assert said(layout, capfdbinary, "--since", spelled, "-n", "5000") == old[19_000:]
    assert said(layout, capfdbinary, "--since", spelled, "-n", "5") == old[-5:]
    at = time.strftime("%H:%M:%S", time.localtime(NOON + 40))
    assert said(layout, capfdbinary, "--since", at) == old[4000:]
    assert said(layout, capfdbinary, "--since", "10s") == old[9000:]  # 10 seconds before "now", 100 after noon


def test_a_request_is_its_access_line_and_its_whole_records(layout, log, capfdbinary):
    """In the order in which they were written, from whichever file; others' lines of that second are not."""
    first = [stamped(1.1, "GET /: the application failed", ONE), stamped(1.1, "ValueError", ONE)]
    later = [stamped(1.7, "the worker died", ONE)]
    log(".2.gz", [stamped(1, "before"), *first]), log(".1", [stamped(1.1, f"of {ONE}", TWO)]), log("", later)
    log("", [access(1, TWO), access(1, ONE, 500), access(2, TWO)], "access")
    log("", [stamped(1, "- uWSGI")], "server")
    expected = [*first, *later, access(1, ONE, 500)]
    assert said(layout, capfdbinary, "--request", ONE) == expected
    assert said(layout, capfdbinary, "--request", ONE[:6]) == expected
    assert said(layout, capfdbinary, "--request", ONE + "0123456789abcdef") == expected
    assert said(layout, capfdbinary, "--request", ONE, "--kind", "access") == expected[-1:]
    assert said(layout, capfdbinary, "--request", ONE, "-n", "2") == expected[-2:]
    assert said(layout, capfdbinary, "--request", "ffff") == []


def test_a_json_record_is_found_by_its_request_alone(layout, log, capfdbinary):
    """An id in somebody's message is no record of that request."""
    lines = [as_json(1, "boom", ONE), as_json(2, f'say \\"request_id\\": \\"{ONE}\\"', TWO)]
    log("", lines)
    assert said(layout, capfdbinary, "--request", ONE) == lines[:1]


def test_several_logs_are_merged_by_time(layout, log, capfdbinary):
    log("", [stamped(1, "e1"), stamped(3, "e3")])
    log("", [access(2, ONE), access(3, TWO)], "access")
    log("", [stamped(2, "- s2"), b"printed\n"], "server")
    merged = [stamped(1, "e1"), stamped(2, "- s2"), b"printed\n", access(2, ONE), stamped(3, "e3"), access(3, TWO)]
    assert said(layout, capfdbinary, "--kind", "all") == merged
    assert said(layout, capfdbinary, "--kind", "all", "-n", "3") == merged[-3:]
    assert said(layout, capfdbinary, "--kind", "all", "--grep", ".") == merged
    assert said(layout, capfdbinary, "--kind", "error", "--kind", "server") == [*merged[:3], merged[4]]


def test_grep_gives_whole_records(layout, log, capfdbinary):
    """A traceback by any of its lines."""
    record = [stamped(1, "failed", ONE), stamped(1, "  File", ONE), stamped(1, "KeyError: 'x'", ONE)]
    log("", [stamped(0, "before"), *record, stamped(2, "after")])
    assert said(layout, capfdbinary, "--grep", "KeyError") == record


def test_the_end_of_two_gigabytes_is_there_at_once(layout, log, capfdbinary):
    """With a day's rotated gigabytes beside it, which aren't opened."""
    path = log("", [])
    os.truncate(path, 2 << 30)
    lines = [stamped(number, "the end") for number in range(60)]
    with path.open("ab") as file:
        file.write(b"\n" + b"".join(lines))
    bad = log(".1", [])
    bad.unlink()
    os.mkfifo(bad)
    before = bytes_read()
    assert said(layout, capfdbinary) == lines[-50:]
    assert bytes_read() - before < 1_000_000


def bytes_read():
    """What this process has read so far, proc(5)."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


def test_what_is_no_log_is_left_out_and_told_of(layout, log, capfdbinary):
    """Among the rotated ones; nobody is waited for."""
    log("", [stamped(9, "here")])
    os.mkfifo(log(".1", []).with_suffix(".3"))
    log(".1", []).unlink()
    path = layout.log_file("one.test", "error")
    path.with_name(path.name + ".1").symlink_to("/etc/passwd")
    path.with_name(path.name + ".2").mkdir()
    log(".4", [stamped(1, "old")])
    choice = command.choose(arguments.parser().parse_args(["logs", "one.test"]), NOON)
    assert command.run(layout, "one.test", choice)
    output = capfdbinary.readouterr()
    assert output.out.splitlines(keepends=True) == [stamped(1, "old"), stamped(9, "here")]
    assert output.err.count(b"it is left out") == 3


# -- skimming

SKIMMED = st.lists(
    st.sampled_from(
        [stamped(1, "one", ONE), stamped(1, "x one", ONE), stamped(2, "two", TWO), b"loose one\n", b"loose\n", b"\n"]
    ),
    max_size=30,
)


@given(
    SKIMMED, st.integers(1, 200), st.sampled_from(["one$", "^loose", "x.*e", "two", "^$", "(?:o|x) one", "o{2,3}s"])
)
def test_what_is_skimmed_gives_the_very_records_that_each_line_looked_at_gives(lines, block, pattern):
    """Whatever the blocks are, for every record that is shorter than an area beside it."""
    text = b"".join(lines)
    wanted = Wanted(pattern=re.compile(pattern.encode()))
    may_match = skim.test_for(wanted)
    blocks = [text[begin : begin + block] for begin in range(0, len(text), block)]
    areas = list(skim.areas(blocks))
    assert b"".join(areas) == text
    expected = [record for record in records.grouped("error", lines) if wanted.has(record)]
    found = [record for record in records.grouped("error", skim.lines(areas, may_match)) if wanted.has(record)]
    whole = [record for record in expected if len(record.lines) == 1]
    assert [record for record in found if record in whole] == whole
    hits = [line for record in expected for line in record.lines if wanted.pattern.search(line.rstrip(b"\n"))]
    assert [line for record in found for line in record.lines if wanted.pattern.search(line.rstrip(b"\n"))] == hits


@pytest.mark.parametrize(
    "pattern",
    [r"a(?!\s)", r"(?<=x)y", r"\Aa", r"a\Z", r"[^x]*y", r"a*+$", r"x\D+y", "(?s)a.b", "(?>a)", r"\Ba"],
)
def test_a_pattern_that_looks_beyond_its_line_is_looked_for_line_by_line(pattern):
    assert skim.test_for(Wanted(pattern=re.compile(pattern.encode()))) is None


def test_areas_are_bounded():
    """Of a log of one endless line too."""
    sizes = [len(area) for area in skim.areas([bytes(1 << 20)] * 20)]
    assert sum(sizes) == 20 << 20
    assert max(sizes) <= tail.LONGEST


# -- what somebody else has compressed


def unpacked(path, most=1 << 20):
    with path.open("rb") as file:
        return unpack.Unpacked(file, most).readall()


@given(st.lists(st.binary(max_size=200_000), min_size=1, max_size=3))
def test_what_gzip_has_packed_comes_out_again(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "packed.gz"
    path.write_bytes(b"".join(map(gzip.compress, parts)))
    assert unpacked(path) == b"".join(parts)


BAD = {
    "empty": (b"", "ends in the middle"),
    "cut": (gzip.compress(b"x" * 1000)[:-4], "ends in the middle"),
    "text": (b"plain text\n" * 10, "damaged"),
    "with a rest": (gzip.compress(b"x") + b"rest", "damaged"),
    "a bomb": (gzip.compress(bytes(2 << 20)), "more than is read"),
    "endless parts": (gzip.compress(b"") * 2000, "parts"),
    "an endless name": (b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (1 << 20), "ends in the middle"),
    "a wrong sum": (b"\x1f\x8b\x08\x00" + bytes(6) + zlib.compress(b"y")[2:-4] + bytes(8), "damaged"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD.keys())
def test_no_compressed_file_can_hold_or_flood_its_reader(tmp_path, data, why):
    """Cut, endless, of endless parts or with an endless name: it ends at a bound, with a word."""
    path = tmp_path / "bad.gz"
    path.write_bytes(data)
    with pytest.raises(unpack.UnpackError, match=why):
        unpacked(path)


def test_a_bomb_among_the_rotated_ones_costs_its_own_lines_alone(layout, log, capfdbinary, monkeypatch):
    monkeypatch.setattr(sources, "_MOST_UNPACKED", 1 << 20)
    log("", [stamped(9, "new")]), log(".3.gz", [stamped(1, "old")])
    log(".2.gz", [stamped(2, "first"), bytes(64 << 20), b"\n"])
    assert said(layout, capfdbinary, "--grep", "new|old") == [stamped(1, "old"), stamped(9, "new")]
    assert said(layout, capfdbinary, "-n", "1") == [stamped(9, "new")]


@pytest.mark.parametrize("options", [("--grep", "line"), ("--grep", "(?=l)ine|l"), ("-n", "3000")])
def test_what_stands_before_a_damage_is_there(layout, log, capfdbinary, options):
    """Up to the last records of a file that was cut."""
    lines = [stamped(number, f"line {os.urandom(30).hex()}") for number in range(2000)]
    path = log(".2.gz", lines)
    path.write_bytes(path.read_bytes()[:-20])
    log("", [stamped(3000, "line")])
    found = said(layout, capfdbinary, *options)
    assert found[-1] == stamped(3000, "line")
    assert len(found) > 1900
    assert b"".join(lines).startswith(b"".join(found[:-1]).removesuffix(b"\n"))


def test_little_is_held_of_a_long_compressed_file(layout, log, monkeypatch):
    """Its end, as much as could be shown."""
    monkeypatch.setattr(tail, "MOST", 10_000)
    path = log(".1.gz", [stamped(number, "x" * 50) for number in range(2000)])
    log("", [])
    source = sources.Source("error", path.with_suffix("").with_suffix(""), print, None, 0)
    source._path = path.with_name("one.test.error.log")
    source._open_older()
    found = list(source._end_of_packed(*source._older[0], Wanted()))
    source.close()
    assert 10_000 <= sum(len(record.lines[0]) for record in found) < 25_000
    assert found[0].lines == (stamped(1999, "x" * 50),)


# -- following


def test_following_begins_where_the_first_lines_end_and_goes_on_through_rotation(layout, log, capfdbinary):
    """Of two logs, by request: no line twice, none missing, a rotated file's first."""
    error, requests = log("", [stamped(1, "old", ONE)]), log("", [access(1, ONE)], "access")
    log(".1", [stamped(0, "older", ONE), stamped(0, "not this", TWO)])
    choice = command.choose(arguments.parser().parse_args(["logs", "one.test", "-f", "--request", ONE]), NOON)
    written = []
    following = Following(layout, choice, written)
    try:
        wait_for(lambda: len(written) == 3, "the first lines", 10)
        append(error, stamped(2, "new", ONE) + stamped(2, "other", TWO))
        error.rename(error.with_name(error.name + ".2"))
        log("", [stamped(3, "newer", ONE)])
        wait_for(lambda: len(written) == 5, "the error log's lines", 10)
        append(requests, access(4, ONE))
        wait_for(lambda: len(written) == 6, "the access log's line", 10)
    finally:
        following.stop()
    assert written == [
        stamped(0, "older", ONE), stamped(1, "old", ONE), access(1, ONE), stamped(2, "new", ONE),
        stamped(3, "newer", ONE), access(4, ONE),
    ]  # fmt: skip


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


class Following:
    """The records that a choice which follows gives, in a thread."""

    def __init__(self, layout, choice, written):
        self._written, self._stop = written, False
        self._thread = threading.Thread(target=self._run, args=(layout, choice))
        self._thread.start()

    def _run(self, layout, choice):
        def until_stopped(follower):
            if self._stop:
                raise KeyboardInterrupt
            return original(follower)

        original = tail.Follower.read
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tail.Follower, "read", until_stopped)
            patch.setattr(command, "_write", self._take)
            command.run(layout, "one.test", choice)

    def _take(self, chosen):
        try:
            for record in chosen:
                self._written.extend(record.lines)
        except KeyboardInterrupt:
            pass

    def stop(self):
        self._stop = True
        self._thread.join(10)
        assert not self._thread.is_alive()


# -- what is asked for


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 10), ("1m", 40), ("2012-08-24", -43200), ("2012-08-24 12:00:07", 7), ("2012-08-24T12:01", 60),
        ("12:00", 0), ("12:00:09", 9), ("2012-08-24 12:00:07,345", 7),
    ],
)  # fmt: skip
def test_a_moment_may_be_written_in_many_ways(text, seconds):
    assert when.parse(text, NOON + 100) == NOON + seconds


@pytest.mark.parametrize(
    "options",
    [
        ("--since", "yesterday"), ("--since", ""), ("--since", "1w"), ("--since", "2012-02-31"), ("--grep", "("),
        ("--request", "x"), ("--request", "ABCDEF"), ("--request", "abc"), ("--request", ""),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_for_is_told_in_one_line(options):
    with pytest.raises(BadValueError, match=re.escape(options[0][2:])) as error:
        command.choose(arguments.parser().parse_args(["logs", "one.test", *options]), NOON)
    assert "\n" not in str(error.value)


# -- colors

PAINTED = [
    ("error", stamped(1, "GET /: the application failed", ONE).decode().rstrip(), "\x1b[31mGET /: the"),
    ("error", stamped(1, "  File 'x'", ONE).decode().rstrip(), "\x1b[36m" + ONE),
    ("error", stamped(1, "KeyError: 'x'", ONE).decode().rstrip(), "\x1b[31mKeyError"),
    ("error", stamped(1, "WARNING:root:x", ONE).decode().rstrip(), "\x1b[33mWARNING\x1b[0m:root"),
    ("error", stamped(1, "Advice: x", ONE).decode().rstrip(), "\x1b[33mAdvice"),
    ("error", as_json(1, "x", ONE).decode().rstrip(), '"level": "\x1b[31mERROR\x1b[0m"'),
    ("server", stamped(1, "site refused: x").decode().rstrip(), "site \x1b[31mrefused\x1b[0m: x"),
    ("server", stamped(1, "site reloaded: x").decode().rstrip(), "site \x1b[32mreloaded"),
    ("access", access(1, ONE, 500).decode().rstrip(), '" \x1b[31m500\x1b[0m 4'),
    ("access", access(1, ONE, 200).decode().rstrip(), '" \x1b[32m200\x1b[0m 4'),
    ("access", "no access line", "no access line"),
    ("error", "x" * 50_000, "xxx"),
]


@pytest.mark.parametrize(("kind", "line", "part"), PAINTED)
def test_levels_statuses_codes_and_ids_are_in_color(kind, line, part):
    """And the text stays as it is."""
    painted = paint.paint(kind, line)
    assert part in painted
    assert re.sub("\x1b\\[[0-9;]*m", "", painted) == line


SHOW = """
import sys
from pathlib import Path
from user_wsgi_wrapper.emperor_hook import arguments
from user_wsgi_wrapper.emperor_hook.logs import command
from user_wsgi_wrapper.layout import Layout
choice = command.choose(arguments.parser().parse_args(["logs", "one.test"]), 0)
command.run(Layout(Path(sys.argv[1])), "one.test", choice)
"""


@pytest.mark.parametrize(
    ("is_terminal", "variables", "is_colored"),
    [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False), (False, {}, False)],
)
def test_only_a_terminal_that_may_gets_colors_and_none_gets_a_tenants(
    layout, log, is_terminal, variables, is_colored
):
    log("", [stamped(1, "KeyError: \x1b[7mx", ONE)])
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", **variables}
    environ.pop("NO_COLOR", None) if "NO_COLOR" not in variables else None
    done = subprocess.run(
        [sys.executable, "-c", SHOW, layout.root], env=environ, timeout=30,
        stdout=theirs if is_terminal else subprocess.PIPE,
    )  # fmt: skip
    output = os.read(ours, 65536) if is_terminal else done.stdout
    os.close(ours), os.close(theirs)
    assert (b"\x1b[31mKeyError" in output) is is_colored
    assert (b"\x1b[7m" in output) is not is_terminal
