"""The error log's records: what a tenant's text becomes, beside a transformation that looks at each character."""

from __future__ import annotations

import functools
import json
import os
import re
import unicodedata
from typing import Any

from user_wsgi_wrapper.runtime.error_log import ErrorLog

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[(-|[0-9a-f]{12})\] ")


@functools.cache
def log(log_format: str) -> ErrorLog:
    """One that is never written to."""
    return ErrorLog(os.devnull, "one.test", log_format)


def visible(text: str) -> str:
    """The text as a reader may see it: no control character but tab and newline, no lone surrogate."""
    text = _escaped(text)
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "".join(f"\\u{ord(one):04x}" if 0xD800 <= ord(one) < 0xE000 else one for one in text)
    return _escaped(raw.decode("utf-8", "backslashreplace"))


def _escaped(text: str) -> str:
    out = []
    for character in text.replace("\r\n", "\n"):
        code = ord(character)
        if character in "\t\n":
            out.append(character)
        elif character == "\r":
            out.append("\\r")
        elif unicodedata.category(character) == "Cc":
            out.append(f"\\x{code:02x}")
        elif code in (0x2028, 0x2029):
            out.append(f"\\u{code:04x}")
        else:
            out.append(character)
    return "".join(out)


def check_record(data: bytes) -> None:
    """ErrorLog.render: every line behind its one stamp, every character accounted for, none steers a terminal."""
    kind = data[0] if data else 0
    body = data[1:]
    text = (
        body.decode("utf-16-le", "surrogatepass" if len(body) % 2 == 0 else "replace") if kind & 1 else _decoded(body)
    )
    environ: dict[str, Any] | None = None
    if kind & 2:
        environ = {
            "REQUEST_ID": text if kind & 4 else "0123456789abcdef",
            "PATH_INFO": text,
            "REQUEST_METHOD": text[:9],
        }
    traceback, advice = (text[::-1] if kind & 8 else ""), ("do this" if kind & 16 else "")
    label = "child or C code" if kind & 32 else ""
    whole = log("text").render(text, environ, "ERROR", traceback, advice, label=label).decode()
    assert whole.endswith("\n")
    lines = whole[:-1].split("\n")
    stamps = {found.group() for line in lines if (found := STAMP.match(line))}
    assert len(stamps) == 1, whole
    start = stamps.pop() + (f"{label}: " if label else "")
    assert all(line.startswith(start) for line in lines), whole
    message = text[:-1] if text.endswith("\n") else text
    message += (f"\n{traceback}" if traceback else "") + (f"\nAdvice: {advice}" if advice else "")
    assert "\n".join(line[len(start) :] for line in lines) == visible(message)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", whole)
    _check_json(text, environ, traceback, advice)


def _decoded(body: bytes) -> str:
    return body.decode("utf-8", "surrogateescape")


def _check_json(text: str, environ: dict[str, Any] | None, traceback: str, advice: str) -> None:
    whole = log("json").render(text, environ, "ERROR", traceback, advice)
    assert whole.endswith(b"\n") and whole.count(b"\n") == 1
    assert not re.search(rb"[^\x20-\x7e\n]", whole)
    record = json.loads(whole)
    # two lone surrogates that stand in order are one character to any reader of JSON
    message = text[:-1] if text.endswith("\n") else text
    assert record["message"] == json.loads(json.dumps(message))
    assert record["exc_info"] == (json.loads(json.dumps(traceback)) if traceback else None)
    assert record.get("advice", "") == advice
    assert re.fullmatch(r"-|[0-9a-f]{12}", record["request_id"])
    if environ is not None:
        assert record["path"].isprintable() and record["method"].isprintable()
