"""The bundle of the modules that a start needs: it makes what importing them makes, and is never the only way."""

import importlib.util
import json
import marshal
import shutil
import sys
import types

import pytest

from tests.bare_uwsgi import APPS, ROOT, BareUwsgi
from tests.test_import_law import CASE, REQUEST_ID
from user_wsgi_wrapper.emperor_hook import bundle, shared_files
from user_wsgi_wrapper.layout import Layout

PACKAGE = ROOT / "user_wsgi_wrapper"
MODULES = bundle.order(PACKAGE)
APP = """
import gc, json, sys

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    ours = {name: module for name, module in sys.modules.items() if name.startswith("user_wsgi_wrapper")}
    told = {}
    for name, module in ours.items():
        spec = module.__spec__
        codes = [one.__code__ for one in vars(module).values() if hasattr(one, "__code__")]
        files = sorted({code.co_filename for code in codes if one_of(code, name)})
        told[name] = [module.__name__, module.__file__, module.__package__, getattr(module, "__path__", None),
                      spec.name, spec.origin, spec.has_location, spec.cached, type(module.__loader__).__name__, files]
    names = sorted(name for name in sys.modules if "wsgi_file" not in name)
    return [json.dumps([names, told, gc.isenabled()]).encode()]

def one_of(code, name):
    return code.co_filename.endswith("/" + name.rpartition(".")[2] + ".py")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package's current version, as chroots have it."""
    layout = Layout(tmp_path_factory.mktemp("host"))
    shared_files.refresh(layout)
    return (layout.shared_library / "user_wsgi_wrapper").resolve()


@pytest.fixture
def copy(installed, tmp_path):
    """One of that to break."""
    return shutil.copytree(installed, tmp_path / "library" / "user_wsgi_wrapper")


def file_in(package):
    (file,) = (package / "runtime" / "__pycache__").glob("bundle.*.bin")
    return file


def serve(folder, package, case=None):
    if case is None:
        (folder / "app").mkdir(exist_ok=True)
        (folder / "app" / "wsgi.py").write_text(APP)
    return BareUwsgi(case or folder / "app", entry=package / "user_wsgi_wrapper.py")


def told(folder, package):
    """The modules' names, what each of ours says of itself, and whether the collector is at work."""
    with serve(folder, package) as server:
        answer = server.get()
        assert answer.status == 200, server.log() + server.server_log.read_text()
        assert "Traceback" not in server.server_log.read_text()
        return json.loads(answer.body)


def test_it_makes_the_same_modules_as_their_imports(copy, tmp_path):
    bundled = told(tmp_path, copy)
    file_in(copy).unlink()
    imported = told(tmp_path, copy)
    assert bundled[1] == imported[1]
    assert sorted([*bundled[0], "__future__"]) == imported[0]  # that is no more needed
    assert bundled[2] is imported[2] is True
    assert all(file.startswith(str(copy)) for one in bundled[1].values() for file in one[-1])


def test_a_bundle_is_made_use_of(copy, tmp_path):
    for path in copy.rglob("*"):
        if path.name in ("core.py", "wrapper.py") or path.suffix == ".pyc":
            path.unlink()  # nothing could import these
    assert "user_wsgi_wrapper.runtime.core" in told(tmp_path, copy)[1]


def arguments_of(code):
    """What a bundle's code calls unpack with."""
    return next(one for one in code.co_consts if isinstance(one, tuple) and len(one) == 2)


def broken():
    magic = importlib.util.MAGIC_NUMBER
    whole = bundle.render(PACKAGE, PACKAGE)
    code = marshal.loads(whole[len(magic) :])
    standard, parts = arguments_of(code)
    raising = compile("raise OSError('broken')", "x", "exec")
    last = (*parts[:-1], (*parts[-1][:3], raising))

    def bundled(*arguments):
        consts = [arguments if one == (standard, parts) else one for one in code.co_consts]
        return magic + marshal.dumps(code.replace(co_consts=tuple(consts)))

    yield "empty", b""
    yield "another interpreter's", b"\0\0\r\n" + whole[len(magic) :]
    yield "cut off", whole[: len(whole) // 2]
    yield "without its end", whole[:-1]
    yield "nothing but zeros behind its head", magic + bytes(len(whole))
    yield "of another form", magic + marshal.dumps(7)
    yield "without parts", bundled(standard, ())
    yield "with a part that raises", bundled(standard, last)
    yield "with an extension that isn't there", bundled((("mmap", "/nowhere/mmap.so"),), parts)


BROKEN = dict(broken())


@pytest.mark.parametrize("state", BROKEN)
def test_one_that_is_broken_is_passed_over(state, copy, tmp_path):
    file = file_in(copy)
    file.unlink()
    wanted = told(tmp_path, copy)
    file.write_bytes(BROKEN[state])
    found = told(tmp_path, copy)
    assert found[1] == wanted[1]
    assert set(found[0]) - {"__future__"} == set(wanted[0]) - {"__future__"}


def test_an_installation_that_is_broken_too_leaves_the_collector_at_work(copy):
    file_in(copy).write_bytes(b"")
    (copy / "runtime" / "core.py").write_text("raise OSError('broken')")
    for path in copy.rglob("core.*.pyc"):
        path.unlink()
    with serve(None, copy, APPS / "sys_path") as server:
        answer = server.get()
        assert (answer.status, b"wrapper could not be started" in answer.body) == (500, True)
        assert "OSError: broken" in server.server_log.read_text()


def test_a_failure_of_the_tenants_is_told_as_without_a_bundle(copy):
    with serve(None, copy, APPS / "raises") as server:
        assert server.get(request_id=REQUEST_ID).status == 500
        lines = server.records(REQUEST_ID[:12])
    assert [line for line in lines if "user_wsgi_wrapper" in line] == []
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "    return 1 / 0" in lines


def test_a_tenants_module_never_stands_in_for_what_it_needs(copy, tmp_path):
    names = {name for path in MODULES.values() for name in bundle.imported(bundle.parse(path))}
    app = tmp_path / "tenants"
    shutil.copytree(APPS / "raises", app)
    for name in {name.partition(".")[0] for name in names} | {"gc", "marshal", "__future__"}:
        # those that uWSGI has imported before us are out of our hands
        if name not in ("os", "io", "threading", "warnings", "types"):
            (app / f"{name}.py").write_text("raise SystemExit('the tenant\\'s own module was taken')")
    with serve(None, copy, app) as server:
        assert server.get(request_id=REQUEST_ID).status == 500
        assert "ZeroDivisionError" in server.log()
        assert "was taken" not in server.log() + server.server_log.read_text()


def test_every_module_comes_after_those_that_it_imports():
    names = list(MODULES)
    assert names[-1] == "user_wsgi_wrapper.runtime.wrapper"
    assert len(names) > 25
    for number, name in enumerate(names):
        wanted = {other for other in bundle.imported(bundle.parse(MODULES[name])) if other in MODULES}
        assert wanted <= set(names[:number]), name


def test_what_is_loaded_late_is_not_in_it():
    assert {"static", "post_mortem", "rules", "caught"}.isdisjoint(name.rpartition(".")[2] for name in MODULES)


@pytest.mark.parametrize("path", list(MODULES.values()), ids=lambda path: path.name)
def test_what_is_left_out_moves_no_line(path):
    """Each function stands where it stood, and each of its instructions belongs to a line that it had."""
    plain = compile(path.read_bytes(), str(path), "exec", dont_inherit=True, optimize=2)
    whole = {key(code): code for code in codes(plain)}
    left = {key(code): code for code in codes(bundle.compiled(path, path))}
    assert set(left) <= set(whole)
    for where, code in left.items():
        assert code.co_firstlineno == whole[where].co_firstlineno
        assert lines(code) <= lines(whole[where]) | {code.co_firstlineno}
        assert code.co_varnames[: code.co_argcount] == whole[where].co_varnames[: code.co_argcount]


def key(code):
    return code.co_name, code.co_firstlineno


def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def lines(code):
    return {line for _, _, line in code.co_lines() if line is not None}


def test_it_names_files_as_those_who_read_it_see_them(installed):
    _, parts = arguments_of(marshal.loads(file_in(installed).read_bytes()[len(importlib.util.MAGIC_NUMBER) :]))
    wanted = f"/opt/user_wsgi_wrapper/versions/{installed.parent.name}/user_wsgi_wrapper/"
    assert all(code.co_filename == wanted + file for _, file, _, code in parts)


def test_import_law_holds_with_a_bundle(installed):
    with BareUwsgi(CASE, entry=installed / "user_wsgi_wrapper.py") as server:
        ours = json.loads(server.get().body)
    with BareUwsgi(CASE, entry=CASE / "wsgi.py") as server:
        theirs = json.loads(server.get().body)
    more = {name.partition(".")[0] for name in set(ours["modules"]) - set(theirs["modules"])}
    assert more - set(sys.stdlib_module_names) - {name for name in more if name.startswith("uwsgi_file_")} == {
        "user_wsgi_wrapper", "wsgi"
    }  # fmt: skip
    assert "user_wsgi_wrapper" not in "".join(ours["path"])
