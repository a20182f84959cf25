"""The pure parts of `serve`: access lines, colors, stamps, the plan."""

import os
import re
import socket
import time

import pytest

from tests.splitting import parse_vhost
from user_wsgi_wrapper.embedded import access_line, crew, messages, paint, plan, stamp

ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
WHEN = time.struct_time((2012, 8, 4, 10, 1, 2, 5, 217, 0), {"tm_gmtoff": -12600})


def render(request="GET / HTTP/1.1", referrer="", agent="curl/8"):
    return access_line.render("127.0.0.1", WHEN, request, 200, 15, referrer, agent, 0.0123, ID)


def test_an_access_line_is_the_hosted_sites():
    assert render() == (
        '127.0.0.1 - - [04/Aug/2012:10:01:02 -0330] "GET / HTTP/1.1" 200 15 "-" "curl/8" '
        "response-time=0.012 3f9c2a71d0b4"
    )
    assert parse_vhost(f"one.example {render()}".encode()) == (b"one.example", render().encode())


@pytest.mark.parametrize(
    "text", ['a" 500 0 "', "a\nb", "a\r\x1b[2J", "a\x9bb", "caf\xc3\xa9", "a\\b", "\x7f\x85\xff"]
)
def test_no_text_of_a_visitors_ends_its_quotes_or_its_line_or_steers_a_terminal(text):
    line = render(request=text, referrer=text, agent=text)
    assert line.isascii()
    assert line.isprintable()
    assert line.count('"') == 6


def test_color_is_for_a_terminal_that_can_and_a_person_who_may():
    able = {"TERM": "xterm"}
    assert paint.wants_color(True, able)
    assert paint.wants_color(True, {**able, "NO_COLOR": ""})
    assert not paint.wants_color(False, able)
    assert not paint.wants_color(True, {**able, "NO_COLOR": "1"})
    assert not paint.wants_color(True, {"TERM": "dumb"})
    assert not paint.wants_color(True, {})


def plain(text):
    return re.sub(r"\x1b\[\d*m", "", text)


@pytest.mark.parametrize(
    ("text", "is_red"),
    [
        ("ZeroDivisionError: division by zero", True),
        ("wsgi.Odd.NoSuchThingError", True),
        ("GET /x: the application failed in its call", True),
        ("the site could not be loaded: /a/wsgi.py: it defines no 'application'", True),
        ("hello, there is no Error: here", False),
        ('  File "/a/wsgi.py", line 5, in application', False),
        ("", False),
    ],
)
def test_a_failures_own_words_are_red_and_the_text_stays(text, is_red):
    line = f"2012-08-24 10:11:12,345 [{ID[:12]}] {text}"
    painted = paint.error_line(line)
    assert plain(painted) == line
    assert ("\x1b[31m" in painted) == is_red


@pytest.mark.parametrize("line", ["", "Fatal Python error: Segmentation fault", "from C", '{"level": "ERROR"}'])
def test_a_line_without_a_stamp_is_left_alone(line):
    assert paint.error_line(line) == line
    assert paint.access_line(line) == line


@pytest.mark.parametrize(("status", "color"), [("200", "32"), ("304", "36"), ("404", "33"), ("500", "31")])
def test_an_access_lines_status_has_its_color(status, color):
    line = render(agent="a 500 b").replace(" 200 ", f" {status} ")
    painted = paint.access_line(line)
    assert plain(painted) == line
    assert f"\x1b[{color}m{status}\x1b[0m" in painted


def test_two_saves_differ_in_their_stamps_also_with_one_size_and_time(tmp_path):
    path = tmp_path / "wsgi.py"
    stamps = set()
    for text in ("first", "other", "third"):
        path.write_text(text)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        stamps.add(stamp.settle(str(path)))
    assert len(stamps) == 3


def test_a_settled_stamp_is_of_a_save_that_no_later_one_can_be_taken_for(tmp_path):
    path = tmp_path / "wsgi.py"
    path.write_text("one")
    stamp.settle(str(path))
    assert time.time() - path.stat().st_ctime >= stamp.SETTLING - 0.001


def test_a_missing_file_has_a_stamp_too_and_is_not_waited_for(tmp_path):
    assert stamp.read(str(tmp_path / "none")) is None
    assert stamp.settle(str(tmp_path / "none")) is None


def test_a_plan_goes_to_a_worker_and_back(tmp_path):
    odd = tmp_path / "a=b:c 'd\"\n\udcff"
    odd.mkdir()
    (odd / "wsgi.py").touch()
    made = plan.make(str(odd / "wsgi.py"), 8000, str(odd), str(tmp_path / "e.log"), 2)
    assert plan.Plan.from_json(made.to_json()) == made
    settings = made.settings({"SITE_DEBUG": "1", "SITE_LOG_FORMAT": "json", "SITE_DOMAIN": "other.example"})
    assert (settings.domain, settings.debug, settings.log_format) == ("localhost", True, "json")
    assert settings.static == (("/static", str(odd)),)
    assert settings.error_page == str(odd / "500.html")


def test_messages_come_whole_however_long_and_the_end_of_them_is_told():
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        assert list(messages.receive(ours)) == []
        messages.send(its, messages.BEGIN, ID, "GET", "/\udcff\n\u2028")
        messages.send(its, messages.END, ID, "x" * 1_000_000)
        begin, end = messages.receive(ours)
        assert begin == [messages.BEGIN, ID, "GET", "/\udcff\n\u2028"]
        assert end[:2] == [messages.END, ID]
        assert end[2].startswith("x" * 1000)
        its.close()
        assert list(messages.receive(ours)) == [[messages.SILENT]]


def test_nobody_is_harmed_when_the_supervisor_is_gone():
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    messages.send(its, messages.READY)
    its.close()
    messages.send(its, messages.READY)


def test_how_a_process_ended_is_said_in_words():
    assert crew.cause(3) == "exited with status 3"
    assert crew.cause(-11) == "was killed by SIGSEGV"
    assert crew.cause(-63) == "was killed by signal 63"
