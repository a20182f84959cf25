"""Colors for the lines of a log on a terminal: levels, statuses, codes and ids. The text stays as it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_RESET = "\x1b[0m"
_DIM, _BOLD_RED, _RED, _GREEN, _YELLOW, _CYAN = (
    "\x1b[2m", "\x1b[1;31m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m",
)  # fmt: skip
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \[([0-9a-f]{12}|-)\] ")
_LEVELS = {
    "DEBUG": _DIM, "INFO": _GREEN, "WARNING": _YELLOW, "WARN": _YELLOW, "ERROR": _RED, "CRITICAL": _BOLD_RED,
    "FATAL": _BOLD_RED,
}  # fmt: skip
# where logging's usual formats have it: near the beginning, a word of its own
_LEVEL = re.compile(rf"^.{{0,60}}?\b({'|'.join(_LEVELS)})\b")
_JSON_LEVEL = re.compile(r'"level": "([A-Z]+)"')
_JSON_ID = re.compile(r'(?<="request_id": ")[0-9a-f]{12}(?=")')
# the head of a record about a failure, and the line of a traceback that names the exception
_FAILURE = re.compile(
    r"[A-Z]+ \S+: |the site could not be loaded|the worker |the thread |an exception was not caught|Fatal Python "
    r"|[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Group|Iteration|Fault)(?:: .*|)$"
)
_ADVICE = re.compile(r"Advice: ")
_CODE = re.compile(r"site ([a-z]+): ")
_CODES = {
    "started": _GREEN, "reloaded": _GREEN, "refused": _RED, "broken": _RED, "killed": _RED, "throttled": _RED,
    "kept": _YELLOW, "unkept": _YELLOW, "trimmed": _YELLOW, "idle": _DIM, "stopped": _DIM,
}  # fmt: skip
_ACCESS = re.compile(
    r'(.*?)(\[\d\d/[A-Z][a-z]{2}/\d{4}:[^]]*\])( "(?:[^"\\]|\\.)*" )(\d{3})( .*?)( [0-9a-f]{12,64})?$'
)
_STATUSES = {"2": _GREEN, "3": _CYAN, "4": _YELLOW, "5": _RED}
_LONGEST = 20_000  # characters of a line that is looked at; a longer one stays as it is


def wants_color(is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Whether to color what goes to a stream: on a terminal that can, unless NO_COLOR (no-color.org) is set."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def paint(kind: str, line: str) -> str:
    """A line, without its end, of the log `kind`; what it holds must be harmless already."""
    if len(line) > _LONGEST:
        return line
    if kind == "access":
        return _access(line)
    return _json(line) if line.startswith("{") else _stamped(line)


def _in(color: str, text: str) -> str:
    return f"{color}{text}{_RESET}" if color and text else text


def _stamped(line: str) -> str:
    stamp = _STAMP.match(line)
    text = line[stamp.end() :] if stamp else line
    level, code = _LEVEL.match(text), _CODE.match(text)
    if code and code[1] in _CODES:
        text = f"site {_in(_CODES[code[1]], code[1])}{text[code.end(1) :]}"
    elif level:
        text = f"{text[: level.start(1)]}{_in(_LEVELS[level[1]], level[1])}{text[level.end(1) :]}"
    elif _FAILURE.match(text):
        text = _in(_RED, text)
    elif _ADVICE.match(text):
        text = _in(_YELLOW, text)
    return f"{_in(_DIM, stamp[1])} [{_in(_CYAN, stamp[2])}] {text}" if stamp else text


def _json(line: str) -> str:
    line = _JSON_ID.sub(lambda found: _in(_CYAN, found[0]), line, 1)
    return _JSON_LEVEL.sub(lambda found: f'"level": "{_in(_LEVELS.get(found[1], ""), found[1])}"', line, 1)


def _access(line: str) -> str:
    found = _ACCESS.fullmatch(line)
    if found is None:
        return line
    who, date, request, status, middle, request_id = found.groups("")
    status = _in(_STATUSES.get(status[0], ""), status)
    return f"{who}{_in(_DIM, date)}{request}{status}{middle}{_in(_CYAN, request_id)}"
