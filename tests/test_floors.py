"""The import law: imports only go down, the walls hold, and every module has its floor.

Read from the source, so that an import inside a function or under TYPE_CHECKING counts too.
"""

import ast
import configparser
import graphlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("user_wsgi_wrapper", "log_splitter")
ROOM = 300  # lines

# Every module's floor. An import goes down, or stays on its floor and in its package; a circle is refused anywhere.
HOOK = "user_wsgi_wrapper.emperor_hook"
RUNTIME = "user_wsgi_wrapper.runtime"
EMBEDDED = "user_wsgi_wrapper.embedded"
WEB = "user_wsgi_wrapper.web"
LEAVES = {
    f"{RUNTIME} 1": """
        advice allowance beneath black_box callable_name capture caught connection core database_file deploy
        deploy_file disconnect django_setup error_log error_page exchange failure file_access hooks http_file kept
        late loader master missing_module module_search origin own_server pep3333 post_mortem quiet_thread records
        refused_host repetition request request_watch result rules server_log server_memory settings shadow site_log
        source_code source_fault spool spool_file static streams succession unpack watch worker
    """,
    f"{EMBEDDED} 3": """
        access_line command crew handler messages orphans paint plan server stamp supervisor terminal worker
    """,
    f"{HOOK} 1": """
        apache_file arguments as_tenant atomic bundle carried config_values help_texts initialize_environment json_log
        lookup_query mime_types mounts pages postgresql_connection privileges probe process_files redaction service
        site_fields tables tail templates token_bucket turnstile unix_ids waiting_room warm_protocol warmups
    """,
    f"{HOOK} 2": """
        bases cgroups checkup chroot chroot_plan config database deploys door emperor emperor_report ending evidence
        file_steps front_path identities import_apache import_piku limit_watch limits locks log_budget mount_steps
        nginx orphans processes program reaper registry server_log service_account settings shared_files site_tables
        static_rules store tally tenant_files vassal warm_client warm_server
    """,
    f"{HOOK}.logs 2": "paint records skim sources stamps unpack when",
    f"{HOOK} 4": """
        collecting configuration_files explain initialize migrating reloading site_checkup site_places sites stack
        support warmer
    """,
    f"{WEB} 5": """
        application chart command failures guard hosting live_tail log_file log_lines metrics pages reloads
        rotated_log sessions site_form site_views throttle tokens traffic
    """,
}
FLOORS = {
    "user_wsgi_wrapper": 0,
    "user_wsgi_wrapper.inside": 0,
    "user_wsgi_wrapper.site": 0,
    "user_wsgi_wrapper.layout": 1,
    "user_wsgi_wrapper.user_wsgi_wrapper": 3,
    "user_wsgi_wrapper.__main__": 6,
    RUNTIME: 0,
    f"{RUNTIME}.wrapper": 2,
    HOOK: 0,
    EMBEDDED: 0,
    f"{HOOK}.logs": 0,
    f"{HOOK}.logs.command": 3,
    WEB: 0,
    f"{HOOK}.spinup": 3,
    f"{HOOK}.__main__": 5,
    "log_splitter": 0,
    "log_splitter.counters": 1,
    "log_splitter.errors": 1,
    "log_splitter.line": 1,
    "log_splitter.placement": 1,
    "log_splitter.batch": 2,
    "log_splitter.checkpoint": 2,
    "log_splitter.counters_file": 2,
    "log_splitter.datagrams": 2,
    "log_splitter.follow": 2,
    "log_splitter.hourly": 2,
    "log_splitter.known": 2,
    "log_splitter.log_file": 2,
    "log_splitter.splitter": 2,
    "log_splitter.sources": 2,
    "log_splitter.target": 2,
    "log_splitter.writer": 2,
    "log_splitter.arguments": 3,
    "log_splitter.service": 3,
    "log_splitter.__main__": 3,
}
for _where, _names in LEAVES.items():
    _package, _floor = _where.split()
    FLOORS.update((f"{_package}.{_name}", int(_floor)) for _name in _names.split())

# Walls: who sees which of our modules at all (a name stands for what lies below it too).
WALLS = {
    RUNTIME: (RUNTIME, "user_wsgi_wrapper.inside"),
    "user_wsgi_wrapper.user_wsgi_wrapper": (RUNTIME, "user_wsgi_wrapper.inside"),
    EMBEDDED: (EMBEDDED, RUNTIME, "user_wsgi_wrapper.inside"),
    HOOK: (HOOK, *(f"user_wsgi_wrapper.{name}" for name in ("site", "layout", "inside"))),
    WEB: (WEB, HOOK, *(f"user_wsgi_wrapper.{name}" for name in ("site", "layout", "inside"))),
    "log_splitter": ("log_splitter", "user_wsgi_wrapper.site", "user_wsgi_wrapper.layout"),
    "user_wsgi_wrapper.layout": ("user_wsgi_wrapper.site", "user_wsgi_wrapper.inside"),
    "user_wsgi_wrapper.site": ("user_wsgi_wrapper.inside",),
    "user_wsgi_wrapper.inside": (),
}
# What the runtime loads when it comes to need it, all by late.load: tests/test_late.py attacks that.
LATE = {
    f"{RUNTIME}.advice": {f"{RUNTIME}.rules"},
    f"{RUNTIME}.caught": {f"{RUNTIME}.refused_host"},
    f"{RUNTIME}.connection": {"_socket"},
    f"{RUNTIME}.deploy": {f"{RUNTIME}.kept"},
    f"{RUNTIME}.error_log": {"json"},
    f"{RUNTIME}.error_page": {"json"},
    f"{RUNTIME}.failure": {"traceback"},
    f"{RUNTIME}.kept": {"linecache"},
    f"{RUNTIME}.server_memory": {"ctypes"},
    f"{RUNTIME}.succession": {"ctypes"},
    f"{RUNTIME}.worker": {f"{RUNTIME}.post_mortem", f"{RUNTIME}.server_memory"},
    f"{RUNTIME}.wrapper": {f"{RUNTIME}.caught", f"{RUNTIME}.static"},
}
# What isn't the standard library's, by who may use it; setup.cfg must require it.
FOREIGN = {
    HOOK: {"werkzeug", "psutil", "pythonjsonlogger", "sqlalchemy", "jinja2", "idna", "psycopg", "pymysql"},
    EMBEDDED: {"werkzeug", "psutil"},
    WEB: {"werkzeug", "psutil", "pythonjsonlogger", "jinja2", "prometheus_client"},
    "user_wsgi_wrapper.site": {"idna"},
}
# those whose name isn't that of their module
DISTRIBUTIONS = {"pythonjsonlogger": "python-json-logger", "prometheus_client": "prometheus-client"}


def read_sources():
    """Every module of the packages: its dotted name and its text."""
    sources = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            sources[name] = path.read_text()
    return sources


def is_in(name, parents):
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def imports(name, text, modules):
    """Every module that one names in an import, wherever that stands, or with a literal in late.load and its like."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(name, node, modules)
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") or ast.unparse(node.func) == "late.load":
                yield str(node.args[0].value)


def absolute(name, node, modules):
    """The module that an import-from names, dots at its start resolved."""
    is_package = any(other.startswith(name + ".") for other in modules)
    parents = name.split(".") if is_package else name.split(".")[:-1]
    above = parents[: len(parents) - node.level + 1] if node.level else []
    return ".".join([*above, *filter(None, [node.module])])


def graph(sources):
    return {name: set(imports(name, text, sources)) - {name} for name, text in sources.items()}


def violations(sources, floors):
    """One line for each import that breaks the law."""
    edges = graph(sources)
    for name in sources:
        if name not in floors:
            yield f"{name}: it has no floor yet, give it one in FLOORS"
    for name, targets in edges.items():
        for target in sorted(targets):
            yield from _violations_of(name, target, floors)
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        yield "a circle: " + " -> ".join(error.args[1])


def _violations_of(name, target, floors):
    if not is_in(target, PACKAGES):
        root = target.partition(".")[0]
        allowed = set().union(*(modules for place, modules in FOREIGN.items() if is_in(name, [place])))
        # _typeshed is there for a type checker alone: outside TYPE_CHECKING it fails at once
        if root not in sys.stdlib_module_names and root not in allowed and root != "_typeshed":
            yield f"{name} imports {target}: neither the standard library's nor allowed there"
        return
    if target in floors and name in floors:
        above = floors[target] > floors[name]
        beside = floors[target] == floors[name] and name.rpartition(".")[0] != target.rpartition(".")[0]
        if above or beside:
            yield f"{name} (floor {floors[name]}) imports {target} (floor {floors[target]}): imports go down"
    for place, seen in WALLS.items():
        # a package's own __init__ holds the version alone, and importing anything below it runs that anyway
        if is_in(name, [place]) and target != "user_wsgi_wrapper" and not is_in(target, seen):
            yield f"{name} imports {target}: there is a wall between them"


SOURCES = read_sources()


def test_every_import_keeps_the_law():
    broken = list(violations(SOURCES, FLOORS))
    assert not broken, "\n".join(["the import law is broken:", *broken])


@pytest.mark.parametrize("name", [name for name in SOURCES if len(SOURCES[name].splitlines()) >= 10])
def test_a_room_has_less_than_three_hundred_lines(name):
    lines = len(SOURCES[name].splitlines())
    assert lines < ROOM, f"{name} has {lines} lines: it holds more than one noun"


@pytest.mark.parametrize(
    "name", ["user_wsgi_wrapper", RUNTIME, EMBEDDED, HOOK, "log_splitter", "user_wsgi_wrapper.inside"]
)
def test_what_is_run_by_every_import_imports_nothing(name):
    assert graph(SOURCES)[name] == set()


ITS_GRAMMAR = [f"{HOOK}.arguments", f"{HOOK}.help_texts", "user_wsgi_wrapper.__main__", "user_wsgi_wrapper.site"]
SERVE = [RUNTIME, EMBEDDED, *ITS_GRAMMAR]


@pytest.mark.parametrize("name", [name for name in SOURCES if is_in(name, SERVE)])
def test_the_runtime_and_serve_can_be_read_by_the_oldest_python_they_are_for(name):
    ast.parse(SOURCES[name], feature_version=(3, 9))


@pytest.mark.parametrize("name", [name for name in SOURCES if is_in(name, [RUNTIME])])
def test_what_the_runtime_needs_late_it_has_by_late_load_alone(name):
    """Once the tenant's folder is on sys.path, a module of his could answer to the name."""
    nodes = list(ast.walk(ast.parse(SOURCES[name])))
    for function in nodes:
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found = [node for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
            assert not found, ast.unparse(found[0])
    calls = {ast.unparse(node.func): node for node in nodes if isinstance(node, ast.Call)}
    assert {"__import__", "import_module", "importlib.import_module"}.isdisjoint(calls)
    loads = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "late.load"]
    assert {ast.literal_eval(node.args[0]) for node in loads} == LATE.get(name, set())


def test_what_the_modules_use_is_what_setup_requires():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    options = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    required = "\n".join(options).lower().split()
    for module in set().union(*FOREIGN.values()):
        wanted = DISTRIBUTIONS.get(module, module)
        assert any(line.startswith((wanted + ">", wanted + "[", wanted + "=")) for line in required), module


# -- the law itself


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (f"{HOOK}.unheard_of", "", "has no floor"),
        (f"{HOOK}.mounts", f"from {HOOK} import spinup", "imports go down"),
        (f"{HOOK}.mounts", f"def f():\n    import {HOOK}.spinup", "imports go down"),
        (f"{HOOK}.mounts", "from . import spinup", "imports go down"),
        (f"{HOOK}.mounts", "from .spinup import warm", "imports go down"),
        (f"{HOOK}.mounts", f"import importlib\nimportlib.import_module('{HOOK}.spinup')", "imports go down"),
        (f"{HOOK}.chroot", "from log_splitter import splitter", "imports go down"),
        (f"{HOOK}.spinup", f"from {RUNTIME}.capture import x", "a wall"),
        (f"{HOOK}.spinup", f"from {RUNTIME} import capture", "a wall"),
        (f"{HOOK}.spinup", "from log_splitter import line", "a wall"),
        (f"{RUNTIME}.capture", "from user_wsgi_wrapper import site", "a wall"),
        (f"{RUNTIME}.wrapper", "from user_wsgi_wrapper.layout import Layout", "a wall"),
        (f"{RUNTIME}.wrapper", "if TYPE_CHECKING:\n    import werkzeug.wrappers", "nor allowed"),
        (f"{RUNTIME}.wrapper", "import idna", "nor allowed"),
        (f"{RUNTIME}.wrapper", "def f():\n    late.load('idna')", "nor allowed"),
        (f"{RUNTIME}.capture", f"late.load('{RUNTIME}.wrapper')", "imports go down"),
        (f"{RUNTIME}.wrapper", f"from {EMBEDDED} import plan", "imports go down"),
        (f"{EMBEDDED}.plan", f"from {HOOK}.arguments import parser", "a wall"),
        (f"{EMBEDDED}.plan", "import sqlalchemy", "nor allowed"),
        (f"{HOOK}.stack", f"from {EMBEDDED}.plan import Plan", "a wall"),
        (f"{HOOK}.spinup", "import requests", "nor allowed"),
        ("log_splitter.line", "import psutil", "nor allowed"),
        ("log_splitter.splitter", f"from {HOOK} import mounts", "a wall"),
        ("user_wsgi_wrapper.site", "from user_wsgi_wrapper.layout import Layout", "imports go down"),
        (f"{RUNTIME}.static", f"from {RUNTIME} import beneath", "a circle"),
    ],
)
def test_a_broken_law_is_told(name, text, said):
    sources = {**dict.fromkeys(FLOORS, ""), f"{RUNTIME}.beneath": f"from {RUNTIME} import static", name: text}
    assert any(said in line for line in violations(sources, FLOORS))


def test_a_kept_law_is_not():
    sources = {
        **dict.fromkeys(FLOORS, ""),
        f"{RUNTIME}.wrapper": f"import os\nfrom {RUNTIME} import capture\nfrom user_wsgi_wrapper import inside",
        f"{HOOK}.chroot": f"import psutil, sqlalchemy.pool\nfrom . import mounts\nfrom {HOOK}.bases import x",
        f"{HOOK}.arguments": "from user_wsgi_wrapper import __version__, inside, site",
        "log_splitter.splitter": "from log_splitter.line import x\nfrom user_wsgi_wrapper.layout import Layout",
    }
    assert list(violations(sources, FLOORS)) == []
