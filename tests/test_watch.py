"""The watch over a worker: loads that take long, requests about to be killed. Deaths: see test_worker_deaths."""

import sys
import threading
import time
from wsgiref.util import setup_testing_defaults

import pytest

from tests.bare_uwsgi import wait_for
from user_wsgi_wrapper.runtime import watch
from user_wsgi_wrapper.runtime.black_box import file_state, open_box
from user_wsgi_wrapper.runtime.capture import Capture, request_of
from user_wsgi_wrapper.runtime.error_log import ErrorLog
from user_wsgi_wrapper.runtime.error_page import ErrorPage
from user_wsgi_wrapper.runtime.post_mortem import Dump
from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending
from user_wsgi_wrapper.runtime.watch import Watch, format_stack


class Told(list):
    def __call__(self, message, trace, advice):
        self.append((message, trace, advice))


@pytest.fixture
def told():
    return Told()


def make(told, tmp_path, box=None, harakiri=0):
    path = str(tmp_path / "wsgi.py")
    return Watch(path, file_state(path), told, request_of, box, None, harakiri)


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
    before = threading.active_count()
    time.sleep(0.3)
    assert told == []
    assert threading.active_count() == before


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


def test_a_request_is_reckoned_from_the_look_before_the_one_that_found_it(told, tmp_path):
    watching = make(told, tmp_path, harakiri=30)
    with Busy(tmp_path) as busy:
        for looked, now in ((100.0, 110.0), (110.0, 120.0)):
            assert watching._note_requests(sys._current_frames(), looked, now) == {busy.thread.ident: 130.0}
    assert watching._note_requests(sys._current_frames(), 120.0, 130.0) == {}


def test_the_stack_of_a_request_about_to_be_killed_is_kept_and_one_that_ended_is_forgotten(
    told, tmp_path, monkeypatch
):
    box = open_box(str(tmp_path), "box")
    box.begin_load((0, 0, 0), 0)
    pauses = iter([0.0, 0.0])

    class Enough(Exception):
        pass

    def sleep(_seconds):
        try:
            next(pauses)
        except StopIteration:
            raise Enough from None

    now = [0.0]
    monkeypatch.setattr(watch, "sleep", sleep)
    monkeypatch.setattr(watch, "monotonic", lambda: now.__setitem__(0, now[0] + 10) or now[0])
    monkeypatch.setattr(watch.faulthandler, "dump_traceback_later", lambda *_a, **_k: None)
    watching = make(told, tmp_path, box, harakiri=20)
    with Busy(tmp_path) as busy:
        with pytest.raises(Enough):
            watching._watch_requests(box)
        kept = Dump(open_box(str(tmp_path), "box").remains.dump)
        assert "in stand_here\n    until.wait(20)" in kept.stack(busy.thread.ident)
    pauses = iter([])
    with pytest.raises(Enough):
        watching._watch_requests(box)
    assert open_box(str(tmp_path), "box").remains.dump == ""


def test_a_stack_is_printed_as_python_prints_one():
    def inner():
        return format_stack(sys._getframe())

    lines = inner().splitlines()
    assert lines[-2].endswith(", in inner")
    assert lines[-1] == "    return format_stack(sys._getframe())"
