"""The whole runtime in one plain Python process: what any WSGI server that imports the entry gets."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.runtime.settings import Settings, parse_static

ROOT = Path(__file__).resolve().parent.parent
GOOD = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'good']\n"
IMPORT = "from user_wsgi_wrapper.user_wsgi_wrapper import application\n"
ASK = """
from wsgiref.util import setup_testing_defaults
def ask(**environ):
    setup_testing_defaults(environ)
    result = application(environ, lambda status, headers, exc_info=None: print(status))
    print(b"".join(result).decode())
    getattr(result, "close", int)()
"""


@pytest.fixture
def run(tmp_path):
    """Runs a program beside a tenant's files in a process of its own, since the runtime takes over its streams."""

    def run(program, files=None, **settings):
        for name, text in (files or {"wsgi.py": GOOD}).items():
            (tmp_path / name).write_text(text)
        environ = {
            "PATH": os.environ["PATH"], "SITE_WSGI_FILE": str(tmp_path / "wsgi.py"), "SITE_DOMAIN": "one.example",
            "SITE_ERROR_LOG": str(tmp_path / "error.log"), "SITE_STATIC": "", "TMPDIR": str(tmp_path), **settings,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r})\n" + textwrap.dedent(program)],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=30,
        )

    run.log = lambda: (tmp_path / "error.log").read_text()
    return run


def test_settings_are_those_of_the_vassal_with_the_defaults_of_inside():
    settings = Settings.from_environ({})
    assert (settings.wsgi_file, settings.error_page) == (inside.WSGI_FILE, inside.ERROR_PAGE)
    assert settings.error_log == inside.log_file(settings.domain, "error")
    assert settings.static == ((inside.STATIC_URL, inside.STATIC_DIR),)
    settings = Settings.from_environ(
        {
            "SITE_DOMAIN": "a.b",
            "SITE_LOG_FORMAT": "json",
            "SITE_STATIC": "",
            "SITE_DEBUG": "1",
            "SITE_CHECK_STATIC": "/c",
        }
    )
    assert settings.error_log == "/var/log/a.b/a.b.error.log"
    assert (settings.log_format, settings.static, settings.debug, settings.check_static) == ("json", (), True, "/c")


def test_static_pairs_are_separated_by_colons():
    assert parse_static("/s=/var/www/s:/m=/home/A/m") == (("/s", "/var/www/s"), ("/m", "/home/A/m"))
    assert parse_static("nothing:=/x:/y=") == ()


def test_index_files_and_dotfiles_are_shown_where_the_site_asks_for_them(run, tmp_path):
    folder = tmp_path / "files"
    (folder / ".git").mkdir(parents=True)
    for name in ("index.html", "start.htm", ".hidden", ".env", ".git/config"):
        (folder / name).write_text(name)
    program = "".join(f"ask(PATH_INFO='/static/{name}')\n" for name in ("", ".hidden", ".env", ".git/config"))
    setting = {"SITE_STATIC": f"/static={folder}"}
    assert run(IMPORT + ASK + program, **setting).stdout == "200 OK\ngood\n" * 4
    setting |= {"SITE_STATIC_INDEX": "start.htm:index.html", "SITE_STATIC_DOTFILES": "1"}
    done = run(IMPORT + ASK + program, **setting)
    assert done.stdout == "200 OK\nstart.htm\n200 OK\n.hidden\n" + "200 OK\ngood\n" * 2


def test_the_entry_is_an_application_for_any_server(run):
    done = run(IMPORT + ASK + "ask()")
    assert (done.stdout, done.stderr, done.returncode) == ("200 OK\ngood\n", "", 0)
    assert run.log() == ""


def test_a_tenants_modules_do_not_reach_ours_and_are_found_afterwards(run):
    names = ["traceback", "linecache", "tokenize", "textwrap", "select", "struct", "threading", "json", "logging"]
    files = {f"{name}.py": "raise SystemExit('taken')" for name in names}
    files["wsgi.py"] = GOOD + "import helper\n"
    files["helper.py"] = ""
    done = run(
        "sys.path.insert(0, '')\nbefore = sys.path[:]\n" + IMPORT + "assert sys.path == before\n" + ASK + "ask()",
        files,
    )
    assert (done.stdout, done.stderr) == ("200 OK\ngood\n", "")


def test_only_the_standard_library_and_our_own_names_are_loaded(run):
    program = """
        before = set(sys.modules)
        from user_wsgi_wrapper.user_wsgi_wrapper import application
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(new - set(sys.stdlib_module_names)))
        print(sorted(new & {"logging", "json", "dataclasses", "pathlib", "typing", "asyncio", "socket"}))
    """
    assert run(program).stdout == "['user_wsgi_wrapper', 'wsgi']\n[]\n"


def test_descriptor_2_is_the_error_log_during_the_load_and_from_the_first_request_on(run):
    files = {"wsgi.py": "import os\nos.write(2, b'loading\\n')\n" + GOOD}
    done = run(IMPORT + ASK + "import os\nos.write(2, b'between\\n')\nask()\nos.write(2, b'serving\\n')", files)
    assert done.stderr == "between\n"
    lines = [line[24:] for line in run.log().splitlines()]
    assert lines == ["[-] child or C code: loading", "[-] child or C code: serving"]


def test_the_hooks_record_what_nobody_caught(run):
    program = textwrap.dedent("""
        import threading
        def fail():
            print("first,", end="", file=sys.stderr)
            raise LookupError("uncaught")
        thread = threading.Thread(target=fail, name="t1")
        thread.start()
        thread.join()
        threading.Thread(target=sys.exit).start()
        fail()
    """)
    done = run(IMPORT + program)
    assert (done.stdout, done.stderr) == ("", "")
    lines = [re.sub(r"^\S+ \S+ \[-\] ", "", line) for line in run.log().splitlines()]
    assert [line for line in lines if not line.startswith(" ")] == [
        "thread t1: first,", "the thread t1 died", "Traceback (most recent call last):", "LookupError: uncaught",
        "first,", "an exception was not caught", "Traceback (most recent call last):", "LookupError: uncaught",
    ]  # fmt: skip


def test_a_broken_file_is_answered_and_recorded_in_json_too(run):
    done = run(IMPORT + ASK + "ask(PATH_INFO='/x')", {"wsgi.py": "import no_such_module"}, SITE_LOG_FORMAT="json")
    assert done.stdout.startswith("500 Internal Server Error\n")
    load, request = (json.loads(line) for line in run.log().splitlines())
    assert (load["level"], load["request_id"], load["domain"]) == ("ERROR", "-", "one.example")
    assert load["exc_info"].endswith("ModuleNotFoundError: No module named 'no_such_module'")
    assert (request["method"], request["path"], request["exc_info"]) == ("GET", "/x", None)
    assert len(request["request_id"]) == 12


def test_faulthandler_writes_to_the_error_log(run):
    done = run(IMPORT + "import ctypes\nctypes.string_at(0)")
    assert done.returncode < 0
    assert done.stderr == ""
    assert run.log().startswith("Fatal Python error: Segmentation fault\n")


def test_a_log_that_can_not_be_opened_leaves_the_servers_stderr(run):
    done = run(IMPORT + "print('somewhere', file=sys.stderr)", SITE_ERROR_LOG="/nonexistent/error.log")
    assert done.returncode == 0
    assert done.stderr.endswith("[-] somewhere\n")


@pytest.mark.parametrize("setup", ["basicConfig()", "disable(50)", "config.dictConfig({'version': 1})"])
def test_a_tenants_logging_loses_nothing_of_ours(run, setup):
    source = (
        f"import logging, logging.config\nlogging.{setup}\n" + "def application(e, s):\n    logging.error('theirs')\n"
    )
    run(IMPORT + ASK + "ask()", {"wsgi.py": source})
    assert run.log().count("the application returned None") == 1
    assert run.log().count("theirs") == (0 if "disable(" in setup else 1)


def test_an_unfinished_line_is_written_when_the_process_ends(run):
    run(IMPORT + "sys.stderr.write('unfinished')")
    assert run.log().endswith("[-] unfinished\n")


def test_handlers_made_before_the_runtime_write_through_it_too(run):
    program = "import logging\nlogging.basicConfig(format='%(levelname)s %(message)s')\n" + IMPORT + ASK
    source = "import logging\n" + GOOD.replace(
        "    start_response", "    logging.error('in a request')\n    start_response"
    )
    done = run(program + "ask(REQUEST_ID='0' * 32)", {"wsgi.py": source})
    assert done.stderr == ""
    assert run.log().endswith("[000000000000] ERROR in a request\n")


def test_stdout_is_the_servers_and_never_the_error_log(run):
    source = "import os\nprint('by print')\nos.write(1, b'by descriptor 1\\n')\nos.system('echo by a child')\n" + GOOD
    done = run(IMPORT + ASK + "ask()", {"wsgi.py": source})
    assert sorted(done.stdout.splitlines()) == ["200 OK", "by a child", "by descriptor 1", "by print", "good"]
    assert (done.stderr, run.log()) == ("", "")


@pytest.mark.parametrize("asked", [True, False])
def test_workers_that_were_forked_after_the_load_lose_nothing_either(run, tmp_path, asked):
    """As gunicorn --preload forks them, before or after the first request."""
    program = f"""
import os, time
os.write(2, b"loading\\n")
if {asked}:
    ask()
workers = []
for number in range(3):
    pid = os.fork()
    if not pid:
        ask()
        os.write(2, b"descriptor of worker %d\\n" % number)
        print("stream of worker", number, file=sys.stderr)
        os.system(f"echo child of worker {{number}} >&2")
        sys.exit()
    workers.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in workers] == [0, 0, 0]
"""
    done = run(IMPORT + ASK + program)
    assert done.returncode == 0
    label = "child or C code: "
    assert sorted(line[28:] for line in run.log().splitlines() if not line.endswith("loading")) == sorted(
        text
        for number in range(3)
        for text in (
            f"{label}descriptor of worker {number}", f"{label}child of worker {number}", f"stream of worker {number}"
        )
    )  # fmt: skip
    assert list(tmp_path.glob(".stderr-*")) == []
