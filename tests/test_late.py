"""The closed world: what is loaded late never meets a module, a hook or a patch of the tenant's, nor he one of it."""

import json
import subprocess
import sys
import textwrap

import pytest

from tests.bare_uwsgi import ROOT, BareUwsgi, wait_for
from tests.test_floors import LATE

REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]
NEEDED = sorted(set().union(*LATE.values()))
BEGIN = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom user_wsgi_wrapper.runtime import late, wrapper\n"


def run(program, folder, python=sys.executable):
    """What a program prints that runs in an interpreter with as little as possible loaded."""
    command = [python, "-S", "-E", "-c", BEGIN + textwrap.dedent(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert not done.stderr, done.stderr
    assert done.returncode == 0
    return done.stdout


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The names of the modules that have a copy there, packages' parts left out."""
    program = """
        for name in {needed}: late.load(name)
        # in functions of these, loaded when they are called (CPython 3.11 and 3.13)
        for name in ("ast", "tokenize"): late.load(name)
        for name, module in sorted(late._modules.items()):
            if module is not sys.modules.get(name) and hasattr(module, "__file__") and "." not in name:
                print(name)
    """.replace("{needed}", repr(NEEDED))
    return run(program, tmp_path_factory.mktemp("empty")).split()


def test_nothing_of_the_interpreters_own_is_changed(tmp_path):
    """But for modules in C that there can be one of only (`_socket`, `_ctypes`): those enter themselves."""
    program = """
        def state():
            return [*sys.path, "|", *sys.meta_path, *sys.path_hooks, "|", *sys.path_importer_cache]
        before, modules = state(), dict(sys.modules)
        for name in {needed}: late.load(name)
        assert state() == before
        assert all(sys.modules[name] is modules[name] for name in modules)
        print(sorted(set(sys.modules) - set(modules)))
    """.replace("{needed}", repr([name for name in NEEDED if name not in ("_socket", "ctypes")]))
    assert run(program, tmp_path) == "[]\n"


def test_the_copies_work(tmp_path):
    program = """
        names = "traceback linecache tokenize ast re enum textwrap contextlib json ctypes copyreg struct".split()
        traceback, linecache, tokenize, ast, re, enum, textwrap, contextlib, json, ctypes, *_ = map(late.load, names)
        def fail(table):
            return table["a"]["b"]
        try:
            fail({"a": {}})
        except KeyError as error:
            text = "".join(traceback.TracebackException.from_exception(error).format())
        assert text.endswith("KeyError: 'b'\\n"), text
        assert re.search("(?i)X+", "axx")[0] == "xx"
        assert re.compile("a", re.I).flags & re.IGNORECASE and repr(re.I).endswith("IGNORECASE")
        assert json.loads(json.dumps({"a": ["\\x00", 1.5]})) == {"a": ["\\x00", 1.5]}
        assert ctypes.string_at(b"abc") == b"abc"
        assert ast.parse("a + b").body and textwrap.dedent("  a") == "a"
        assert enum.IntEnum("Kind", "A B").A == 1
        with contextlib.suppress(ValueError):
            raise ValueError
        print("well")
    """
    assert run(program, tmp_path) == "well\n"


def test_the_tenants_own_are_the_interpreters_and_work_beside_them(tmp_path):
    program = """
        for name in {needed}: late.load(name)
        import copy, ctypes, json, pickle, re, traceback
        for module in (ctypes, json, re, traceback):
            assert module is sys.modules[module.__name__] is not late.load(module.__name__)
        pattern = re.compile("a(b)")
        assert pickle.loads(pickle.dumps(pattern)) == pattern == copy.deepcopy(pattern)
        class Pair(ctypes.Structure):
            _fields_ = [("one", ctypes.c_int), ("text", ctypes.POINTER(ctypes.c_char))]
        assert ctypes.POINTER(Pair) is ctypes.POINTER(Pair)
        assert ctypes.CDLL(None).abs(-4) == 4
        assert ctypes.cast(ctypes.create_string_buffer(b"text"), ctypes.c_char_p).value == b"text"
        print("well")
    """.replace("{needed}", repr(NEEDED))
    assert run(program, tmp_path) == "well\n"


def test_hooks_fakes_and_patches_of_the_tenants_are_not_met(tmp_path, copies):
    program = """
        import builtins, types
        from user_wsgi_wrapper.runtime.failure import format_exception
        class Hook:
            def find_spec(self, *_): raise SystemExit("a hook was asked")
        def refuse(*_, **__): raise SystemExit("a hook was called")
        names = {copies} + ["ast", "re._parser", "json.decoder"]
        fakes = {name: types.ModuleType(name) for name in names}
        sys.modules.update(fakes)
        sys.path[:0] = [""]
        sys.meta_path.insert(0, Hook())
        sys.path_hooks[:] = [refuse]
        sys.path_importer_cache.clear()
        def patched(name, *more, **named):  # the interpreter's own loaders ask for _io so
            return real(name, *more, **named) if name == "_io" else refuse()
        real, builtins.__import__ = builtins.__import__, patched
        for name in {needed}: late.load(name)
        builtins.__import__ = real
        assert all(sys.modules[name] is fakes[name] for name in names)
        try:
            [][0]
        except IndexError as error:
            print(format_exception(error))
    """.replace("{needed}", repr(NEEDED)).replace("{copies}", repr(copies))
    lines = run(program, tmp_path).splitlines()
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "IndexError: list index out of range")


def test_all_threads_have_the_same_and_whole(tmp_path):
    program = """
        import threading
        begin, found = threading.Barrier(8), []
        def ask():
            begin.wait()
            found.append(late.load("traceback").TracebackException)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(found), len(set(found)))
    """
    assert run(program, tmp_path) == "8 1\n"


@pytest.mark.parametrize("descriptors", range(4))
def test_a_load_that_fails_leaves_nothing_half_and_is_tried_again(tmp_path, descriptors):
    """The first failure of a process may be that it has no descriptor left."""
    program = f"""
        import os, resource
        from user_wsgi_wrapper.runtime.failure import format_exception
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
        taken = []
        try:
            while True: taken.append(os.dup(0))
        except OSError as error:
            for fd in taken[:{descriptors}]: os.close(fd)
            first = format_exception(error)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            print(first, format_exception(error), sep="\\n--\\n")
    """
    first, second = run(program, tmp_path).rstrip("\n").split("\n--\n")
    assert first.splitlines()[:2] == second.splitlines()[:2]
    assert 'Traceback (most recent call last):\n  File "<string>", line ' in first
    assert "OSError: [Errno 24] Too many open files" in first
    assert second.endswith("OSError: [Errno 24] Too many open files")
    if not descriptors:
        assert "(no more of the traceback: " in first


def test_what_fails_while_modules_are_loaded_is_named_at_least(tmp_path):
    """A `__del__` that the collector runs meanwhile, or a signal's handler."""
    program = """
        from user_wsgi_wrapper.runtime import failure
        def interrupt(*_):
            sys.setprofile(None)
            try:
                {}["key"]
            except KeyError as error:
                print(failure.format_exception(error))
        real = late._find
        def find(name, folders):
            if name == "tokenize": interrupt()
            return real(name, folders)
        late._find = find
        print(late.load("traceback").__name__, late.load("linecache").getline.__name__)
    """
    lines = run(program, tmp_path).splitlines()
    assert lines[-1] == "traceback getline"
    if len(lines) > 1:  # CPython 3.13's linecache loads tokenize in a function
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[-2].startswith("KeyError: 'key' (no more of the traceback: ")


def test_a_child_forked_while_a_thread_loads_does_not_wait_for_it(tmp_path):
    program = """
        import os, threading
        inside, forked = threading.Event(), threading.Event()
        real = late._find
        def find(name, folders):
            if name == "re":
                inside.set()
                forked.wait(30)
            return real(name, folders)
        late._find = find
        thread = threading.Thread(target=late.load, args=("traceback",))
        thread.start()
        inside.wait(30)
        pid = os.fork()
        forked.set()
        if not pid:
            os._exit(0 if late.load("traceback").TracebackException and late.load("re").compile("a") else 1)
        thread.join()
        assert late.load("traceback").TracebackException
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert run(program, tmp_path) == "0\n"


# -- under uWSGI, with a module of the tenant's for every name there is a copy of

WSGI = """
import threading

NAMES = {names}

def load():
    return [name for name in NAMES if getattr(__import__(name), "OWNER", "") != "mine"]

if {before}:
    load()

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise LookupError("for the log")
    if path == "/begin":
        threading.Thread(target=load).start()
    body = repr(load()).encode() if path == "/load" else b"begun"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
OWN = "import time\ntime.sleep({pause})\nOWNER = 'mine'\ndef __getattr__(name):\n    raise SystemExit('taken')\n"


@pytest.fixture
def make(tmp_path, copies):
    def make(before, pause=0.0):
        names = [name for name in copies if name not in ("user_wsgi_wrapper", "importlib", "json")]
        assert {"re", "traceback", "linecache", "tokenize", "enum"} < set(names)
        for name in names:
            (tmp_path / f"{name}.py").write_text(OWN.format(pause=pause))
        (tmp_path / "wsgi.py").write_text(WSGI.format(names=names, before=before))
        return tmp_path

    return make


def failed(server, request_id=REQUEST_ID):
    answer = server.get("/fail", request_id=request_id)
    assert (answer.status, answer.headers["x-request-id"]) == (500, request_id[:12])
    lines = server.records(request_id[:12])
    assert lines[:2] == [
        "GET /fail: the application failed in its call",
        "Traceback (most recent call last):",
    ]
    assert lines[3:] == ['    raise LookupError("for the log")', "LookupError: for the log"], lines
    return True


@pytest.mark.parametrize("settings", [[], ["env = SITE_LOG_FORMAT=text", "env = SITE_DEBUG=1"]])
@pytest.mark.parametrize("before", [False, True])
def test_every_module_of_the_tenants_is_his_before_and_after_the_first_failure(make, before, settings):
    with BareUwsgi(make(before), more=settings) as server:
        if before:
            assert server.get("/load").body == b"[]"
        assert failed(server)
        assert server.get("/load").body == b"[]"
        assert failed(server, "0" * 32)
        assert "taken" not in server.log() + server.server_log.read_text()


def test_every_module_of_the_tenants_is_his_while_another_thread_imports_it(make):
    with BareUwsgi(make(False, pause=0.01), 8) as server:
        assert server.get("/begin").body == b"begun"
        assert failed(server)
        assert server.get("/load").body == b"[]"
        assert "taken" not in server.log() + server.server_log.read_text()


def test_a_source_that_was_changed_is_shown_as_it_is(make):
    """As the interpreter's own linecache does."""
    with BareUwsgi(make(False)) as server:
        assert failed(server)
        text = (server.www / "wsgi.py").read_text()
        (server.www / "wsgi.py").write_text(text.replace('"for the log")', '"for the log")  # said anew'))
        server.get("/fail", request_id="0" * 32)
        assert '    raise LookupError("for the log")  # said anew' in server.records("0" * 12)


def test_json_logs_need_no_module_that_the_tenant_sees(tmp_path):
    (tmp_path / "json.py").write_text("OWNER = 'mine'\n")
    (tmp_path / "wsgi.py").write_text(WSGI.format(names=["json"], before=True))
    with BareUwsgi(tmp_path, more=["env = SITE_LOG_FORMAT=json"]) as server:
        assert server.get("/load").body == b"[]"
        server.get("/fail", request_id=REQUEST_ID)
        record = json.loads(wait_for(server.log, "the record").splitlines()[-1])
        assert record["request_id"] == ID
        assert "LookupError: for the log" in record["exc_info"]


def test_keeping_a_version_loads_nothing_of_the_standard_library(tmp_path):
    """Each worker of a site does: what it takes is memory of every site."""
    program = """
        before = set(sys.modules)
        late.load("user_wsgi_wrapper.runtime.kept")
        print(*sorted(name for name in late._modules if name not in before and "user_wsgi_wrapper" not in name))
    """
    assert run(program, tmp_path).split() == []
