"""Secrets taken out of what is handed to others. Pure.

What a site's environment holds is taken for a secret unless its name is known to hold none, and is looked for in all
other text too. What a tenant's own code writes into the logs beside that can't be known for a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

GONE = "(redacted)"
_LEAST = 5  # characters: a shorter value would take a page's every "1" or "yes" away
# What says how a site is run, not what opens doors.
HARMLESS = {
    "DEBUG", "DJANGO_CONFIGURATION", "DJANGO_SETTINGS_MODULE", "FLASK_APP", "FLASK_DEBUG", "FLASK_ENV", "HOME",
    "LANG", "LANGUAGE", "LC_ALL", "LOGNAME", "MODE", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING",
    "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONUTF8", "TZ", "USER",
}  # fmt: skip
_PARTS = 200  # of a value that are looked for one by one
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@'\"]*):([^\s/'\"]*)@")
# Bounded, and nothing before the word: the text may be a tenant's, a line of it a mebibyte.
_NAMES = r"(?:passw(?:or)?d|passphrase|secret|token|api_?key|private_?key)[\w.-]{0,40}"
_VALUE = r""" (?: "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | [^\s,;&"'}]+ )"""
_KEY = re.compile(rf"""(?ix) ( {_NAMES} ["']? \s{{0,5}} [=:] \s{{0,5}} ) {_VALUE}""")


def is_harmless(name: str) -> bool:
    """Whether the value of a variable of that name may be shown; the wrapper's own are paths and switches."""
    return name in HARMLESS or name.startswith("SITE_")


def environment(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Variables as they may be shown."""
    return [(name, urls(value) if is_harmless(name) else GONE) for name, value in pairs]


def urls(text: str) -> str:
    """Text whose URLs have no passwords (RFC 3986 section 3.2.1)."""
    return _URL_PASSWORD.sub(rf"\1:{GONE}@", text)


class Redaction:
    """Takes a site's secrets out of any text: its environment's values, and what looks like a password."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        hidden = {value for name, value in pairs if not is_harmless(name)}
        parts = {part for value in hidden for part in (value, *value.split()[:_PARTS])}
        # the longest first: one may be the beginning of another
        self._values = sorted((one for one in parts if len(one) >= _LEAST), key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without them."""
        for value in self._values:
            for spelled in dict.fromkeys((value, repr(value)[1:-1], value.replace("%", "%%"))):
                text = text.replace(spelled, GONE)
        return _KEY.sub(rf"\1{GONE}", urls(text))
