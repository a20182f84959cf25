"""Modules imported late: the standard library's own, whatever the tenant has under the same names."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASK = """
import sys
sys.path.append({root!r})
from user_wsgi_wrapper.user_wsgi_wrapper import application
from wsgiref.util import setup_testing_defaults
def ask():
    environ = {{}}
    setup_testing_defaults(environ)
    return b"".join(application(environ, lambda status, headers, exc_info=None: print(status)))
"""
FAILS = "def application(environ, start_response):\n    raise LookupError('no such thing')\n"


def run(folder, source, program, **files):
    """What the error log says, and what the program prints, of an application in a process of its own."""
    for name, text in {"wsgi": source, **files}.items():
        (folder / f"{name}.py").write_text(text)
    environ = {
        "PATH": os.environ["PATH"], "SITE_WSGI_FILE": str(folder / "wsgi.py"), "SITE_STATIC": "",
        "SITE_ERROR_LOG": str(folder / "error.log"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-S", "-c", ASK.format(root=str(ROOT)) + program],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return (folder / "error.log").read_text(), done.stdout


def test_nothing_of_it_is_loaded_before_a_failure(tmp_path):
    program = "before = 'traceback' in sys.modules\nask()\nprint(before, 'traceback' in sys.modules)"
    log, printed = run(tmp_path, FAILS, program)
    assert printed.endswith("False True\n")
    assert "raise LookupError('no such thing')" in log


def test_a_tenants_module_of_the_same_name_is_neither_used_nor_lost(tmp_path):
    """Be it loaded already (traceback, textwrap), or be it what an import would find first (linecache)."""
    source = "import sys\nsys.path.insert(0, '')\nimport textwrap, traceback\n" + FAILS
    program = "ask(); ask()\nimport textwrap, traceback\nprint(textwrap.MINE, traceback.MINE)"
    mine = dict.fromkeys(("traceback", "linecache", "textwrap"), "MINE = __name__\n")
    log, printed = run(tmp_path, source, program, **mine)
    assert log.count("    raise LookupError('no such thing')") == 2
    assert printed.endswith("textwrap traceback\n")


def test_a_failure_for_want_of_descriptors_still_says_where(tmp_path):
    source = (
        "import os\nheld = []\n"
        "def application(environ, start_response):\n"
        "    while True:\n"
        "        held.append(os.open('/dev/null', os.O_RDONLY))\n"
    )
    program = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\nask()"
    log, _ = run(tmp_path, source, program)
    assert f'File "{tmp_path}/wsgi.py", line 5, in application' in log
    assert "OSError: [Errno 24] Too many open files" in log
