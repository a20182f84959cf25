"""The runtime's promises, checked by whichever Python runs this file: `python3 tests/conformance.py [CHECK…]`.

Standard library only, Python 3.9. A check is a function; each prints a line, `ok NAME` or `FAILED NAME` and why. The
runtime takes over a process's streams and hooks, so every application is asked in a process of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
APPS = os.path.join(ROOT, "tests", "apps")
ID = "3f9c2a71d0b4"
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[([0-9a-f]{12}|-)\] ")
GOOD = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'good']\n"

# The server's side: it imports the entry, asks, and prints the answer as one line of JSON.
ASK = """
import io, json, sys, warnings
warnings.simplefilter("ignore")
before = set(sys.modules)
path = sys.path[:]
from user_wsgi_wrapper.user_wsgi_wrapper import application
assert sys.path == path
from wsgiref.util import FileWrapper, setup_testing_defaults
def ask(**environ):
    environ = {"REQUEST_ID": "3f9c2a71d0b4e5f6", "wsgi.file_wrapper": FileWrapper, "PATH_INFO": "/page", **environ}
    setup_testing_defaults(environ)
    starts, written = [], []
    def start_response(status, headers, exc_info=None):
        starts.append((status, headers))
        return written.append
    result, cut = application(environ, start_response), False
    try:
        for chunk in result:
            written.append(chunk)
    except ConnectionError:
        cut = True
    getattr(result, "close", int)()
    status, headers = starts[-1] if starts else ("", [])
    print(json.dumps([status, dict(headers), b"".join(written).decode("latin-1"), cut]))
"""


class Answers:
    """What one process left: `answers` are (status, headers, body, cut), `lines` the log's without stamps."""

    def __init__(self, done, log):
        self.done = done
        self.raw = log
        self.answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        self.lines = [STAMP.sub("", line, count=1) for line in log.splitlines()]


def run(source, program="ask()", **settings):
    """Ask an application in a new process. `source` is a case's name or the text of a wsgi.py."""
    folder = tempfile.mkdtemp(prefix="conformance-")
    try:
        www = os.path.join(folder, "www")
        if "\n" in source or not source:
            os.mkdir(www)
            with open(os.path.join(www, "wsgi.py"), "w") as file:
                file.write(source)
        else:
            shutil.copytree(os.path.join(APPS, source), www, ignore=shutil.ignore_patterns("__pycache__"))
        environ = {
            "PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "SITE_DOMAIN": "one.example",
            "SITE_WSGI_FILE": www + "/wsgi.py", "SITE_ERROR_LOG": folder + "/error.log", "SITE_STATIC": "",
            "SITE_ERROR_PAGE": www + "/500.html", "PYTHONDONTWRITEBYTECODE": "1", **settings,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.append({ROOT!r})\n{ASK}\n{program}"],
            cwd=www, env=environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        log = folder + "/error.log"
        text = ""
        if os.path.exists(log):
            with open(log, encoding="utf-8") as file:
                text = file.read()
        return Answers(done, text)
    finally:
        shutil.rmtree(folder)


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"


def check_load_failures():
    for case, said in {
        "syntax_error": "it can't be compiled: SyntaxError: ",
        "raises_at_import": "running it raised LookupError: no database here",
        "exits_at_import": "running it raised SystemExit: bye",
        "interrupted_at_import": "running it raised KeyboardInterrupt",
        "no_application": "it defines no 'application'",
        "not_callable": "its 'application' is of type str, a callable is needed",
        "class_application": "its 'application' is the class application",
        "async_application": "its 'application' is asynchronous (ASGI)",
        "async_method": "its 'application' is asynchronous (ASGI)",
    }.items():
        found = run(case, "ask()\nask()")
        for status, headers, body, _cut in found.answers:
            same(status, "500 Internal Server Error")
            same(headers["X-Request-ID"], ID)
            assert ID in body, body
        same(len(found.answers), 2)
        same(sum(line.startswith("the site could not be loaded") for line in found.lines), 1)
        assert said in found.lines[0], found.raw
        same([line.partition(":")[0] for line in found.lines[-2:]], ["GET /page"] * 2)
        assert "/runtime/" not in found.raw, found.raw
    found = run(GOOD, SITE_WSGI_FILE="/nonexistent/wsgi.py")
    same(found.answers[0][0], "500 Internal Server Error")
    assert "there is no such file" in found.lines[0], found.raw


def check_request_failures():
    for case, (first, last) in {
        "raises": ("the application failed in its call", "ZeroDivisionError: division by zero"),
        "raises_in_first_chunk": ("the application failed in its", "LookupError: before the first byte"),
        "exits": ("the application failed in its call", "SystemExit: 3"),
        "recursion": ("the application failed in its call", "RecursionError: maximum recursion depth exceeded"),
        "str_raises": (
            "the application failed in its call",
            "wsgi.Odd: "
            + ("<exception str() failed>" if sys.version_info >= (3, 11) else "<unprintable Odd object>"),
        ),
        "chained": ("the application failed in its call", "ValueError: the second"),
        "returns_none": ("the application returned None; PEP 3333", None),
        "returns_int": ("the application returned an object of type int", None),
        "returns_text": ("the application returned an object of type str", None),
        "text_in_list": ("the response holds an object of type str", None),
        "text_in_generator": ("the response's iterable gave an object of type str", None),
        "no_start_response": ("start_response was not called", None),
        "header_injection": ("the header Location's value", "user_wsgi_wrapper.runtime.failure.ResponseError"),
        "header_of_bytes": ("the header ('Content-Type', b'text/plain')", "user_wsgi_wrapper.runtime.failure"),
        "bad_status": ("the status 200 is not a str", "user_wsgi_wrapper.runtime.failure.ResponseError"),
        "starts_twice": ("start_response was called twice", "user_wsgi_wrapper.runtime.failure.ResponseError"),
        "write_text": ("write() was given an object of type str", "user_wsgi_wrapper.runtime.failure"),
    }.items():
        found = run(case)
        status, headers, body, cut = found.answers[0]
        same((case, status, cut), (case, "500 Internal Server Error", False))
        same(len(body), int(headers["Content-Length"]))
        assert found.lines[0].startswith("GET /page: " + first), found.raw
        if last is None:
            same(len(found.lines), 1)
        else:
            same(found.lines[1], "Traceback (most recent call last):")
            assert found.lines[2].startswith('  File "') and "wsgi.py" in found.lines[2], found.raw
            assert found.lines[-1].startswith(last), found.raw
        assert "/runtime/" not in found.raw, found.raw
        same(set(STAMP.findall(found.raw)), {ID})
        same(found.done.stderr, "")


def check_what_is_allowed():
    for case, status, body in [
        ("write_bytes", "200 OK", "one two three"),
        ("exc_info", "418 I'm a teapot", "teapot"),
        ("class_that_iterates", "200 OK", "ok"),
        ("pickles", "200 OK", "wsgi True"),
    ]:
        found = run(case)
        same((case, found.answers[0][0][:3], found.raw), (case, status[:3], ""))
        same(found.answers[0][2], body)


def check_a_response_is_cut():
    found = run("raises_in_later_chunk")
    same(found.answers[0][0], "200 OK")
    same(found.answers[0][2:], ["half", True])
    same(found.lines.count("LookupError: after the first byte"), 1)


def check_close():
    found = run("raises_in_close")
    same(found.answers[0][:3:2], ["200 OK", "whole"])
    same(found.lines[-1], "LookupError: while closing")


def check_streams():
    lines = run("prints").lines
    same(lines[:5], ["to stderr 1 2", "to wsgi.errors", "three", "lines", "at once"])
    same(lines[-1], "unfinished")
    nasty = run("prints_nastily")
    same(
        nasty.lines,
        [
            r"\x1b[31mred\x1b[0m\rover\x00\x9b",
            "2012-08-24 10:11:12,345 [aaaaaaaaaaaa] forged",
            "2012-08-24 10:11:12,345 [aaaaaaaaaaaa] twice",
            r"lone \ud800 surrogate",
            r"bytes \xff" + "\xe9",
        ],
    )
    same({match.group(1) for match in map(STAMP.match, nasty.raw.splitlines())}, {ID})
    same(
        re.sub(STAMP.pattern, "", run("child_process").raw),
        "child or C code: from a child\nchild or C code: from C\n",
    )


def check_stream_is_a_file():
    found = run(
        "import io, sys\n"
        "def application(environ, start_response):\n"
        "    out = sys.stderr\n"
        "    facts = [out.writable(), out.isatty(), out.fileno(), out.encoding, isinstance(out, io.TextIOBase)]\n"
        "    for bad in (b'bytes', 1, None):\n"
        "        try:\n"
        "            out.write(bad)\n"
        "        except TypeError:\n"
        "            facts.append('TypeError')\n"
        "    out.writelines(['a\\n', 'b\\n'])\n"
        "    out.buffer.write(memoryview(b'c\\n'))\n"
        "    print('d', file=out, flush=True)\n"
        "    out.flush()\n"
        "    start_response('200 OK', [])\n"
        "    return [repr(facts).encode()]\n"
    )
    same(found.answers[0][2], "[True, False, 2, 'utf-8', True, 'TypeError', 'TypeError', 'TypeError']")
    same(found.lines, ["a", "b", "c", "d"])


def check_hooks():
    found = run("thread_dies", "ask()\nimport time\ntime.sleep(0.2)")
    assert "the thread worker-7 died" in found.lines, found.raw
    same(found.lines[-1], "LookupError: in a thread")
    found = run("del_raises")
    assert re.match("Exception ignored (in|while).*Resource.__del__", found.lines[0]), found.raw
    same(found.lines[-1], "LookupError: in __del__")
    found = run(GOOD, "raise LookupError('nobody caught it')")
    same((found.lines[0], found.lines[-1]), ("an exception was not caught", "LookupError: nobody caught it"))
    found = run("segfaults")
    assert found.raw.startswith("Fatal Python error: Segmentation fault"), found.raw
    assert "line 5 in crash" in found.raw, found.raw


def check_json_log():
    found = run("raises", SITE_LOG_FORMAT="json")
    (line,) = found.raw.splitlines()
    record = json.loads(line)
    same((record["request_id"], record["level"], record["path"]), (ID, "ERROR", "/page"))
    same(record["exc_info"].splitlines()[-1], "ZeroDivisionError: division by zero")


def check_error_page():
    program = "ask(HTTP_ACCEPT='application/json')\nopen('500.html', 'w').write('mine: {{request_id}}')\nask()"
    found = run("raises", program)
    same(found.answers[0][1]["Content-Type"], "application/json")
    same(json.loads(found.answers[0][2])["request_id"], ID)
    same(found.answers[1][2], "mine: " + ID)


def check_static():
    program = """
import os, gzip
os.makedirs("static/deep")
open("static/a.txt", "w").write("0123456789")
open("static/b.js", "w").write("x" * 1000)
open("static/b.js.gz", "wb").write(gzip.compress(b"x" * 1000))
open("secret.txt", "w").write("secret")
os.symlink("../secret.txt", "static/link.txt")
os.mkfifo("static/fifo")
ask(PATH_INFO="/static/a.txt")
ask(PATH_INFO="/static/a.txt", HTTP_RANGE="bytes=2-4")
ask(PATH_INFO="/static/b.js", HTTP_ACCEPT_ENCODING="gzip")
for path in ("/static/../secret.txt", "/static/fifo", "/static/.git", "/static-secret", "/static/none"):
    ask(PATH_INFO=path)
"""
    found = run(GOOD, program, SITE_STATIC="/static=static")
    status, headers, body, _cut = found.answers[0]
    same((status, body, headers["Content-Type"]), ("200 OK", "0123456789", "text/plain; charset=utf-8"))
    same((found.answers[1][0], found.answers[1][2]), ("206 Partial Content", "234"))
    same(found.answers[2][1]["Content-Encoding"], "gzip")
    same([answer[2] for answer in found.answers[3:]], ["good"] * 5)
    tag = headers["ETag"]
    assert tag.startswith('"') and tag.endswith('"'), tag


def check_tracebacks_are_cpythons():
    sys.path.insert(0, ROOT)
    from user_wsgi_wrapper.runtime.failure import format_exception

    def fail(depth):
        if depth:
            return fail(depth - 1)
        try:
            return {}["inner"]
        except KeyError as error:
            raise ValueError("outer\nof two lines") from error

    try:
        fail(8)
    except ValueError as error:
        if hasattr(error, "add_note"):
            error.add_note("a note")
        expected = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip("\n")
        same(format_exception(error), expected)
    if sys.version_info >= (3, 11):
        group = ExceptionGroup("several", [KeyError("a"), ValueError("b")])  # noqa: F821
        expected = "".join(traceback.format_exception(group)).rstrip("\n")
        same(format_exception(group), expected)


def check_imports():
    program = """
import os
standard = os.path.dirname(os.__file__)
new = {name: getattr(sys.modules[name], "__file__", None) or standard for name in set(sys.modules) - before}
print(json.dumps(sorted({name.partition(".")[0] for name in new if not new[name].startswith(standard)})))
"""
    found = run(GOOD, program)
    same(found.answers, [["user_wsgi_wrapper", "wsgi"]])
    same(found.done.stderr, "")


def check_no_warning():
    """Nothing of the runtime is deprecated here: it is loaded and used with every warning an error."""
    program = "ask()\nask(PATH_INFO='/static/none')"
    found = run("raises", program, PYTHONWARNINGS="error", PYTHONDEVMODE="1", SITE_STATIC="/static=static")
    same(len(found.answers), 2)
    same(found.done.stderr, "")
    assert "Warning" not in found.raw, found.raw


def main(names):
    checks = {name[6:]: function for name, function in globals().items() if name.startswith("check_")}
    failed = 0
    print(sys.version.split()[0])
    for name in names or checks:
        try:
            checks[name]()
        except Exception:
            failed += 1
            print(f"FAILED {name}: {traceback.format_exc()}")
        else:
            print(f"ok {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
