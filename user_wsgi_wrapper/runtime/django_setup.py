"""Advice for a Django that isn't set up: its settings, the variables they come from, the order of its start.

Django is known by the names of its classes and modules, and only what it has loaded already is looked at.
"""

from __future__ import annotations

import os
import re
import sys

from user_wsgi_wrapper.runtime import module_search
from user_wsgi_wrapper.runtime.origin import (
    file_of,
    is_own,
    kinds,
    line_of,
    module_of,
    name_of,
    places,
    text_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from user_wsgi_wrapper.runtime.origin import Place

_SETTINGS = "DJANGO_SETTINGS_MODULE"
_SET = "set it by `os.environ[{!r}] = ...` in wsgi.py, above the other imports, or have it set for the site"
_FROM_ENVIRON = r"SECRET_KEY\s*=\s*[\w.]*(?:environ|getenv|env|config)[\w.]*[\[(]\s*[\"'](\w+)[\"']"
_READ = 1 << 18  # bytes


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do about an exception of Django's start, or about an environment variable that isn't set."""
    if type(error) is KeyError:
        return _advise_variable(error)
    if isinstance(error, ModuleNotFoundError):
        return _advise_settings_module(error)
    names = kinds(error)
    if "django.core.exceptions.ImproperlyConfigured" in names:
        text = text_of(error)
        if text.startswith("The SECRET_KEY setting must not be empty"):
            return _advise_secret_key()
        if "settings are not configured" in text and not os.environ.get(_SETTINGS):
            return _advise_unconfigured(wsgi_file)
    elif "django.core.exceptions.AppRegistryNotReady" in names:
        return _advise_order(error, wsgi_file)
    return ""


def _advise_variable(error: BaseException) -> str:
    """`os.environ["NAME"]` of a variable that isn't set: the KeyError comes from os.py itself."""
    found = places(error)
    if len(found) < 2 or found[-1][0].f_code is not type(os.environ).__getitem__.__code__:
        return ""
    name = error.args[0] if error.args else None
    if found[-1][0].f_locals.get("self") is not os.environ or type(name) is not str or name in os.environ:
        return ""
    return f"the environment variable {name}, which {name_of(found[-2])} needs, isn't set: {_SET.format(name)}"


def _advise_secret_key() -> str:
    names = getattr(sys.modules.get(os.environ.get(_SETTINGS, "")), "__dict__", {})
    path = names.get("__file__")
    if type(path) is not str or names.get("SECRET_KEY"):
        return ""
    if "SECRET_KEY" not in names:
        return f"{path} defines no SECRET_KEY: give it a long random text that nobody else knows"
    with open(path, "rb") as file:
        match = re.search(_FROM_ENVIRON, file.read(_READ).decode("utf-8", "replace"))
    if match and not os.environ.get(match[1]):
        name = match[1]
        return f"{path} takes SECRET_KEY from the environment variable {name}, which isn't set: {_SET.format(name)}"
    return f"the SECRET_KEY of {path} is empty: give it a long random text that nobody else knows"


def _advise_unconfigured(wsgi_file: str) -> str:
    found = {}
    for folder in dict.fromkeys([*module_search.search_path(), *module_search.folders_around(wsgi_file)]):
        if is_own(folder + os.sep):
            for package in module_search.subfolders(folder):
                if os.path.isfile(f"{package}/settings.py") and os.path.isfile(f"{package}/__init__.py"):
                    found[f"{os.path.basename(package)}.settings"] = package
    name = next(iter(found)) if len(found) == 1 else "<project>.settings"
    where = f" (there is {found[name]}/settings.py)" if name in found else ""
    return (
        f"{_SETTINGS} isn't set: `os.environ.setdefault({_SETTINGS!r}, {name!r})` in wsgi.py, before anything of "
        f"Django's is imported, says which settings to use{where}"
    )


def _advise_settings_module(error: ModuleNotFoundError) -> str:
    """The variable names a module that a package hasn't got. (A package that is missing is any missing module.)"""
    name, named = error.name, os.environ.get(_SETTINGS, "")
    if not name or name != named or "." not in name or not text_of(error).startswith(f"No module named {name!r}"):
        return ""
    if not any(module_of(place) == "django.conf" for place in places(error)):
        return ""
    parent, _, last = name.rpartition(".")
    folders = list(getattr(sys.modules.get(parent), "__path__", ()))
    if len(folders) != 1 or module_search.module_in(folders[0], last):
        return ""
    other = module_search.module_in(folders[0], "settings")
    there = f"; there is {other}, which is {parent}.settings" if other else ""
    return f"{_SETTINGS} is {name!r}, and {folders[0]} has no module {last!r}{there}"


def _advise_order(error: BaseException, wsgi_file: str) -> str:
    registry: Any = getattr(sys.modules.get("django.apps.registry"), "apps", None)
    if registry is None or registry.__dict__.get("ready") is not False:
        return ""
    found = places(error)
    codes = [(module_of(place), place[0].f_code.co_name) for place in found]
    if ("django.apps.registry", "populate") in codes:
        inside = found[codes.index(("django.apps.registry", "populate")) :]
        first = next((place for place in inside if is_own(file_of(place))), None)
        if first is None or not _is_import(first):
            return ""
        return (
            f"{name_of(first)} imports models while Django is still loading the apps: import them in the "
            "AppConfig's ready(), or in the function that uses them"
        )
    first = next((place for place in found if is_own(file_of(place))), None)
    if first is None or file_of(first) != os.path.abspath(wsgi_file) or not _is_import(first):
        return ""
    return (
        f"{name_of(first)} imports what needs Django's models, before Django is set up: move it behind "
        "`application = get_wsgi_application()`"
    )


def _is_import(place: Place) -> bool:
    return line_of(place).startswith(("import ", "from "))
