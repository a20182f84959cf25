"""A tenant's logging works in a wrapped process as on a bare interpreter, and costs nothing of ours."""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"  # the tenants'; the virtual environment's has no tests of its own
ENTRY = "from user_wsgi_wrapper.user_wsgi_wrapper import application"

# CPython's own tests of logging, in three processes at once, since they mostly wait.
CPYTHON = """
import json, os, sys
sys.path.append({root!r})
{entry}
import unittest
from test import test_logging
def reconnect(case, whole=test_logging.SysLogHandlerTest.test_udp_reconnection):
    if case.server_exception:  # as its neighbor does
        case.skipTest(case.server_exception)
    whole(case)
test_logging.SysLogHandlerTest.test_udp_reconnection = reconnect
class Result(unittest.TestResult):
    passed = []
    def addSuccess(self, test):
        self.passed.append(test.id())
names = sorted(name for name, found in vars(test_logging).items() if isinstance(found, type)
               and issubclass(found, unittest.TestCase))
slow = "HandlerTest"
groups = [[slow], [name for name in names[::2] if name != slow], [name for name in names[1::2] if name != slow]]
result = Result()
unittest.defaultTestLoader.loadTestsFromNames(groups[{group}], test_logging).run(result)
print(json.dumps({{"passed": result.passed, "skipped": [test.id() for test, _ in result.skipped],
                   "failed": [text for _, text in result.failures + result.errors]}}))
print("still ours", file=sys.stderr)
sys.stdout.flush()
os._exit(0)
"""

SETUPS = {
    "basicConfig": "logging.basicConfig(level='INFO', format='%(levelname)s|%(message)s')",
    "basicConfig, forced": "logging.basicConfig(); logging.basicConfig(level='DEBUG', format='%(message)s', force=1)",
    "dictConfig": """
import logging.config
logging.getLogger("early").addHandler(logging.StreamHandler())
logging.config.dictConfig({"version": 1, "root": {"level": "DEBUG", "handlers": ["h"]}, "handlers":
    {"h": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}}})
""",
    "fileConfig": """
import logging.config, io
logging.config.fileConfig(io.StringIO('''
[loggers]
keys=root
[handlers]
keys=h
[formatters]
keys=f
[logger_root]
level=INFO
handlers=h
[handler_h]
class=StreamHandler
formatter=f
args=(sys.stderr,)
[formatter_f]
format=%(name)s: %(message)s
'''))
""",
    "disable": "logging.basicConfig(); logging.disable(logging.ERROR)",
    "shutdown": "logging.basicConfig(); logging.shutdown()",
    "nothing": "",
    "captureWarnings": "logging.basicConfig(); logging.captureWarnings(True)",
    "a closed handler": "logging.basicConfig(); logging.getLogger().handlers[0].close()",
    "a broken format": "logging.basicConfig(format='%(nothing)s')",
}
USE = """
import sys, warnings
for name in (None, "early", "late"):
    logger = logging.getLogger(name)
    for level in (10, 20, 30, 40, 50):
        logger.log(level, "level %s of %s", level, name)
logging.getLogger().error("two\\nlines, \\u00e9, \\ud800")
warnings.warn("a warning")
logging.getLogger("late").error("wrong number of arguments: %s %s", 1)
try:
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError("second") from error
except ValueError:
    logging.getLogger("late").exception("failed", stack_info=True)
"""


def environment(folder):
    (folder / "wsgi.py").write_text("def application(environ, start_response):\n    pass\n")
    return {
        "PATH": os.environ["PATH"], "SITE_WSGI_FILE": str(folder / "wsgi.py"), "SITE_STATIC": "",
        "SITE_ERROR_LOG": str(folder / "error.log"), "TMPDIR": str(folder), "PYTHONIOENCODING": ":backslashreplace",
    }  # fmt: skip


def logging_tests(folder, entry, group):
    """What CPython's own tests of logging print of themselves, in a process of their own."""
    folder.mkdir()
    program = CPYTHON.format(root=str(ROOT), entry=entry, group=group)
    command = [PYTHON, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_cpythons_own_logging_tests_pass_in_a_wrapped_process(tmp_path):
    """All that pass on a bare one. One of them takes a port anew that any process may have taken meanwhile."""

    def run(kind, entry, group):
        found = logging_tests(tmp_path / f"{kind}{group}", entry, group)
        if found["failed"] and all("test_udp_reconnection" in text for text in found["failed"]):
            found = logging_tests(tmp_path / f"{kind}{group}again", entry, group)
        return found

    passed: dict[str, set[str]] = {"bare": set(), "wrapped": set()}
    skipped = set()
    with ThreadPoolExecutor(3) as threads:
        for kind, entry in (("bare", ""), ("wrapped", ENTRY)):
            for found in threads.map(run, [kind] * 3, [entry] * 3, range(3)):
                assert found["failed"] == []
                passed[kind] |= set(found["passed"])
                skipped |= set(found["skipped"])
    logs = [path.read_text() for path in tmp_path.glob("wrapped*/error.log")]
    assert len(logs) >= 3
    assert all(log.endswith("[-] still ours\n") for log in logs)
    assert len(passed["bare"]) > 200
    assert passed["wrapped"] - skipped == passed["bare"] - skipped


@pytest.mark.parametrize("setup", SETUPS)
def test_the_same_lines_as_on_a_bare_interpreter(tmp_path, setup):
    use = tmp_path / "use.py"
    use.write_text(f"import logging\n{SETUPS[setup]}\n{USE}")

    def run(entry):
        code = f"import sys; sys.path.append({str(ROOT)!r})\n{entry}\nimport runpy; runpy.run_path({str(use)!r})"
        done = subprocess.run(
            [PYTHON, "-c", code], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0
        return done.stderr

    bare = run("")
    assert run(ENTRY) == ""
    log = (tmp_path / "error.log").read_text()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[-\] ", line) for line in log.splitlines())
    assert "".join(line[28:] for line in log.splitlines(keepends=True)) == bare
