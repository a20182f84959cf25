"""The advice in a failure's record: a line that says what to do, and silence for what merely looks alike."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.advised_site import OK, AdvisedSite
from tests.bare_uwsgi import ROOT
from user_wsgi_wrapper.runtime.advice import LIMIT, advise

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def site(tmp_path):
    return AdvisedSite(tmp_path)


def says(advice, *words):
    assert all(word in advice for word in words), advice
    return True


# -- a server of one's own

LISTENS = "import socket\ntaken = socket.create_server(('127.0.0.1', 0))\naddress = taken.getsockname()\n"


def test_a_server_beside_the_site_is_left_alone(site):
    """An application is there already, or the server is a library's."""
    server = "from http.server import HTTPServer, BaseHTTPRequestHandler as H\nHTTPServer(address, H)\n"
    assert says(site.fail(LISTENS + server), "WWW/wsgi.py line 5 starts a server of its own")
    assert site.fail(OK + LISTENS + server) == ""
    assert site.fail(LISTENS + server + OK) == ""
    other = "from wsgiref.simple_server import make_server\nmake_server(*address, lambda e, s: [])\n"
    assert site.fail(LISTENS + OK + other) == ""
    library = "import sys\nsys.path.append('site-packages')\nimport metrics\n"
    site.write("site-packages/metrics.py", LISTENS + server)
    assert site.fail(library + OK) == ""


def test_a_port_that_is_taken_in_a_request_is_no_server_of_the_site(site):
    assert site.fail(LISTENS + "def application(e, s):\n    socket.create_server(address)\n") == ""
    server = "    from wsgiref.simple_server import make_server\n    make_server(*address, None)\n"
    assert site.fail(LISTENS + f"def application(e, s):\n{server}") == ""


def test_an_exit_without_a_server_gets_no_advice(site):
    assert site.fail("import sys\nsys.exit(1)\n") == ""
    assert site.fail("import socket\nsocket.socket().connect(('127.0.0.1', 1))\n") == ""


# -- a module that isn't there


def test_a_package_with_another_name_is_named(site):
    advice = site.fail("import telebot\n" + OK)
    assert says(
        advice, "'telebot', which WWW/wsgi.py line 1 imports, isn't installed: ", "pip install pyTelegramBotAPI"
    )
    assert says(advice, f"{sys.prefix}/bin/python{VERSION}", f"virtual environment {sys.prefix}", "searched: WWW ")


def test_a_module_of_ones_own_is_never_said_to_be_pips(site):
    assert "pip" not in site.fail("import helpers_of_mine\n" + OK)


def test_a_folder_of_sys_path_that_is_not_there_is_named(site):
    advice = site.fail("import sys\nsys.path.append('/home/nobody/mysite')\nimport helpers_of_mine\n" + OK)
    assert says(advice, "is in no folder of sys.path, which names /home/nobody/mysite, where nothing is")


def test_a_module_in_a_virtual_environment_that_is_not_in_use_is_found(site):
    site.write(f"{site.home}/envs/venv/pyvenv.cfg")
    assert "virtual environment HOME" not in site.fail("import telebot\n" + OK)
    site.write(f"{site.home}/.venv/pyvenv.cfg")
    site.write(f"{site.home}/.venv/lib/python{VERSION}/site-packages/telebot/__init__.py")
    assert says(site.fail("import telebot\n" + OK), "in the virtual environment HOME/.venv, which isn't this site's")
    os.rename(site.home / f".venv/lib/python{VERSION}", site.home / ".venv/lib/python3.4")
    assert says(site.fail("import telebot\n" + OK), f"HOME/.venv, for Python 3.4, this site runs {VERSION}")


def test_a_module_in_a_folder_that_is_not_searched_is_found(site):
    site.write(f"{site.home}/project/shop/__init__.py")
    assert says(site.fail("import shop.views\n" + OK), "in HOME/project: ", "sys.path.insert(0, 'HOME/project')")
    site.write(f"{site.home}/old/shop.py")  # now it can't be known which one is meant
    assert "sys.path.insert" not in site.fail("import shop.views\n" + OK)


def test_a_module_beside_its_importer_in_a_package_is_imported_from_the_package(site):
    """As Python 2 did by itself."""
    site.write("shop/__init__.py")
    site.write("shop/cart.py")
    site.write("shop/views.py", "import cart\n")
    advice = site.fail("import shop.views\n" + OK)
    assert says(
        advice, "which WWW/shop/views.py line 1 imports", "in the package WWW/shop: write `from shop import cart`"
    )


def test_packages_of_the_user_and_of_the_system_are_found(site):
    site.write(f"{site.home}/.local/lib/python{VERSION}/site-packages/telebot.py")
    site.python = sys.executable
    assert says(
        site.fail("import telebot\n" + OK),
        "is installed in HOME/.local/lib",
        "a virtual environment sees only what is in it",
    )
    os.rename(site.home / f".local/lib/python{VERSION}", site.home / ".local/lib/python3.4")
    assert "installed in HOME/.local" not in site.fail("import telebot\n" + OK)


@pytest.mark.parametrize(
    "source",
    [
        # the tenant's own word about a plugin
        "try:\n    import fancy_plugin\nexcept ImportError:\n    raise RuntimeError('no plugin')\n",
        "try:\n    import fancy_plugin\nexcept ImportError as error:\n    raise ImportError('plugin?') from error\n",
        "raise ModuleNotFoundError(\"No module named 'fancy'\", name='fancy')\n",
        "raise ModuleNotFoundError('fancy is not installed')\n",
        # there, and of the tenant's own making
        "import sys, types\nsys.modules['shop'] = types.ModuleType('shop')\nimport shop.cart\n",
        "import sys\nsys.modules['telebot'] = None\nimport telebot\n",
        # an existing module that fails
        "import pkg.missing_part\n",
        "from pkg import missing_name\n",
        # code without source
        "exec(compile('import telebot', '<generated>', 'exec'))\n",
    ],
)
def test_an_import_that_failed_for_another_reason_gets_no_advice(site, source):
    site.write("pkg/__init__.py")
    assert site.fail(source + OK) == ""


def test_two_packages_whose_names_differ_in_case_are_two(site):
    """Crypto is pycryptodome's; a package crypto is something else."""
    site.write("crypto.py")
    assert says(site.fail("import Crypto\n" + OK), "pip install pycryptodome")


# -- the callable's name


@pytest.mark.parametrize(
    "source",
    [
        "def app(name, value):\n    pass\n",
        "def create_app(config):\n    pass\n",
        "app = None\n",
        "class app:\n    def __call__(self, environ, start_response):\n        pass\n",
        "from wsgiref.simple_server import demo_app\n",
        "class Proxy:\n    def __getattr__(self, name):\n        raise SystemExit('run')\napp = Proxy()\n",
        "async def create_app():\n    pass\n",
    ],
)
def test_what_is_no_application_is_not_proposed(site, source):
    assert site.fail(source) == ""


def test_each_application_of_a_few_is_named_and_app_is_the_one_of_them(site):
    source = OK.replace("application", "first") + OK.replace("application", "second")
    assert says(site.fail(source), "`first` or `second` in WWW/wsgi.py can be called")
    assert says(site.fail(source + "app = second\n"), "`app` in WWW/wsgi.py", "`application = app`")
    middleware = "class Middleware:\n    def __call__(self, environ, start_response):\n        pass\n"
    assert says(site.fail(middleware + "site = other = Middleware()\n"), "`application = other`")


# -- a file in a library's way


@pytest.mark.parametrize(
    ("files", "source"),
    [
        # his own module, with a mistake of his own
        ({"random.py": "def dice():\n    return 4\n"}, "import random\nrandom.dices()\n"),
        ({"telebot.py": "def send():\n    pass\n"}, "import telebot\ntelebot.sent()\n"),
        ({"telebot.py": ""}, "from telebot import TeleBot\n"),
        # his own name, which isn't there yet
        ({"random.py": "import wsgi_part\ndef choice():\n    pass\n", "wsgi_part.py": "from random import choice\n"},
         "import random\n"),
        # the library itself, with a mistake of his
        ({}, "import random\nrandom.chioce([1])\n"),
        ({}, "from random import chioce\n"),
        # what the library has is a method, a word in a comment
        ({"queue.py": "import random\n"}, "import queue\nqueue.put_nowait\n"),
    ],
)  # fmt: skip
def test_a_module_of_ones_own_that_is_in_nobodys_way_is_left_alone(site, files, source):
    for name, text in files.items():
        site.write(name, text)
    assert site.fail(source + OK) == ""


def test_a_file_named_as_an_extension_module_of_the_library_is_found(site):
    site.write("json.py", "import json\n")
    advice = site.fail("import json\njson.dumps({})\n" + OK)
    assert says(advice, "WWW/json.py stands in the way of the library's module 'json'", "which has 'dumps'")


def test_the_wsgi_file_itself_may_be_in_the_way(site, monkeypatch):
    site.write("site-packages/flask/__init__.py", "from .app import Flask as Flask\n")
    site.write("site-packages/flask/app.py", "class Flask: pass\n")
    site.write("flask.py", "import sys\nsys.path.append('site-packages')\nfrom flask import Flask\n")
    monkeypatch.chdir(site.www)
    advice = site.fail("#\n", SITE_WSGI_FILE=str(site.www / "flask.py"))
    assert says(advice, "WWW/flask.py stands in the way", "which has 'Flask'")


# -- source text


@pytest.mark.parametrize(
    "source",
    [
        # markers in a text, the mistake elsewhere
        'TEXT = """\n<<<<<<< HEAD\n=======\n>>>>>>> theirs\n"""\nif 1\n    pass\n',
        "=======\n",
        # Python 3 with other mistakes
        "print('a'\n",
        "prints 'a'\n",
        "try:\n    pass\nexcept ValueError error:\n    pass\n",
        "eval('print 1')\n",
        "int('a\\0b')\n",
        "compile('a\\0b', 'wsgi.py', 'exec')\n",
        "raise SyntaxError('invalid non-printable character U+FEFF')\n",
        "raise SyntaxError('invalid character', ('/nonexistent.py', 1, 1, 'x'))\n",
        "def f():\n  x = 1\n y = 2\n",
        "b'\\xe9'.decode()\n",
        "import json\njson.loads('\\ufeff{}')\n",
    ],
)
def test_what_is_wrong_in_another_way_gets_no_advice(site, source):
    assert site.fail(source + OK) == ""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\nname\u00a0= os.name\n", "wsgi.py line 2 has a no-break space"),
        ("try:\n    pass\nexcept ValueError, error:\n    pass\n", "write `as` in place of the comma"),
        (">>> import os\n", "was pasted with its >>>"),
        ("```python\nimport os\n", "was pasted with its ```"),
        ("<!DOCTYPE html>\n<html></html>\n", "holds HTML, no Python source"),
        ("{\\rtf1\\ansi import os}\n", "holds RTF"),
    ],
)
def test_what_was_pasted_is_named(site, source, words):
    assert says(site.fail(source), words)


def test_a_fault_in_an_imported_file_names_that_file(site):
    site.write("views.py", "x = 'Caf\xe9'\n", "latin-1")
    assert says(site.fail("import views\n" + OK), "WWW/views.py line 1 has the byte 0xe9")
    site.write("views.py", "def f():\n\tx = 1\n        y = 2\n")
    assert says(
        site.fail("import views\n" + OK), "WWW/views.py is indented with tabs (line 2) and with spaces (line 3)"
    )


def test_an_encoding_that_is_declared_is_not_blamed(site):
    site.write("wsgi.py", "# coding: ascii\nx = 'Caf\xe9'\n" + OK, "latin-1")
    assert site.fail() == ""


# -- files


def test_a_relative_path_is_looked_for_beside_the_code_and_in_the_home(site):
    source = "open('data/a.json')\n" + OK
    assert site.fail(source) == ""
    site.write(f"{site.home}/data/a.json")
    advice = site.fail(source)
    assert says(advice, "the relative path 'data/a.json' leads to WWW/data/a.json", "there is HOME/data/a.json: ")
    site.write("shop/views.py", "import os\nos.listdir('pictures')\n")
    (site.www / "shop/pictures").mkdir()
    assert says(site.fail("import shop.views\n" + OK), "there is WWW/shop/pictures")


def test_a_relative_path_into_a_folder_that_is_elsewhere_is_told_of(site):
    (site.home / "uploads").mkdir()
    advice = site.fail("open('uploads/new.png', 'w')\n" + OK)
    assert says(advice, "there is no folder WWW/uploads; there is HOME/uploads: give the absolute path")


def test_a_name_in_other_letters_and_a_path_of_windows_are_told_of(site):
    site.write("Data.csv")
    assert says(site.fail("open('data.csv')\n" + OK), "there is no WWW/data.csv, but WWW/Data.csv")
    assert says(site.fail(r"open('C:\\Users\\ada\\data.csv')" + "\n" + OK), "is a path of a Windows machine")


@pytest.mark.parametrize(
    "source",
    [
        "open('/nowhere/at/all.txt')\n",
        "open('nowhere.txt')\n",
        "import subprocess\nsubprocess.run(['tool'])\n",
        "raise FileNotFoundError(2, 'No such file or directory', 'wsgi.py')\n",
        "raise FileNotFoundError('tool')\n",
        "import os\nos.rename('tool', 'else')\n",
        "open(99)\n",
        "try:\n    open('tool')\nexcept OSError:\n    raise ValueError('no tool')\n",
    ],
)
def test_a_file_that_is_nowhere_gets_no_advice(site, source):
    (site.home / "tool").touch()
    assert site.fail(source + OK) == ""


@pytest.mark.parametrize(
    "source",
    [
        "raise PermissionError(13, 'Permission denied', '/tmp')\n",
        "raise PermissionError(1, 'Operation not permitted', '/etc/passwd')\n",
        "raise PermissionError('you are not allowed to do that')\n",
        "raise PermissionError(13, 'Permission denied', '/nonexistent/folder/file')\n",
    ],
)
def test_a_permission_that_the_disk_does_not_refuse_gets_no_advice(site, source):
    assert site.fail(source + OK) == ""


# -- databases

SQLITE = "import sqlite3\n"


def make_database(path, rows=True):
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path)
    if rows:
        connection.execute("create table visits (number)")
    connection.close()
    return path


@pytest.mark.parametrize(
    "source",
    [
        "c = sqlite3.connect('file:site.db?mode=ro', uri=True)\nc.execute('insert into visits values (1)')\n",
        "c = sqlite3.connect('file:none.db?mode=ro', uri=True)\n",
        "raise sqlite3.OperationalError('attempt to write a readonly database')\n",
        "raise sqlite3.OperationalError('unable to open database file')\n",
        "c = sqlite3.connect('site.db')\nc.execute('select * from visitors')\n",
        "c = sqlite3.connect(':memory:')\nc.execute('select * from visits')\n",
        "c = sqlite3.connect('site.db')\nc.execute('pragma query_only=1')\nc.execute('delete from visits')\n",
    ],
)
def test_a_database_that_fails_for_another_reason_gets_no_advice(site, source):
    make_database(site.www / "site.db")
    make_database(site.home / "site.db")
    assert site.fail(SQLITE + source + OK) == ""


def test_a_database_in_a_folder_that_is_not_there_is_told_of(site):
    for way in ("'data/site.db'", "name", "database=name", "path"):
        source = f"from pathlib import Path\nname = 'data/site.db'\npath = Path(name)\nsqlite3.connect({way})\n"
        assert says(site.fail(SQLITE + source + OK), "isn't there: make WWW/data")
    assert says(
        site.fail(SQLITE + "sqlite3.connect('/tmp')\n" + OK), "/tmp, which is to be the database, is a folder"
    )
    make_database(site.home / "data/site.db")
    advice = site.fail(SQLITE + "sqlite3.connect('data/site.db')\n" + OK)
    assert says(advice, "leads to WWW/data/site.db", "there is HOME/data/site.db")


def test_a_database_that_was_made_empty_in_the_wrong_folder_is_told_of(site):
    make_database(site.home / "site.db")
    source = SQLITE + "c = sqlite3.connect('site.db')\nc.execute('select * from visits')\n" + OK
    assert says(site.fail(source), "the database in use, WWW/site.db, is empty; there is another one, HOME/site.db")
    (site.home / "site.db").unlink()
    (site.www / "site.db").unlink()
    assert site.fail(source) == ""


def test_looking_at_a_database_leaves_its_locks(site):
    """Closing any descriptor of a file drops the process's locks on it, so nothing of SQLite's may be opened."""
    source = """
import os, sqlite3, subprocess, sys
c = sqlite3.connect('site.db', isolation_level=None)
c.execute('begin exclusive')
def application(environ, start_response):
    raise sqlite3.OperationalError('attempt to write a readonly database')
import atexit
code = "import sqlite3; sqlite3.connect('site.db', timeout=0).execute('begin immediate')"
atexit.register(lambda: print(subprocess.run([sys.executable, '-c', code], stderr=-3).returncode, flush=True))
"""
    make_database(site.www / "site.db")
    assert site.fail(source) == ""
    assert site.shown.endswith("1\n")


# -- variables


@pytest.mark.parametrize(
    "source",
    ["{}['KEY']\n", "import os\nos.environ['KEY'] = 'a'\nraise KeyError('KEY')\n", "raise KeyError('KEY')\n",
     "import os\ntry:\n    os.environ['KEY']\nexcept KeyError:\n    raise LookupError('KEY')\n"],
)  # fmt: skip
def test_a_key_that_is_no_variable_gets_no_advice(site, source):
    assert site.fail(source + OK) == ""


# -- the record, and the function itself


def test_json_has_the_advice_in_a_field_of_its_own(site):
    assert site.fail("import telebot\n" + OK, SITE_LOG_FORMAT="json") == ""
    load, _request = (json.loads(line) for line in site.text.splitlines())
    assert load["advice"].startswith("'telebot', which ")
    assert load["exc_info"].endswith("ModuleNotFoundError: No module named 'telebot'")
    assert site.fail("1 / 0\n", SITE_LOG_FORMAT="json") == ""
    assert "advice" not in json.loads(site.text.splitlines()[0])


@pytest.mark.parametrize("source", ["import telebot\n" + OK, "def application(e, s):\n    import telebot\n"])
def test_the_page_shows_the_advice_in_debug_alone(site, source):
    assert site.fail(source) != ""
    assert "Advice" not in site.shown
    site.fail(source, SITE_DEBUG="1")
    assert site.shown.count("Advice: 'telebot', which ") == 1


def test_it_never_raises_and_is_always_one_short_line(tmp_path, monkeypatch):
    class Odd(FileNotFoundError):
        def __str__(self):
            raise SystemExit

        @property
        def filename(self):
            raise KeyboardInterrupt

    assert advise(Odd(2, "a", "b"), "/var/www/wsgi.py") == ""
    (tmp_path / "a\nb").touch()
    monkeypatch.chdir(tmp_path)
    advice = advise(FileNotFoundError(2, "no", "A\nB"), str(tmp_path / "wsgi.py"))
    assert re.fullmatch(r"there is no .*/A B, but .*/a b: .*", advice)
    assert len(advise(FileNotFoundError(2, "no", f"C:\\{'a' * 9999}"), "wsgi.py")) <= LIMIT


def test_no_module_of_the_tenants_stands_in_for_a_rule_or_for_what_the_rules_need(site):
    for name in ("rules", "origin", "shadow", "missing_module", "re", "linecache", "os"):
        site.write(f"{name}.py", "raise SystemExit('taken')\n")
    assert says(site.fail("import telebot\n" + OK), "isn't installed")
    program = """
import sys
from user_wsgi_wrapper.runtime import wrapper
before = set(sys.modules)
from user_wsgi_wrapper.runtime import advice
print(advice.advise(FileNotFoundError(2, "no", "README.MD"), "wsgi.py"))
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"there is no .*/README.MD, but .*/README.md: .*\n\[\]\n", done.stdout)


def test_a_chain_without_an_end_ends():
    first, second = ImportError(), ImportError()
    first.__cause__, second.__cause__ = second, first
    assert advise(first, "wsgi.py") == ""


def test_the_time_is_bounded_in_crowded_folders(site):
    for number in range(4000):
        (site.home / f"file{number}").touch()
    for number in range(300):
        (site.www / f"folder{number}").mkdir()
    site.write("wsgi.py", "import time\nstart = time.perf_counter()\nimport nothing_of_the_kind\n")
    start = time.perf_counter()
    assert says(site.fail(), "is in no folder of sys.path")
    assert time.perf_counter() - start < 10
