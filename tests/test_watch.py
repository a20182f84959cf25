"""The watch over a worker: loads that take long, requests about to be killed. Deaths: see test_worker_deaths."""

import sys
import threading
import time
from wsgiref.util import setup_testing_defaults

import pytest

from tests.bare_uwsgi import wait_for
from user_wsgi_wrapper.runtime import request_watch, watch
from user_wsgi_wrapper.runtime.black_box import file_state, open_box
from user_wsgi_wrapper.runtime.capture import Capture, request_of
from user_wsgi_wrapper.runtime.error_log import ErrorLog
from user_wsgi_wrapper.runtime.error_page import ErrorPage
from user_wsgi_wrapper.runtime.post_mortem import Dump
from user_wsgi_wrapper.runtime.request_watch import RequestWatch, format_stack
from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending
from user_wsgi_wrapper.runtime.watch import Watch


class Told(list):
    def __call__(self, message, trace, advice):
        self.append((message, trace, advice))


@pytest.fixture
def told():
    return Told()


def make(told, tmp_path, chores=lambda: False):
    path = str(tmp_path / "wsgi.py")
    return Watch(path, file_state(path), told, request_of, None, None, 0, chores)


def stand_here(until):
    until.wait(20)


def test_a_load_that_takes_long_is_told_once_with_the_line_it_stands_at(told, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "SLOW_LOAD", 0.1)
    watching = make(told, tmp_path)
    watching.start()
    go_on = threading.Event()
    threading.Thread(target=lambda: (wait_for(lambda: told, "the note"), time.sleep(0.3), go_on.set())).start()
    stand_here(go_on)
    watching.loaded()
    [(message, trace, advice)] = told
    assert advice == ""
    assert message == f"the site is still being loaded after 0 s; {tmp_path}/wsgi.py stands at"
    assert trace.startswith("Stack (most recent call last):\n")
    assert "in stand_here\n    until.wait(20)" in trace
    assert "/runtime/" not in trace
    assert "importlib" not in trace


def test_a_load_in_time_is_not_told(told, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "SLOW_LOAD", 0.1)
    watching = make(told, tmp_path)
    watching.start()
    watching.loaded()
    time.sleep(0.3)
    assert told == []


def test_chores_are_done_during_the_load_and_after_it(told, tmp_path):
    done = []
    watching = make(told, tmp_path, lambda: bool(done.append(1)))
    watching.start()
    wait_for(lambda: len(done) > 2, "chores during the load")
    watching.loaded()
    now = len(done)
    wait_for(lambda: len(done) > now + 1, "chores after the load")


class Busy:
    """A request that stands still in a thread of its own, under guard."""

    def __init__(self, tmp_path):
        log = ErrorLog(str(tmp_path / "error.log"), "one.example")
        pending = Pending(log, request_of)
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.capture = Capture(
            self._app, log, ErrorStream(pending, "<wsgi.errors>", shared=True), pending, ErrorPage("/nonexistent")
        )
        self.thread = threading.Thread(target=self._ask)

    def _app(self, environ, start_response):
        self.inside.set()
        stand_here(self.go_on)
        start_response("200 OK", [])
        return []

    def _ask(self):
        environ = {}
        setup_testing_defaults(environ)
        self.capture.respond(environ, lambda *_: None)

    def __enter__(self):
        self.thread.start()
        self.inside.wait(10)
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self.thread.join()


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A worker's box, without the timer of faulthandler's, of which a process has but one."""
    monkeypatch.setattr(request_watch.faulthandler, "dump_traceback_later", lambda *_, **__: None)
    made = open_box(str(tmp_path), "box")
    made.begin_load((0, 0, 0), 0)
    return made


def test_a_request_is_reckoned_from_the_look_before_the_one_that_found_it(tmp_path, box):
    watching = RequestWatch(box, 60, request_of, 100.0)
    with Busy(tmp_path):
        assert watching.look(106.0) == 6.0  # a tenth of harakiri
        assert watching.look(156.0) == 3.0  # what is left of 60 s after 100, but for the margin
    assert watching.look(159.0) == 6.0


def test_the_stack_of_a_request_about_to_be_killed_is_kept_and_one_that_ended_is_forgotten(tmp_path, box):
    watching = RequestWatch(box, 20, request_of, 100.0)

    def kept():
        return Dump(open_box(str(tmp_path), "box").remains.dump)

    with Busy(tmp_path) as busy:
        watching.look(110.0)
        assert kept().stack(busy.thread.ident) == ""
        watching.look(119.5)
        assert "in stand_here\n    until.wait(20)" in kept().stack(busy.thread.ident)
    watching.look(121.0)
    assert kept().stack(busy.thread.ident) == ""


def test_a_stack_is_printed_as_python_prints_one():
    def inner():
        return format_stack(sys._getframe())

    lines = inner().splitlines()
    assert lines[-2].endswith(", in inner")
    assert lines[-1] == "    return format_stack(sys._getframe())"
