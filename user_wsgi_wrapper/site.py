"""The naming law: what a domain, a user name and a site are, and which values are refused.

Every function here either gives back the one canonical spelling of a value or raises BadValueError with a
one-line message that names the value and the rule it breaks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from user_wsgi_wrapper import inside

MAX_DOMAIN = 253  # RFC 1035 section 2.3.4, less the trailing dot
MAX_ENV = 100_000  # bytes; with 128 KiB in one variable the tenant could start no program (execve(2))
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1
_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # what browsers take for the end of an IP address (WHATWG URL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LOG_FORMATS = ("text", "json")
PREFLIGHTS = ("import", "compile", "off")
# What a site's limits may be: the least and the most. A process that is given less than these doesn't start.
LIMITS = {
    "tasks_max": (1, 100_000),
    "memory_max": (32, 1 << 24),
    "cpu_quota": (1, 100_000),
    "open_files": (128, 1 << 19),
    "log_rate": (1, 1 << 20),
}


class BadValueError(ValueError):
    """A value from a person or a database breaks a rule; str() is one line fit to print."""


@dataclass(frozen=True)
class Site:
    """One domain and what its operator set for it. Paths are as seen inside the chroot.

    `static` maps URL prefixes to folders, `check_static` is uWSGI's option of that name, `idle` is in
    seconds, `memory` in MiB (None: no limit); `preflight` is how a new version of the code is tried before it
    replaces the one that serves. The last five are limits of the whole site, None for what the configuration says:
    processes and threads beside those that serve, MiB, percent of one core, descriptors of each process, KiB/s.
    """

    domain: str
    username: str
    wsgi_file: str = inside.WSGI_FILE
    static: tuple[tuple[str, str], ...] = ((inside.STATIC_URL, inside.STATIC_DIR),)
    check_static: str | None = None
    virtualenv: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    processes: int = 1
    threads: int = 1
    idle: int = 600
    memory: int | None = None
    log_format: str = "text"
    preflight: str = "import"
    tasks_max: int | None = None
    memory_max: int | None = None
    cpu_quota: int | None = None
    open_files: int | None = None
    log_rate: int | None = None


def parse_domain(text: str) -> str:
    """The canonical form of a host name: lower case, punycode (RFC 5891), no trailing dot.

    Raises BadValueError for what is no host name and for IP addresses, whose last label is a number.
    """
    name = _to_ascii(text).lower()
    if name.endswith("."):
        name = name[:-1]
    if not name:
        raise BadValueError(f"domain {text!r}: it is empty")
    if len(name) > MAX_DOMAIN:
        raise BadValueError(f"domain {shorten(text)}: {len(name)} characters, at most {MAX_DOMAIN} are allowed")
    labels = name.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise BadValueError(
                f"domain {shorten(text)}: the part {shorten(label)} is not 1 to 63 of a-z, 0-9 and inner hyphens"
            )
    if _NUMBER.fullmatch(labels[-1]):
        raise BadValueError(f"domain {shorten(text)}: it is an IP address or a number, a host name is needed")
    return name


def _to_ascii(text: str) -> str:
    if text.isascii():
        return text
    if len(text) > MAX_DOMAIN:
        raise BadValueError(f"domain {shorten(text)}: {len(text)} characters, at most {MAX_DOMAIN} are allowed")
    import idna  # outside the tenant's interpreter, and only for the rare name that needs it

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise BadValueError(f"domain {shorten(text)}: not a valid international name ({error})") from None


def parse_username(text: str) -> str:
    """A user name as it is, case kept. Raises BadValueError if it can't be a folder and a passwd entry."""
    if not _USERNAME.fullmatch(text):
        raise BadValueError(
            f"username {shorten(text)}: 1 to 64 of letters, digits and _ . @ + - are allowed, "
            "the first a letter, a digit or _"
        )
    return text


def parse_inside_path(what: str, text: str) -> str:
    """An absolute, normalized path inside the chroot. `what` names the value in the error."""
    _check_text(f"{what} {shorten(text)}", text)
    if not text.startswith("/") or text.startswith("//"):
        raise BadValueError(f"{what} {shorten(text)}: an absolute path inside the chroot is needed")
    parts = text.rstrip("/").split("/")[1:]
    if any(part in ("", ".", "..") for part in parts):
        raise BadValueError(f"{what} {shorten(text)}: empty, '.' and '..' parts are not allowed")
    if len(text.encode()) > 1024:
        raise BadValueError(f"{what} {shorten(text)}: at most 1024 bytes are allowed")
    return "/" + "/".join(parts)


def parse_static(text: str) -> tuple[str, str]:
    """A static mapping `URL=DIR`: the URL prefix and the folder inside the chroot that it shows."""
    url, separator, folder = text.partition("=")
    if not separator:
        raise BadValueError(f"static mapping {shorten(text)}: URL=DIR is needed")
    url = parse_inside_path("static URL", url)
    folder = parse_inside_path("static folder", folder)
    if ":" in url or ":" in folder or "=" in folder:
        raise BadValueError(f"static mapping {shorten(text)}: ':' and a second '=' are not allowed")
    return url, folder


def parse_env(text: str) -> tuple[str, str]:
    """An environment setting `K=V`. Names that the vassal itself sets are refused."""
    name, separator, value = text.partition("=")
    if not separator:
        raise BadValueError(f"environment {shorten(text)}: K=V is needed")
    if not _ENV_NAME.fullmatch(name):
        raise BadValueError(f"environment name {shorten(name)}: letters, digits and _ are allowed, no digit first")
    if name.startswith(("SITE_", "UWSGI_")):
        raise BadValueError(f"environment name {shorten(name)}: names that begin with SITE_ or UWSGI_ are reserved")
    _check_text(f"the value of environment {name}", value)
    if len(value.encode()) > MAX_ENV:
        raise BadValueError(
            f"the value of environment {name}: {len(value)} characters, at most {MAX_ENV} bytes are allowed"
        )
    return name, value


def _check_text(what: str, text: str) -> None:
    if _CONTROL.search(text):
        raise BadValueError(f"{what}: control characters are not allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadValueError(f"{what}: it is not valid text") from None


def parse_number(what: str, value: int, least: int, most: int) -> int:
    """A whole number within bounds. `what` names the value in the error."""
    if not least <= value <= most:
        raise BadValueError(f"{what} {value}: from {least} to {most} is allowed")
    return value


def shorten(text: str, limit: int = 60) -> str:
    """A value quoted on one line for an error message, cut in the middle of nothing but at `limit`."""
    return repr(text) if len(text) <= limit else repr(text[:limit]) + "…"


def check(site: Site) -> Site:
    """The site itself, if every field keeps the law; raises BadValueError for the first that doesn't."""
    if parse_domain(site.domain) != site.domain:
        raise BadValueError(f"domain {shorten(site.domain)}: not in its canonical form")
    parse_username(site.username)
    parse_inside_path("wsgi file", site.wsgi_file)
    for mapping in site.static:
        if parse_static("=".join(mapping)) != mapping:
            raise BadValueError(f"static mapping {shorten('='.join(mapping))}: not in its canonical form")
    if site.check_static is not None:
        parse_inside_path("check-static folder", site.check_static)
    if site.virtualenv is not None:
        parse_inside_path("virtualenv", site.virtualenv)
    for variable in site.env:
        if parse_env("=".join(variable)) != variable:
            raise BadValueError(f"environment {shorten('='.join(variable))}: not in its canonical form")
    parse_number("processes", site.processes, 1, 64)
    parse_number("threads", site.threads, 1, 256)
    parse_number("idle", site.idle, 1, 7 * 86400)
    if site.memory is not None:
        parse_number("memory", site.memory, 16, 1 << 20)
    for name, bounds in LIMITS.items():
        limit = getattr(site, name)
        if limit is not None:
            parse_number(name.replace("_", "-"), limit, *bounds)
    if site.preflight not in PREFLIGHTS:
        raise BadValueError(f"preflight {shorten(site.preflight)}: import, compile or off is needed")
    if site.log_format not in LOG_FORMATS:
        raise BadValueError(f"log format {shorten(site.log_format)}: text or json is needed")
    return site
