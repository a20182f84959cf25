"""Range and the If- headers: beside werkzeug's and the standard library's reading of them."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_tz
from typing import Any

from werkzeug import http as oracle

from user_wsgi_wrapper.runtime import http_file

MTIME = 1_700_000_001
SIZES = (0, 1, 10, 1000, 1 << 40)
TAG = f'"{MTIME * 10**9:x}-{{:x}}"'
DATE = "Tue, 14 Nov 2023 22:13:21 GMT"
TOKENS = [
    "bytes=", "0-", "-", "0", "1", "5", "9", "10", "999", "1000", ",", " ", "\t", "99999999999999999999", "bytes",
    "=",
    "W/", '"', "*", "@tag", '"x"', 'W/"x"', "@date",
    "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:22 GMT",
    "Tuesday, 14-Nov-23 22:13:21 GMT", "Tue Nov 14 22:13:21 2023", "Mon, 01 Jan 0001 00:00:00 GMT", "GMT", "22:13:21",
    "31 Feb 2023", "\xb2", "+", "0x", "_", ";", "q=", "gzip", "br", "identity", "0.5", "1e9", "nan", ".", "a", "Nov",
]  # fmt: skip
NAMES = ("HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE",
         "HTTP_IF_UNMODIFIED_SINCE", "HTTP_ACCEPT_ENCODING")  # fmt: skip
_TAGS = re.compile(r'[ \t]*(?:W/)?"[!#-+\--~]*"[ \t]*(?:,[ \t]*(?:W/)?"[!#-+\--~]*"[ \t]*)*')
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{1,18})?-([0-9]{1,18})?[ \t]*")
_FIXDATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
    r"(?:19[7-9][0-9]|20[0-9]{2}) [0-2][0-9]:[0-5][0-9]:[0-5][0-9] GMT"
)


def headers_of(data: bytes, size: int) -> dict[str, str]:
    """Header fields that the bytes spell; a byte above 250 begins the next one."""
    fields: dict[str, str] = {}
    for piece in re.split(rb"[\xfb-\xff]", data):
        if piece:
            name = NAMES[piece[0] % len(NAMES)]
            text = "".join(TOKENS[byte] if byte < len(TOKENS) else chr(byte) for byte in piece[1:])
            fields[name] = text.replace("@tag", TAG.format(size)).replace("@date", DATE)
    return fields


def check_conditions(data: bytes) -> None:
    """http_file.decide: the answer of RFC 9110 for what is well-formed, a whole and honest one for all else."""
    size = SIZES[data[0] % len(SIZES)] if data else 10
    method = "HEAD" if data[1:2] == b"\x01" else "GET"
    environ: dict[str, Any] = {"REQUEST_METHOD": method, **headers_of(data[2:], size)}
    reply = http_file.decide(environ, size, MTIME * 10**9 + 7, "text/plain")
    tag = f'"{MTIME * 10**9 + 7:x}-{size:x}"'
    headers = dict(reply.headers)
    assert len(headers) == len(reply.headers)
    assert headers["ETag"] == tag and headers["Last-Modified"] == DATE
    status = int(reply.status[:3])
    assert 0 <= reply.start <= size and 0 <= reply.length <= size - reply.start
    assert status in (200, 206, 304, 412, 416)
    _check_validators(environ, status, tag)
    if status in (200, 206, 416):
        assert headers["Content-Length"] == str(reply.length)
        assert (status == 206) == bool(reply.length and "Content-Range" in headers)
    if status == 200:
        assert (reply.start, reply.length) == (0, size)
    elif status in (206, 416):
        assert method == "GET"
        _check_span(environ["HTTP_RANGE"], size, reply, headers["Content-Range"])
    if "HTTP_ACCEPT_ENCODING" in environ:
        found = http_file.accepted_encodings(environ["HTTP_ACCEPT_ENCODING"])
        assert set(found) <= {"br", "gzip"} and len(set(found)) == len(found)
    for name in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_RANGE"):
        _check_date(environ.get(name, ""))
    _check_range(environ.get("HTTP_RANGE", ""), size)


def _check_validators(environ: dict[str, Any], status: int, tag: str) -> None:
    match, none_match = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
    if match is not None and _TAGS.fullmatch(match):
        failed = not oracle.parse_etags(match).contains(tag.strip('"'))
        assert (status == 412) == failed, match
    if none_match is not None and _TAGS.fullmatch(none_match) and status != 412:
        assert (status == 304) == oracle.parse_etags(none_match).contains_weak(tag.strip('"')), none_match
    if status == 304:
        shown = none_match if none_match is not None else environ["HTTP_IF_MODIFIED_SINCE"]
        assert tag in shown or "*" in shown if none_match is not None else http_file.parse_date(shown) is not None
    if status == 412:
        assert match is not None or "HTTP_IF_UNMODIFIED_SINCE" in environ


def _check_span(header: str, size: int, reply: http_file.Reply, told: str) -> None:
    assert header.strip(" \t").lower().startswith("bytes") and "," not in header
    if reply.length:
        assert told == f"bytes {reply.start}-{reply.start + reply.length - 1}/{size}"
    else:
        assert told == f"bytes */{size}"


def _check_range(header: str, size: int) -> None:
    """One range of whole numbers is werkzeug's; several, or what isn't one, is the whole file."""
    got = http_file.parse_range(header, size)
    well_formed = _RANGE.fullmatch(header)
    if not well_formed:
        # what is looser than the grammar is at least one range: spaces about the unit, its case, more digits
        if got is not None:
            assert re.fullmatch(r"[ \t]*[Bb][Yy][Tt][Ee][Ss][ \t]*=[ \t]*(?:[0-9]+-[0-9]*|-[0-9]+)[ \t]*", header), (
                header
            )
        return
    parsed = oracle.parse_range_header(header.replace(" ", "").replace("\t", ""))
    if parsed is None:
        # werkzeug knows no last zero bytes, which nobody can send
        assert got is None or (got[1] == 0 and int(well_formed[2]) == 0 and not well_formed[1]), header
        return
    wanted = parsed.range_for_length(size)
    if wanted is not None:
        start, end = max(wanted[0], 0), wanted[1]
        assert got == (start, end - start) or (got is None and not size), (header, size, wanted, got)
    elif well_formed[1]:
        assert got is None or got[1] == 0, (header, size, got)
    else:  # the last bytes of what has fewer are all of it (RFC 9110 section 14.1.2), which werkzeug doesn't say
        assert got == ((0, size) if size else None), (header, size, got)


def _check_date(text: str) -> None:
    got = http_file.parse_date(text)
    if _FIXDATE.fullmatch(text):
        wanted = parsedate_tz(text)
        assert wanted is not None and got == tuple(wanted[:6]), text
        assert http_file.parse_date(http_file.http_date(time.gmtime(MTIME))) == time.gmtime(MTIME)[:6]
    elif got is not None:
        assert len(got) == 6 and 1 <= got[1] <= 12 and all(number >= 0 for number in got)
