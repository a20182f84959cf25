"""Color for lines on a terminal: what a line says is found in its text, which itself stays as it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_RESET = "\x1b[0m"
_DIM, _RED, _GREEN, _YELLOW, _CYAN = ("\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \[([0-9a-f]{12}|-)\] ")
# The head of a record about a failure, and the line of a traceback that names the exception.
_FAILURE = re.compile(
    r"([A-Z]+ \S+: |the site could not be loaded|the worker |the thread |an exception was not caught|Fatal Python )"
    r"|[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Group|Iteration|Fault)(: .*|)$"
)
_ACCESS = re.compile(r'(\S+ - - )(\[[^]]*\])( ".*?" )(\d{3})( .* )(\S+)$')
_STATUSES = {"2": _GREEN, "3": _CYAN, "4": _YELLOW, "5": _RED}


def wants_color(is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Whether to color what goes to a stream: on a terminal that can, unless NO_COLOR (no-color.org) is set."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def error_line(line: str) -> str:
    """A line of the error log, its stamp dimmed and the failure's own words in red."""
    stamp = _STAMP.match(line)
    if stamp is None:
        return line
    text = line[stamp.end() :]
    if _FAILURE.match(text):
        text = f"{_RED}{text}{_RESET}"
    return f"{_DIM}{stamp.group(1)}{_RESET} [{_CYAN}{stamp.group(2)}{_RESET}] {text}"


def access_line(line: str) -> str:
    """An access line, its status in the color of its class and its id as in the error log's brackets."""
    parts = _ACCESS.match(line)
    if parts is None:
        return line
    address, date, request, status, middle, request_id = parts.groups()
    color = _STATUSES.get(status[0], "")
    return (
        f"{address}{_DIM}{date}{_RESET}{request}{color}{status}{_RESET if color else ''}{middle}"
        f"{_CYAN}{request_id}{_RESET}"
    )
