"""A line of JSON a key and hour: requests exactly, the rest exactly up to 2,500 lines a second, sampled above."""

import json

import pytest

from log_splitter import hourly
from log_splitter.hourly import Hourly
from tests.splitting import Splitting


def text(status=200, size="5", request="GET / HTTP/1.1", agent="curl", time=" response-time=0.100 3f9c"):
    return f'1.2.3.4 - - [24/Aug/2012:10:11:12 +0000] "{request}" {status} {size} "-" "{agent}"{time}\n'.encode()


class Clock:
    """A clock that is set."""

    def __init__(self):
        self.now = 1345803072.0  # 2012-08-24T10:11:12Z

    def __call__(self):
        return self.now


def taken(sums):
    return {key: json.loads(line) for key, line in sums.take()}


def one(*texts, is_json=False):
    sums = Hourly(is_json, Clock())
    sums.add(b"a.com", list(texts))
    return taken(sums)[b"a.com"]


def test_sums_and_percentiles():
    texts = [text(status, time=f" response-time={number / 1000:.3f} id") for number, status in
             enumerate([200] * 50 + [304] * 30 + [404] * 15 + [500] * 5)]  # fmt: skip
    found = one(*texts)
    assert found["hour"] == "2012-08-24T10:00:00Z"
    assert (found["key"], found["requests"], found["measured"], found["bytes"]) == ("a.com", 100, 100, 500)
    assert found["status"] == {"2xx": 50, "3xx": 30, "4xx": 15, "5xx": 5}
    assert found["p50"] == pytest.approx(0.049, rel=0.03)
    assert found["p95"] == pytest.approx(0.094, rel=0.03)


@pytest.mark.parametrize(
    ("line", "status", "size", "seconds"),
    [
        (text(301, "-"), "3xx", 0, 0.1),
        (text(200, "7", time=""), "2xx", 7, None),
        (text(200, "7", time=" response-time=0.000 x"), "2xx", 7, 0.0),
        (text(200, "7", time=" response-time=250ms"), "2xx", 7, 0.25),
        (text(200, "7", time=" response-time=1500us"), "2xx", 7, 0.0015),
        (text(200, "7", time=" response-time=12 x"), "2xx", 7, 12.0),
        # what a visitor puts into a request or a browser's name doesn't count
        (text(404, "7", request=r"GET /\" 200 999 \" HTTP/1.1"), "4xx", 7, 0.1),
        (text(404, "7", agent="response-time=99"), "4xx", 7, 0.1),
        (
            text(200, "9" * 400, time=" response-time=" + "9" * 400),
            "2xx",
            999999999999999,
            1e20,
        ),
    ],
)
def test_what_is_read_from_a_line(line, status, size, seconds):
    found = one(line)
    assert found["status"] == {status: 1}
    assert found["bytes"] == size
    assert found["p50"] == (seconds if seconds in (None, 0.0) else pytest.approx(seconds, rel=0.03))


@pytest.mark.parametrize("line", [b"\n", b"x\n", b'" 999 5 \n', b'" 200\n', b"\xff" * 100 + b"\n"])
def test_a_line_that_says_nothing_counts_as_a_request_alone(line):
    found = one(line)
    assert (found["requests"], found["measured"], found["status"]) == (1, 0, {})
    assert found["bytes"] is found["p50"] is found["p95"] is None


def test_json_lines_are_read_by_nginxs_names():
    line = b'{"host": "a.com", "status": 404, "body_bytes_sent": 12, "request_time": "0.250"}\n'
    found = one(line, is_json=True)
    assert (found["status"], found["bytes"]) == ({"4xx": 1}, 12)
    assert found["p50"] == pytest.approx(0.25, rel=0.03)


def fed(sums, batches):
    """Batches as the splitter gives them: {key: lines}."""
    for groups in batches:
        sums.begin(sum(map(len, groups.values())))
        for key, texts in groups.items():
            sums.add(key, texts)
    return taken(sums)


def test_above_a_rate_lines_are_sampled_and_the_sums_still_tell():
    found = fed(Hourly(clock=Clock()), [{b"a.com": [text()] * 20_000}] * 10)[b"a.com"]
    assert found["requests"] == 200_000
    assert 450 < found["measured"] < 5_000
    assert found["status"]["2xx"] == pytest.approx(200_000, rel=0.3)
    assert found["bytes"] == 5 * found["status"]["2xx"]


def test_a_sample_favors_no_key_and_no_line():
    """What is read of a busy key must not cost the others their numbers, nor a key's slow requests theirs."""
    groups = {b"busy.com": [text()] * 9_000, **{b"k%d.com" % n: [text(404, "7")] for n in range(1_000)}}
    mixed = [text(time=f" response-time=0.{n % 1000:03d} id") for n in range(10_000)]
    found = fed(Hourly(clock=Clock()), [groups])
    rare = [found[b"k%d.com" % n] for n in range(1_000)]
    assert sum(one["requests"] for one in rare) == 1_000
    assert sum(one["status"].get("4xx", 0) for one in rare) == pytest.approx(1_000, rel=0.2)
    found = fed(Hourly(clock=Clock()), [{b"mixed.com": mixed}])[b"mixed.com"]
    assert found["measured"] == 500
    assert found["p50"] == pytest.approx(0.5, rel=0.05)
    assert found["p95"] == pytest.approx(0.95, rel=0.05)


def test_after_a_flood_every_line_is_read_again():
    sums = Hourly(clock=Clock())
    fed(sums, [{b"a.com": [text()] * 100_000}] * 3)
    sums._filled -= 1.0  # a second later
    found = fed(sums, [{b"a.com": [text()] * 50}])[b"a.com"]
    assert (found["requests"], found["measured"]) == (50, 50)


def test_an_hour_ends_and_the_next_begins_at_nothing():
    clock = Clock()
    sums = Hourly(clock=clock)
    sums.add(b"a.com", [text()])
    assert not sums.is_over
    clock.now += 3600
    assert sums.is_over
    assert taken(sums)[b"a.com"]["hour"] == "2012-08-24T10:00:00Z"
    assert not sums.is_over
    assert taken(sums) == {}


def test_keys_are_bounded(monkeypatch):
    monkeypatch.setattr(hourly, "_MOST_KEYS", 2)
    sums = Hourly(clock=Clock())
    for number in range(5):
        sums.add(b"k%d.com" % number, [text()])
    assert len(taken(sums)) == 2


def test_the_file_lies_beside_the_log_and_its_lines_arent_counted(tmp_path):
    with Splitting(tmp_path / "logs", "--statistics") as splitting:
        for number in range(300):
            splitting.write(b"k%d.com|" % (number % 3) + text())
        splitting.write(b"..|x\n")
        counters = splitting.end()
    assert counters["written_lines"] == 301
    assert counters["opened"] == 4
    for number in range(3):
        path = splitting.log(f"k{number}.com").with_name(f"k{number}.com.access.log.hourly.json")
        found = json.loads(path.read_bytes())
        assert (found["key"], found["requests"], found["bytes"]) == (f"k{number}.com", 100, 500)


def test_a_link_in_its_place_is_refused_and_the_log_is_written(tmp_path):
    folder = tmp_path / "logs/a.com"
    folder.mkdir(parents=True)
    (folder / "a.com.access.log.hourly.json").symlink_to(tmp_path / "outside")
    with Splitting(tmp_path / "logs", "--statistics") as splitting:
        splitting.write(b"a.com|" + text())
        counters = splitting.end()
    assert counters["written_lines"] == 1
    assert counters["dropped"] == {}
    assert not (tmp_path / "outside").exists()
    assert "statistics of a.com" in splitting.said()
