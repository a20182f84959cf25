"""The tenant's file compiled without compile(): the same code, the same errors and warnings, and nothing is run."""

import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

from tests.bare_uwsgi import ROOT
from user_wsgi_wrapper.runtime.source_code import _take, compiled

SOURCES = sorted([*(ROOT / "user_wsgi_wrapper" / "runtime").glob("*.py"), *(ROOT / "tests").glob("*.py")])
PATH = "/var/www/wsgi.py"


@pytest.fixture(autouse=True)
def _no_tracer():
    """Where one is at work (coverage) the file is left to compile()."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_code_is_what_compile_makes_of_it(path):
    source = path.read_bytes()
    assert _take(source) is not None
    code = compiled(source, PATH)
    assert code == compile(source, PATH, "exec", dont_inherit=True)
    assert {part.co_filename for part in codes(code)} == {PATH}


@pytest.mark.parametrize(
    "source",
    [
        b"", b"# nothing", b'"""only a docstring"""', b"\xef\xbb\xbfx = 1\n", b"x = 1\r\ny = 2\r\n",
        b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", "x = 'é'".encode(), b"while True: pass",
        b"async def f(): await g()",
        b"from __future__ import annotations\ndef f(x: y): pass",
    ],
)  # fmt: skip
def test_so_it_is_of_sources_of_every_form(source):
    assert _take(source) is not None
    assert compiled(source, PATH) == compile(source, PATH, "exec", dont_inherit=True)


@pytest.mark.parametrize(
    "source",
    [
        b"def f(:\n", b"x = (", b"x = 1\n  y = 2", b"x = '\xff'", b"# coding: nonsense\n", b"a\0b", b"return 1",
        b"\t x\n  y", b"from __future__ import braces", b"(" * 300,
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_compile_says_it(source):
    with pytest.raises(Exception) as wanted:
        compile(source, PATH, "exec", dont_inherit=True)
    with pytest.raises(type(wanted.value)) as caught:
        compiled(source, PATH)
    assert caught.value.args == wanted.value.args
    assert getattr(caught.value, "filename", None) == getattr(wanted.value, "filename", None)
    assert caught.value.__context__ is None


def test_a_warning_is_given_once_and_names_the_file():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled(b"x = 1\nif x is 1: pass\n", PATH)
    assert [(warning.category, warning.filename, warning.lineno) for warning in caught] == [(SyntaxWarning, PATH, 2)]


def test_the_filters_of_warnings_are_as_they_were():
    before = list(warnings.filters)
    compiled(b"x = 1", PATH)
    assert warnings.filters == before


@pytest.mark.parametrize(
    "statement",
    [
        "open({path!r}, 'w')", "import os; os.mkdir({path!r})", "__import__('os').mkdir({path!r})",
        "raise SystemExit", "class A:\n    __import__('os').mkdir({path!r})", "1/0",
        "[].__class__.__base__.__subclasses__()[0].x.y",
    ],
)  # fmt: skip
def test_nothing_is_run(statement, tmp_path):
    path = tmp_path / "made"
    compiled(statement.format(path=str(path)).encode(), PATH)
    assert not path.exists()


def test_even_what_were_not_stopped_could_do_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "setprofile", lambda _function: None)
    path = tmp_path / "made"
    assert _take(f"open({str(path)!r}, 'w')".encode()) is None
    assert _take(f"import os\nos.mkdir({str(path)!r})".encode()) is None
    assert not path.exists()
    assert compiled(b"x = 1", PATH) == compile(b"x = 1", PATH, "exec", dont_inherit=True)


def test_nothing_of_the_future_is_handed_on():
    with pytest.raises(NameError):
        exec(compiled(b"def f(x: nowhere): pass", PATH), {})


def test_a_profiler_that_is_at_work_stays():
    seen = []
    sys.setprofile(lambda _frame, event, _argument: seen.append(event))
    profiler = sys.getprofile()
    try:
        compiled(b"x = 1", PATH)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    compiled(b"x = 1", PATH)
    assert sys.getprofile() is None


def test_no_class_is_made_for_a_syntax_tree(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from user_wsgi_wrapper.runtime.source_code import compiled\n"
        "made = lambda: [one for one in object.__subclasses__() if one.__name__ == 'AST']\n"
        "compiled(b'def f(): pass', 'x'); print(len(made()))\n"
        "compile('x', 'x', 'exec'); print(len(made()))\n"
    )
    command = [sys.executable, "-S", "-E", "-X", f"pycache_prefix={tmp_path}", "-c", program, str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # compiles the module itself
    assert subprocess.run(command, capture_output=True, check=True).stdout.split() == [b"0", b"1"]


def test_the_sources_that_are_compared_are_there():
    assert Path(__file__) in SOURCES
    assert len(SOURCES) > 100
