"""Loading a WSGI file: one application, or one error that says how far it came."""

import os
import pickle
import socket
import sys

import pytest

from user_wsgi_wrapper.runtime.loader import FALLBACK_NAME, PHASES, WsgiLoadError, load, module_name

GOOD = "def application(environ, start_response):\n    return [b'%s']\n"


@pytest.fixture
def path(tmp_path):
    """Where a WSGI file may be written; the modules that loading adds are taken away again."""
    before = set(sys.modules)
    yield tmp_path / "tenant_wsgi.py"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def failure(path):
    with pytest.raises(WsgiLoadError) as caught:
        load(str(path))
    assert caught.value.phase in PHASES
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_application_is_loaded_under_its_files_name(path):
    path.write_text("class Basket:\n    pass\n" + GOOD % "ok")
    assert load(str(path))({}, None) == [b"ok"]
    module = sys.modules["tenant_wsgi"]
    assert (module.__name__, module.__file__, module.__spec__.origin) == ("tenant_wsgi", str(path), str(path))
    assert type(pickle.loads(pickle.dumps(module.Basket()))) is module.Basket


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "it is a directory, a regular file is needed"),
        (lambda path: os.mkfifo(path), "it is a FIFO, a regular file is needed"),
        (lambda path: path.symlink_to("/dev/null"), "it is a device, a regular file is needed"),
        (lambda path: path.symlink_to(path), "it can't be opened: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(path, make, words):
    make(path)
    error = failure(path)
    assert (error.phase, error.message) == ("read", words)


def test_a_socket_is_refused(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert failure(path).phase == "read"


def test_an_unreadable_file_is_told_of(path):
    path.write_text(GOOD % "ok")
    path.chmod(0)
    if os.getuid() == 0:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.chmod(path.parent, 0o755)
                for parent in path.parents:
                    if not os.stat(parent).st_mode & 1:
                        os.chmod(parent, 0o711)
                os.setuid(65534)
                code = 0 if failure(path).message == "it can't be opened: Permission denied" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    else:
        assert failure(path).message == "it can't be opened: Permission denied"


@pytest.mark.parametrize(
    ("source", "phase", "words", "cause"),
    [
        (b"def application(:\n", "compile", "SyntaxError", SyntaxError),
        (b"application = 1\0\n", "compile", "null byte", (ValueError, SyntaxError)),
        (b"# coding: no-such-codec\n", "compile", "SyntaxError", SyntaxError),
        (b"\xff\xfe = 1\n", "compile", "SyntaxError", SyntaxError),
        (b"import no_such_module\n", "import", "ModuleNotFoundError: No module named 'no_such_module'", ImportError),
        (b"raise SystemExit(3)\n", "import", "SystemExit: 3", SystemExit),
        (b"raise KeyboardInterrupt\n", "import", "KeyboardInterrupt", KeyboardInterrupt),
        (b"raise GeneratorExit\n", "import", "GeneratorExit", GeneratorExit),
        (b"app = 1\n", "name", "it defines no 'application'", type(None)),
        (b"application = None\n", "callable", "of type NoneType, a callable is needed", type(None)),
        (b"class application: pass\n", "callable", "is the class application", type(None)),
        (b"async def application(*a): pass\n", "callable", "asynchronous (ASGI)", type(None)),
        (b"async def application(*a): yield\n", "callable", "asynchronous (ASGI)", type(None)),
        (b"class A:\n async def __call__(*a): pass\napplication = A()\n", "callable", "asynchronous", type(None)),
    ],
)
def test_each_failure_has_its_phase_and_its_cause(path, source, phase, words, cause):
    path.write_bytes(source)
    error = failure(path)
    assert error.phase == phase
    assert words in str(error)
    assert isinstance(error.__cause__, cause)
    assert ("tenant_wsgi" in sys.modules) == (phase in ("name", "callable"))


@pytest.mark.parametrize("source", [b"\xef\xbb\xbf", b"# coding: latin-1\nname = '\xe9'\n"])
def test_a_byte_order_mark_and_a_coding_line_are_honored(path, source):
    path.write_bytes(source + (GOOD % "ok").encode())
    assert load(str(path))({}, None) == [b"ok"]


def test_two_saves_of_one_second_and_size_are_told_apart(path):
    for text in ("first", "other"):
        path.write_text(GOOD % text)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert load(str(path))({}, None) == [text.encode()]
        del sys.modules["tenant_wsgi"]
    assert not (path.parent / "__pycache__").exists()


def test_a_name_that_is_taken_or_no_identifier_gets_the_fallback():
    assert module_name("/var/www/wsgi.py") == "wsgi"
    for name in ("os.py", "my-site.py", "1.py", "xml.py"):
        assert module_name(f"/var/www/{name}") == FALLBACK_NAME
