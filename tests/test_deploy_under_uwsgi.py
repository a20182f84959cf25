"""New versions of a site under a real uWSGI: taken up beside the old one, or refused, and never a request lost."""

import os
import re
import shutil
import signal
import threading
import time

import pytest

from tests.bare_uwsgi import wait_for
from tests.vassal_like import BAD, GOOD, Vassal

ONE, TWO, THREE = (GOOD.format(version=version) for version in ("one", "two", "three"))
SLOW = """\
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("begun", "w").close()
        time.sleep(4)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"one"]
"""


@pytest.fixture(params=[1, 8], ids=["1 thread", "8 threads"])
def threads(request):
    return request.param


class Visitors:
    """Ask again and again, several at once, until told to stop; keeps what they got and how long it took."""

    def __init__(self, vassal, count=3):
        self.answers = []
        self._vassal, self._is_over = vassal, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self):
        while not self._is_over.is_set():
            began = time.monotonic()
            answer = self._vassal.get("/")
            self.answers.append((answer.status, answer.body.split()[:1], time.monotonic() - began))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc_info):
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def have_refused(vassal, text):
    """Save code that is refused, and wait until the worker that tried it is gone."""
    vassal.save(text)
    vassal.wait_for_event("refused")
    wait_for(lambda: len(vassal.workers()) == 1, "the end of the worker that tried it")


@pytest.mark.parametrize("processes", [1, 2])
def test_no_request_fails_while_a_new_version_is_taken_up(threads, processes):
    with Vassal(text=ONE, threads=threads, processes=processes) as vassal:
        assert vassal.version() == "one"
        with Visitors(vassal) as visitors:
            vassal.wait_for_event("started", processes)
            wait_for(lambda: len(visitors.answers) > 20)
            vassal.save(TWO)
            vassal.wait_for_event("reloaded", processes)
            wait_for(lambda: len(vassal.workers()) == processes, "the old workers' end")
        assert {status for status, _, _ in visitors.answers} == {200}
        assert {body[0] for _, body, _ in visitors.answers} == {b"one", b"two"}
        assert {vassal.version() for _ in range(20)} == {"two"}


def test_ten_saves_in_a_row_lose_no_request_and_end_on_the_last(threads):
    with Vassal(text=ONE, threads=threads, processes=2) as vassal, Visitors(vassal) as visitors:
        for number in range(10):
            vassal.save(GOOD.format(version=f"v{number}"))
            time.sleep(0.3)
        wait_for(lambda: {vassal.version() for _ in range(20)} == {"v9"}, "the last version everywhere", 40)
        wait_for(lambda: len(vassal.workers()) == 2, "the old workers' end")
        assert {status for status, _, _ in visitors.answers} == {200}


def test_a_second_save_within_one_second_is_taken_up():
    with Vassal(text=ONE) as vassal:
        vassal.version()
        vassal.wait_for_event("started")
        second = int(time.time()) + 1
        vassal.save(TWO)
        os.utime(vassal.file, (second, second))
        vassal.wait_for_event("reloaded")
        vassal.save(THREE)
        os.utime(vassal.file, ns=(second * 10**9 + 5000, second * 10**9 + 5000))
        wait_for(lambda: vassal.version() == "three", "the second save")


def test_a_version_that_is_dated_back_is_taken_up():
    with Vassal(text=ONE) as vassal:
        vassal.version()
        vassal.save(TWO)
        os.utime(vassal.file, (1e9, 1e9))
        wait_for(lambda: vassal.version() == "two", "the older file")


def test_a_request_in_flight_is_finished_by_the_old_worker(threads):
    with Vassal(text=SLOW, threads=threads) as vassal:
        answers = []
        visitor = threading.Thread(target=lambda: answers.append(vassal.get("/slow")))
        visitor.start()
        wait_for((vassal.www / "begun").exists)
        vassal.save(TWO)
        wait_for(lambda: vassal.version() == "two", "the new version")
        assert not answers, "the new version didn't wait for the old one's requests"
        visitor.join()
        assert answers[0].status == 200 and answers[0].body == b"one"
        wait_for(lambda: len(vassal.workers()) == 1, "the old worker's end")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_broken_version_is_refused_and_the_old_one_goes_on(threads, processes):
    with Vassal(text=ONE, threads=threads, processes=processes) as vassal, Visitors(vassal) as visitors:
        vassal.wait_for_event("started", processes)
        vassal.save(BAD)
        vassal.wait_for_event("refused")
        wait_for(lambda: len(vassal.workers()) == processes, "the end of the worker that tried it")
        assert {vassal.version() for _ in range(20)} == {"one"}
        log = vassal.log()
        assert log.count("ZeroDivisionError: division by zero\n") == 1
        assert re.search(
            r"wsgi\.py: running it raised ZeroDivisionError: division by zero; the version of \d{4}-\d\d-\d\d "
            r"\d\d:\d\d:\d\d,\d{3} goes on serving, as it has since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\n",
            log,
        )
        assert "\nrefused " in vassal.deploy()
        assert "ZeroDivisionError" in vassal.deploy()
        vassal.save(TWO)
        vassal.wait_for_event("reloaded", processes)
        wait_for(lambda: {vassal.version() for _ in range(20)} == {"two"}, "the mended version")
        assert "refused" not in vassal.deploy()
    assert {status for status, _, _ in visitors.answers} == {200}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP], ids=["kill", "crash", "end"])
def test_the_good_version_is_served_by_a_worker_that_follows_one_that_died(how):
    with Vassal(text=ONE) as vassal:
        vassal.version()
        vassal.wait_for_event("started")
        wait_for(vassal.kept)
        have_refused(vassal, BAD)
        (worker,) = vassal.workers()
        os.kill(worker, how)
        vassal.wait_for_event("kept")
        assert vassal.version() == "one"
        assert vassal.log().count("ZeroDivisionError: division by zero\n") == 1


def test_the_good_version_is_served_by_a_server_that_starts_anew():
    """The site went idle after its file was broken, and wakes."""
    with Vassal(text=ONE) as vassal:
        vassal.version()
        wait_for(vassal.kept)
        vassal.save(BAD)
        vassal.wait_for_event("refused")
        vassal.start_anew()
        assert vassal.version() == "one"
        assert vassal.codes()[-1] == "kept"
        vassal.save(TWO)
        wait_for(lambda: vassal.version() == "two", "the mended version")


def test_a_file_that_was_broken_while_the_site_slept_is_told_of_once_and_the_good_version_served():
    with Vassal(text=ONE) as vassal:
        vassal.version()
        wait_for(vassal.kept)
        vassal.stop()
        vassal.save(BAD)
        vassal.start_anew()
        assert vassal.version() == "one"
        assert vassal.log().count("ZeroDivisionError: division by zero\n") == 1
        assert "the kept version of " in vassal.log()


def test_a_kept_version_has_the_modules_that_it_was_loaded_with_and_shows_them_in_tracebacks(tmp_path):
    www = tmp_path / "www"
    package = www / "parts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "first.py").write_text("def fail():\n    raise ValueError('kept')  # of the first\n")
    (package / "second.py").touch()
    for path in package.iterdir():
        os.utime(path, (1e9, 1e9))
    (www / "wsgi.py").write_text(
        "import parts.first\nfrom parts import second\n\n"
        "def application(environ, start_response):\n    parts.first.fail()\n"
    )
    with Vassal(www) as vassal:
        vassal.wait_for_event("started")
        wait_for(lambda: "parts.second" in vassal.kept(), "the copy")
        package = vassal.www / "parts"
        shutil.rmtree(package)
        vassal.start_anew()
        assert vassal.get("/", request_id="0123456789abcdef").status == 500
        assert vassal.records("0123456789ab")[-4:] == [
            f'  File "{package}/first.py", line 2, in fail',
            "    raise ValueError('kept')  # of the first",
            "    ^^^^^^^^^^^^^^^^^^^^^^^^",
            "ValueError: kept",
        ]


def test_a_site_that_never_worked_shows_the_error_page_until_it_is_mended(threads):
    with Vassal(text=BAD, threads=threads) as vassal:
        assert vassal.get("/").status == 500
        vassal.save(BAD + "# still\n")
        wait_for(lambda: vassal.codes().count("broken") == 2, "the second try")
        assert vassal.get("/").status == 500
        vassal.save(ONE)
        wait_for(lambda: vassal.version() == "one", "the mended version")
        assert vassal.log().count("Traceback") == 2


@pytest.mark.parametrize(
    ("preflight", "text", "is_refused"),
    [("compile", "def", True), ("compile", BAD, False), ("off", "def", False), ("off", BAD, False)],
)
def test_what_is_refused_is_for_the_site_to_say(preflight, text, is_refused):
    with Vassal(text=ONE, preflight=preflight) as vassal:
        vassal.version()
        wait_for(vassal.kept)
        vassal.save(text)
        vassal.wait_for_event("refused" if is_refused else "broken")
        wait_for(lambda: len(vassal.workers()) == 1)
        assert vassal.get("/").status == (200 if is_refused else 500)
        vassal.start_anew()
        assert vassal.get("/").status == (200 if is_refused else 500)


def test_a_version_that_ends_its_process_is_refused_after_a_second_try():
    with Vassal(text=ONE) as vassal:
        vassal.version()
        have_refused(vassal, "import os\nos.kill(os.getpid(), 11)\n")
        assert vassal.version() == "one"
        assert "killed by signal 11 (SIGSEGV)" in vassal.log()


def test_a_version_whose_load_doesn_t_end_is_refused_when_its_time_is_over():
    with Vassal(text=ONE, more=["env = SITE_LOAD_LIMIT=1"]) as vassal:
        vassal.version()
        have_refused(vassal, "import time\ntime.sleep(100)\n")
        assert vassal.version() == "one"
        assert "it was not done after the 1 s that it may take" in vassal.log()


def test_files_that_an_old_worker_has_not_written_out_are_written_when_it_ends():
    text = "kept = open('out', 'w')\nkept.write('the last words')\n" + ONE
    with Vassal(text=text) as vassal:
        vassal.version()
        vassal.save(TWO)
        wait_for(lambda: vassal.version() == "two")
        wait_for(lambda: (vassal.www / "out").read_text() == "the last words", "the file's content")
        wait_for(lambda: len(vassal.workers()) == 1)


def test_the_server_log_tells_the_site_s_life():
    with Vassal(text=ONE) as vassal:
        vassal.version()
        vassal.save(TWO)
        vassal.wait_for_event("reloaded")
        wait_for(lambda: len(vassal.workers()) == 1)
        os.kill(*vassal.workers(), signal.SIGKILL)
        vassal.wait_for_event("started", 2)
        assert vassal.codes() == ["started", "reloaded", "killed", "started"]
        texts = dict(vassal.events())
        assert re.fullmatch(
            rf"worker \d \(pid \d+\) serves {vassal.file} of \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}}; "
            r"pid \d+ ends when its requests are done",
            texts["reloaded"],
        )
        assert re.fullmatch(r"worker \d \(pid \d+\): killed by signal 9 \(SIGKILL\)", texts["killed"])


def test_a_folder_without_room_for_what_workers_share_is_told_of_and_the_site_serves():
    with Vassal(text=ONE, more=["env = SITE_BOX_FOLDER=/nonexistent"]) as vassal:
        assert vassal.version() == "one"
        assert "/nonexistent can't be written to: new code is not taken up" in vassal.log()


def test_a_version_that_was_saved_while_it_was_loaded_is_not_kept():
    """Nobody knows which of the two is in memory."""
    text = "import os\nos.utime(__file__)\n" + ONE
    with Vassal(text=text) as vassal:
        assert vassal.version() == "one"
        vassal.save(TWO)
        wait_for(lambda: vassal.version() == "two")
        wait_for(lambda: "wsgi.py" in vassal.kept())
        assert (vassal.folder / "keep" / "files").iterdir()
        kept = [path.read_text() for path in (vassal.folder / "keep" / "files").iterdir()]
        assert kept == [TWO]


def test_a_refusal_that_can_t_be_noted_is_one_record_and_the_error_page():
    """Else each worker would try the file, and make room for the next that does."""
    with Vassal(text=ONE) as vassal:
        vassal.version()
        wait_for(vassal.kept)
        vassal.stop()
        note = vassal.folder / "keep" / "deploy"
        note.unlink()
        note.mkdir()
        vassal.save(BAD)
        vassal.start_anew()
        assert [vassal.get("/").status for _ in range(20)] == [500] * 20
        assert vassal.log().count("Traceback") == 1
        assert "unkept" in vassal.codes()


def test_a_kept_version_that_was_cleared_away_is_done_without():
    with Vassal(text=ONE) as vassal:
        vassal.version()
        wait_for(vassal.kept)
        vassal.save(BAD)
        vassal.wait_for_event("refused")
        shutil.rmtree(vassal.folder / "keep" / "files")
        vassal.start_anew()
        assert vassal.get("/").status == 500
        vassal.save(TWO)
        wait_for(lambda: vassal.version() == "two", "the mended version")
