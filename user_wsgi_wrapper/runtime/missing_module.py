"""Advice for a module that isn't found: whether it is installed somewhere else, and how it gets installed here."""

from __future__ import annotations

import os
import sys

from user_wsgi_wrapper.runtime import module_search
from user_wsgi_wrapper.runtime.origin import file_of, line_of, name_of, places, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from user_wsgi_wrapper.runtime.origin import Place

# What pip calls packages whose module has another name, then those that many sites use. Names alone prove nothing
# about a module of the tenant's own, so what isn't in here is never said to be pip's.
_PACKAGES = (
    "yaml:PyYAML PIL:Pillow MySQLdb:mysqlclient cv2:opencv-python-headless dotenv:python-dotenv bs4:beautifulsoup4 "
    "sklearn:scikit-learn skimage:scikit-image psycopg2:psycopg2-binary psycopg:psycopg[binary] pymysql:PyMySQL "
    "Crypto:pycryptodome OpenSSL:pyOpenSSL jwt:PyJWT dateutil:python-dateutil docx:python-docx pptx:python-pptx "
    "git:GitPython serial:pyserial slugify:python-slugify markdown:Markdown rest_framework:djangorestframework "
    "corsheaders:django-cors-headers environ:django-environ decouple:python-decouple allauth:django-allauth "
    "crispy_forms:django-crispy-forms debug_toolbar:django-debug-toolbar storages:django-storages flask:Flask "
    "django:Django flask_sqlalchemy:Flask-SQLAlchemy flask_login:Flask-Login flask_wtf:Flask-WTF "
    "flask_cors:Flask-Cors flask_migrate:Flask-Migrate flask_mail:Flask-Mail flask_restful:Flask-RESTful "
    "sqlalchemy:SQLAlchemy jinja2:Jinja2 werkzeug:Werkzeug markupsafe:MarkupSafe magic:python-magic ldap:python-ldap "
    "telegram:python-telegram-bot pkg_resources:setuptools attr:attrs telebot:pyTelegramBotAPI fitz:PyMuPDF"
)
_SAME = (
    "numpy pandas requests matplotlib scipy bottle falcon pyramid whitenoise gunicorn waitress celery redis boto3 "
    "lxml httpx pytz click itsdangerous stripe tweepy plotly dash streamlit fastapi flask_session seaborn nltk "
    "openai alembic peewee pymongo psutil cryptography bcrypt xlrd openpyxl reportlab simplejson six tornado aiohttp "
    "webob marshmallow pydantic wtforms sympy networkx paramiko cherrypy a2wsgi"
)
_OLD_NAMES = (
    "urllib2:urllib.request urlparse:urllib.parse ConfigParser:configparser Queue:queue StringIO:io cStringIO:io "
    "httplib:http.client cPickle:pickle HTMLParser:html.parser Cookie:http.cookies cookielib:http.cookiejar "
    "__builtin__:builtins BaseHTTPServer:http.server SocketServer:socketserver Tkinter:tkinter"
)
# Modules that the standard library lost, by the Python 3 that hasn't got them any more (PEP 594, PEP 632).
_LOST = {
    12: "asynchat asyncore distutils imp smtpd",
    13: "audioop cgi cgitb crypt imghdr lib2to3 mailcap nis nntplib ossaudiodev sndhdr spwd telnetlib xdrlib",
}


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do about an import that found no module of the name; where it looked stands at the end."""
    place = _importer(error)
    if place is None:
        return ""
    name = str(error.name).partition(".")[0]  # type: ignore[attr-defined]
    if name in sys.modules or module_search.is_found(name):
        return ""  # it is there: another version of it, a file of the tenant's, or found too late
    said = _advise(name, wsgi_file)
    if not said:
        return ""
    return f"{name!r}, which {name_of(place)} imports, {said} ({_interpreter()}; searched: {_searched()})"


def _importer(error: BaseException) -> Place | None:
    """Where the import stands; None if the exception is no import statement's but was made by somebody's code."""
    name = getattr(error, "name", None)
    if not isinstance(error, ModuleNotFoundError) or type(name) is not str or not name:
        return None
    if not text_of(error).startswith(f"No module named {name!r}"):
        return None
    found = places(error)
    while found and file_of(found[-1]).startswith("<frozen importlib"):
        found.pop()
    if not found:
        return None
    line = line_of(found[-1])
    return found[-1] if "import" in line and not line.startswith("raise") else None


def _advise(name: str, wsgi_file: str) -> str:
    package = _pairs(_PACKAGES).get(name) or (name if name in _SAME.split() else "")
    # Crypto and crypto, for instance, are two packages.
    other = "" if package else module_search.other_spelling(name)
    if other:
        return f"is spelled otherwise on the disk, {other}: upper and lower case differ"
    return _elsewhere(name, package, wsgi_file) or _renamed(name) or _install(package)


def _renamed(name: str) -> str:
    renamed = _pairs(_OLD_NAMES).get(name)
    if renamed:
        return f"is Python 2's name of a module, Python 3 has {renamed}"
    for minor, lost in _LOST.items():
        if name in lost.split() and sys.version_info >= (3, minor):
            return f"is no module of Python's since 3.{minor}"
    return ""


def _elsewhere(name: str, package: str, wsgi_file: str) -> str:
    installed = module_search.other_installation(name, wsgi_file)
    if installed is not None:
        return _installed(package or name, *installed)
    folders = module_search.folders_with(name, wsgi_file)
    if len(folders) != 1:
        return ""
    parent, inner = os.path.split(folders[0])
    if os.path.isfile(f"{folders[0]}/__init__.py"):
        return f"is in the package {folders[0]}: write `from {inner} import {name}`" if _is_searched(parent) else ""
    return (
        f"is in no folder of sys.path, but in {folders[0]}: if that is it, "
        f"`import sys; sys.path.insert(0, {folders[0]!r})` before the import has it found"
    )


def _installed(package: str, venv: str, folder: str, version: str) -> str:
    here = f"install it in {sys.prefix} too ({sys.prefix}/bin/python -m pip install {package})"
    if venv == sys.prefix:
        return (
            f"is installed for Python {version} in {venv}, this site runs Python {_version()}: "
            "make that virtual environment anew, with this Python"
        )
    if venv and version != _version():
        return f"is installed in the virtual environment {venv}, for Python {version}, this site runs {_version()}"
    if venv:
        way = f", or {here}" if _has_venv() else ""
        return (
            f"is installed in the virtual environment {venv}, which isn't this site's: have it made this site's{way}"
        )
    if _has_venv():
        return f"is installed in {folder}, but a virtual environment sees only what is in it: {here}"
    return f"is installed in {folder}, which this site's Python doesn't search"


def _install(package: str) -> str:
    missing = [entry for entry in sys.path if os.path.isabs(entry) and _names_nothing(entry)]
    if not package:
        if missing:
            return f"is in no folder of sys.path, which names {missing[0]}, where nothing is"
        return "is in no folder of sys.path: its file isn't there, or its package isn't installed"
    if _has_venv():
        return f"isn't installed: {sys.prefix}/bin/python -m pip install {package}"
    return (
        f"isn't installed: make a virtual environment (python3 -m venv ~/venv), install it there "
        f"(~/venv/bin/python -m pip install {package}) and have it made this site's"
    )


def _is_searched(folder: str) -> bool:
    return folder in module_search.search_path()


def _names_nothing(entry: str) -> bool:
    # Python itself names zip files and folders that need not exist.
    return not entry.endswith((".zip", "lib-dynload", "-packages")) and not os.path.lexists(entry)


def _pairs(text: str) -> dict[str, str]:
    return dict(item.split(":") for item in text.split())


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _has_venv() -> bool:
    return sys.prefix != sys.base_prefix or os.path.isfile(f"{sys.prefix}/pyvenv.cfg")


def _interpreter() -> str:
    program = f"{sys.prefix}/bin/python{_version()}"
    known = program if os.path.lexists(program) else f"Python {_version()}"
    return f"{known}, {'virtual environment ' + sys.prefix if _has_venv() else 'no virtual environment'}"


def _searched() -> str:
    folders = list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)))
    return " ".join(folders[:12]) + (" ..." if len(folders) > 12 else "")
