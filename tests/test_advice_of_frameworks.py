"""The advice for real Django, Flask and Bottle under real uWSGI, in a tenant's virtual environment."""

import tempfile
from pathlib import Path

import pytest

from tests import tenant_venv
from tests.bare_uwsgi import APPS, BareUwsgi
from tests.test_advice_under_uwsgi import ID, NOBODY, THREADS, ask_for, assert_advised, make_database, of_nobody

OWN_HOST = 'env = SHOP_HOSTS=["tenant.example"]'
KEY = "env = SHOP_SECRET_KEY=of the shop"


@pytest.fixture(scope="module")
def venv():
    """The path of an environment with the three frameworks."""
    # Not pytest's tmp_path: every session of pytest's shuts its folders for others, and a tenant comes here.
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        tenant_venv.install(Path(__file__).with_name("advised_frameworks.txt"), home, "somebody")
        yield home / "venv"


@pytest.fixture
def serve(venv):
    """Makes a server over one of tests/apps with that environment; `more` are further lines of the vassal."""
    return lambda case, *more, threads=1: BareUwsgi(APPS / case, threads, [f"virtualenv = {venv}", *more])


def failed_load(server):
    assert ask_for(server, "/").status == 500
    loading = server.records("-")
    return loading[next(n for n, line in enumerate(loading) if "could not be loaded" in line) :]


# -- Django


@THREADS
def test_django_that_refuses_the_sites_host_is_told_of_once(serve, threads):
    with serve("django_site", KEY, threads=threads) as server:
        for _ in range(3):
            assert ask_for(server, "/").status == 400
        lines = server.records(ID)
        assert lines[0] == "GET /: Django answered 400, it refuses the host 'tenant.example'"
        assert len(lines) == 2
        assert_advised(server, lines, r"add 'tenant\.example' to ALLOWED_HOSTS in WWW/mysite/settings\.py")
        assert ask_for(server, "/", HTTP_HOST="other.example:8080").status == 400
        assert server.records(ID)[2].endswith("refuses the host 'other.example'")


@THREADS
def test_a_400_of_another_reason_is_not_taken_for_a_refused_host(serve, threads):
    with serve("django_site", KEY, OWN_HOST, threads=threads) as server:
        assert ask_for(server, "/").status == 200
        assert ask_for(server, "/bad").status == 400
        assert ask_for(server, "/", HTTP_HOST="a_b c").status == 400
        assert server.log() == ""
    with serve("django_site", KEY, 'env = SHOP_HOSTS=[".example"]', threads=threads) as server:
        assert (ask_for(server, "/bad").status, server.log()) == (400, "")
    server = serve("django_site", KEY, threads=threads)
    # Nothing looks at the host here: the view itself answers 400.
    settings = server.www / "mysite" / "settings.py"
    settings.write_text(
        settings.read_text().replace('MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]', "")
    )
    with server:
        assert (ask_for(server, "/bad").status, server.log()) == (400, "")


@THREADS
def test_what_django_catches_and_tells_nobody_is_one_record_with_its_advice(serve, threads):
    with serve("django_site", OWN_HOST, threads=threads) as server:
        assert ask_for(server, "/sign").status == 500
        lines = server.records(ID)
        assert lines[0] == "GET /sign: the application failed, Django answers 500"
        assert lines[-2].startswith("django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not")
        assert_advised(
            server,
            lines,
            r"WWW/mysite/settings\.py takes SECRET_KEY from the environment variable SHOP_SECRET_KEY, which isn't "
            r"set: set it by `os\.environ\['SHOP_SECRET_KEY'\] = \.\.\.` in wsgi\.py, .*",
        )
        assert ask_for(server, "/fail", REQUEST_ID="a" * 32).status == 500
        assert server.records("a" * 12)[-1] == "ZeroDivisionError: division by zero"
        assert server.log().count("Traceback") == 2


def test_what_django_catches_and_logs_itself_has_its_advice_beside_it(serve):
    with serve("django_site", OWN_HOST, "env = SHOP_LOGS=1") as server:
        assert ask_for(server, "/sign").status == 500
        assert server.log().count("Traceback") == 1
        assert server.log().count("Advice: ") == 1
        assert ask_for(server, "/fail", REQUEST_ID="a" * 32).status == 500
        assert server.log().count("Traceback") == 2
        assert "Django answers 500" not in "".join(server.records("a" * 12))
    with serve("django_site", OWN_HOST, "env = SHOP_LOGS=alone") as server:
        # Django's loggers are disabled, as logging's configuration does unless told otherwise.
        assert ask_for(server, "/fail").status == 500
        assert server.records(ID)[-1] == "ZeroDivisionError: division by zero"
        assert server.log().count("Traceback") == 1


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("", r"WWW/mysite/settings\.py defines no SECRET_KEY: .*"),
        ('SECRET_KEY = ""', r"the SECRET_KEY of WWW/mysite/settings\.py is empty: .*"),
    ],
)
def test_a_secret_key_that_is_missing_is_told_of(serve, key, advice):
    server = serve("django_site", OWN_HOST)
    settings = server.www / "mysite" / "settings.py"
    settings.write_text(settings.read_text().replace('SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "")', key))
    with server:
        assert ask_for(server, "/sign").status == 500
        assert_advised(server, server.records(ID), advice)


WITHOUT_SETTINGS = "from django.core.wsgi import get_wsgi_application\n\napplication = get_wsgi_application()\n"
TOO_EARLY = 'import os\n\nos.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"\nimport shop.models\n'
# File, its text, and the advice.
SETTINGS_FILE = r"WWW/mysite/settings\.py"
DJANGO_LOADING = {
    "unset": ("wsgi.py", WITHOUT_SETTINGS, r"DJANGO_SETTINGS_MODULE isn't set: `os\.environ\.setdefault\("
              r"'DJANGO_SETTINGS_MODULE', 'mysite\.settings'\)` in wsgi\.py, .* \(there is " + SETTINGS_FILE + r"\)"),
    "misspelled": ("wsgi.py", TOO_EARLY.replace("mysite.settings", "mysite.setings"),
                   r"DJANGO_SETTINGS_MODULE is 'mysite\.setings', and WWW/mysite has no module 'setings'; there is "
                   r"WWW/mysite/settings\.py, which is mysite\.settings"),
    "no project": ("wsgi.py", TOO_EARLY.replace("mysite.settings", "project.settings"),
                   r"'project', which .*/importlib/__init__\.py line \d+ imports, is in no folder of sys\.path: .*"),
    "models too early": ("wsgi.py", TOO_EARLY, r"WWW/wsgi\.py line 4 imports what needs Django's models, before .*"),
    "models in an app's start": ("shop/apps.py", "from shop.models import Item\n", r"WWW/shop/apps\.py line 1 "
                                 r"imports models while Django is still loading the apps: .*"),
}  # fmt: skip


@THREADS
@pytest.mark.parametrize("mistake", DJANGO_LOADING)
def test_a_django_that_is_not_set_up_is_told_of(serve, mistake, threads):
    name, text, advice = DJANGO_LOADING[mistake]
    server = serve("django_site", KEY, threads=threads)
    (server.www / name).write_text(text)
    with server:
        assert_advised(server, failed_load(server), advice)


RAISE = "raise ImproperlyConfigured('{}')\n"
IMPORTS = "import os\nfrom django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured, DisallowedHost\n"
SETTINGS = "os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'\n"


@pytest.mark.parametrize(
    "source",
    [
        SETTINGS + RAISE.format("Requested setting X, but settings are not configured."),
        RAISE.format("the shop needs a currency"),
        RAISE.format("The SECRET_KEY setting must not be empty."),
        SETTINGS + "import mysite.settings as s\ns.SECRET_KEY = 'set'\n"
        + RAISE.format("The SECRET_KEY setting must not be empty."),
        "raise AppRegistryNotReady('not yet')\n",
        SETTINGS + "import django\ndjango.setup()\nraise AppRegistryNotReady('not yet')\n",
        "raise DisallowedHost(\"Invalid HTTP_HOST header: 'a'. You may need to add 'a' to ALLOWED_HOSTS.\")\n",
        SETTINGS + "import django\ndjango.setup()\nfrom django.conf import settings\nsettings.ALLOWED_HOSTS = ['a']\n"
        "raise DisallowedHost(\"Invalid HTTP_HOST header: 'a'. You may need to add 'a' to ALLOWED_HOSTS.\")\n",
    ],
)  # fmt: skip
def test_an_exception_of_djangos_that_somebody_else_raised_gets_no_advice(serve, source):
    server = serve("django_site", KEY)
    (server.www / "wsgi.py").write_text(IMPORTS + source)
    with server:
        assert "Advice: " not in "".join(failed_load(server))


@THREADS
def test_a_disallowed_host_that_leaves_django_is_told_of(serve, threads):
    server = serve("django_site", KEY, threads=threads)
    source = "from django.http import HttpRequest\ndef application(environ, start_response):\n"
    source += "    request = HttpRequest()\n    request.META.update(environ)\n    request.get_host()\n"
    (server.www / "wsgi.py").write_text(IMPORTS + SETTINGS + source)
    with server:
        assert ask_for(server, "/").status == 500
        assert_advised(
            server, server.records(ID), r"add 'tenant\.example' to ALLOWED_HOSTS in WWW/mysite/settings\.py"
        )


@THREADS
def test_djangos_database_that_may_not_be_written_is_told_of(venv, threads):
    server = of_nobody("django_site", threads, f"virtualenv = {venv}", KEY, OWN_HOST)
    make_database(server.www / "shop.db")
    with server:
        assert ask_for(server, "/visit").status == 500
        lines = server.records(ID)
        assert lines[-2] == "django.db.utils.OperationalError: attempt to write a readonly database"
        assert_advised(server, lines, rf"WWW/shop\.db may be read but not written \(.* uid {NOBODY}\).*")
    server = of_nobody("django_site", threads, f"virtualenv = {venv}", KEY, OWN_HOST)
    with server:
        assert ask_for(server, "/visit").status == 500
        assert_advised(server, server.records(ID), r"WWW/shop\.db can't be made, the folder may not be written in .*")


# -- Flask and Bottle


@THREADS
def test_flasks_run_while_the_site_is_loaded_is_told_of(serve, threads):
    with serve("flask_site", "env = RUN=1", threads=threads) as server:
        assert_advised(
            server,
            failed_load(server),
            r"WWW/wsgi\.py line 30 starts a server of its own, Flask's run\(\), while the site is loaded; the site's "
            r"server calls `application` by itself: put that call under `if __name__ == '__main__':`",
        )


@THREADS
@pytest.mark.parametrize("mode", ["default", "other"])
def test_bottles_run_while_the_site_is_loaded_is_told_of(serve, mode, threads):
    with serve("bottle_site", f"env = MODE={mode}", threads=threads) as server:
        end = r", and write `application = bottle\.default_app\(\)` outside of it" if mode == "default" else ""
        expected = r"WWW/wsgi\.py line 19 starts a server of its own, bottle's run\(\), while .* '__main__':`" + end
        assert_advised(server, failed_load(server), expected)


@THREADS
@pytest.mark.parametrize("case", ["flask_site", "bottle_site"])
def test_what_the_framework_caught_and_logged_has_its_advice_beside_it(serve, case, threads):
    server = serve(case, f"env = HOME={APPS}", threads=threads)
    with server:
        (server.www / "project").mkdir()
        assert ask_for(server, "/read").status == 500
        assert server.log().count("FileNotFoundError: ") == 1
        assert "Advice" not in server.log()
    server = serve(case, threads=threads)
    home = server.folder / "home"
    (home / "texts").mkdir(parents=True)
    (home / "texts" / "hello.txt").touch()
    server._more.append(f"env = HOME={home}")
    with server:
        assert ask_for(server, "/read").status == 500
        told = server.log().split("GET /read: the application answered 500\n")[1].splitlines()
        assert f"there is {home}/texts/hello.txt: give that absolute path" in told[0]
        assert server.log().count("Advice: ") == 1


def test_answers_of_the_applications_own_get_no_record(serve):
    with serve("flask_site") as server:
        assert [ask_for(server, path).status for path in ("/", "/bad", "/own")] == [200, 400, 500]
        assert server.log() == ""


@THREADS
def test_a_flask_py_in_flasks_way_is_told_of(serve, threads):
    server = serve("flask_site", threads=threads)
    (server.www / "flask.py").write_text("from flask import Flask\n\napp = Flask(__name__)\n")
    with server:
        expected = (
            r"WWW/flask\.py stands in the way of the library's module 'flask' \(.*/venv/.*\), which has 'Flask'.*"
        )
        assert_advised(server, failed_load(server), expected)


def test_a_package_that_is_missing_in_the_environment_is_told_of_with_its_pip(serve, venv):
    server = serve("misses_package")
    with server:
        lines = failed_load(server)
        assert f"isn't installed: {venv}/bin/python -m pip install pyTelegramBotAPI (" in lines[-1]
        assert f"virtual environment {venv}; searched: {server.www} " in lines[-1]
    other = BareUwsgi(APPS / "flask_site", more=[f"env = HOME={venv.parent}"])
    with other:
        expected = rf"'flask', .* is installed in the virtual environment {venv}, which isn't this site's: .*"
        assert_advised(other, failed_load(other), expected)
