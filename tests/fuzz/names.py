"""Domains, and whose an access line is."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import idna

from log_splitter import batch, line
from log_splitter.counters import Counters
from user_wsgi_wrapper import site
from user_wsgi_wrapper.emperor_hook.nginx import host_regex

_OF_LABELS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_FRONT = re.compile(host_regex(site.MAX_DOMAIN).removeprefix("~").replace("(?<", "(?P<").removesuffix("$") + r"\Z")


def lawful(name: bytes) -> bytes | None:
    """The naming law once more, a character at a time: the canonical spelling of an ASCII name, or None."""
    text = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in name)
    if text[-1:] == b".":
        text = text[:-1]
    if not 1 <= len(text) <= 253:
        return None
    for label in text.split(b"."):
        if not 1 <= len(label) <= 63 or not _OF_LABELS.issuperset(label) or 45 in (label[0], label[-1]):
            return None
    last = text.split(b".")[-1]
    is_hexadecimal = last[:2] == b"0x" and all(chr(byte) in "0123456789abcdef" for byte in last[2:])
    return None if last.isdigit() or is_hexadecimal else text


def check_domain(data: bytes) -> None:
    """site.parse_domain: the law for ASCII, IDNA for the rest; what it gives is safe for URLs, nginx and paths."""
    text = data.decode("utf-8", "surrogateescape") if data[:1] != b"\xff" else data[1:].decode("utf-16-le", "replace")
    try:
        name = site.parse_domain(text)
    except site.BadValueError as error:
        message = str(error)
        assert message.isprintable() and len(message) < 2000, message
        assert not (text.isascii() and lawful(text.encode())), text
        return
    assert lawful(name.encode("ascii")) == name.encode(), name
    assert site.parse_domain(name) == name == site.parse_domain(name.upper())
    assert urlsplit(f"http://{name}:80/").hostname == name
    assert _FRONT.match(name)
    if text.isascii():
        assert lawful(text.encode()) == name.encode()
    else:
        assert idna.encode(idna.uts46_remap(text, True, False)).decode().lower().removesuffix(".") == name


def check_line(data: bytes) -> None:
    """log_splitter.line and batch: cut anywhere, every line is dealt out once, to whom a plain reading says."""
    form, cut, stream = batch.FORMATS[data[0] % 3] if data else "pipe", data[1:3], data[3:]
    dealt = batch.make_batch(form, "host", Counters())
    sizes = [1 + byte % 32 for byte in cut] or [len(stream)]
    position = turn = 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        dealt.feed(stream[position : position + size], 0.0)
        position, turn = position + size, turn + 1
    dealt.finish()
    groups: dict[bytes | None, list[bytes]] = {}
    for raw, texts in dealt.take().items():
        key = dealt.key(raw)
        groups.setdefault(key, []).extend(dealt.whole(raw, texts) if key is None else texts)
    steering = b"\x1b" in stream or b"\0" in stream
    if steering:
        whole = b"".join(text for texts in groups.values() for text in texts)
        assert b"\x1b" not in whole and b"\0" not in whole
        return
    wanted: dict[bytes | None, list[bytes]] = {}
    lines = stream.split(b"\n")
    for text in lines[:-1] + ([lines[-1]] if lines[-1] else []):
        key, rest = _owner(form, text)
        wanted.setdefault(key, []).append(rest + b"\n")
    assert {key: sorted(texts) for key, texts in groups.items()} == {key: sorted(wanted[key]) for key in wanted}
    if form != "vhost":  # whose order within one key is that of its spellings
        spelled = {
            key: texts
            for key, texts in wanted.items()
            if key is not None and len({*_spellings(form, key, lines)}) == 1
        }
        assert {key: groups[key] for key in spelled} == spelled


def _spellings(form: str, key: bytes, lines: list[bytes]) -> list[bytes]:
    return [_raw(form, text) for text in lines if text and _owner(form, text)[0] == key]


def _raw(form: str, text: bytes) -> bytes:
    if form == "json":
        value = json.loads(text.decode("latin-1").strip(" \t\n\r"), strict=False)["host"]
        return str(value).encode("latin-1", "replace")
    return text.partition(b"|")[0]


def _owner(form: str, text: bytes) -> tuple[bytes | None, bytes]:
    if form == "json":
        try:
            value = json.loads(text.decode("latin-1").strip(" \t\n\r"), strict=False)
        except (ValueError, RecursionError):
            return None, text
        name = value.get("host") if isinstance(value, dict) else None
        return (lawful(name.encode()) if isinstance(name, str) and name.isascii() else None), text
    name, separator, rest = text.partition(b"|" if form == "pipe" else b" ")
    if form == "vhost" and b":" in name:
        name, port = name.split(b":", 1)
        if not re.fullmatch(rb"[0-9]{1,5}", port):
            return None, text
    key = lawful(name) if separator else None
    return key, rest if key is not None else text


def check_key(data: bytes) -> None:
    """line.canonical and canonical_host alone, on keys that no stream would have cut."""
    assert line.canonical(data) == lawful(data)
    name, colon, port = data.partition(b":")
    wanted = lawful(name) if not colon or re.fullmatch(rb"[0-9]{1,5}", port) else None
    assert line.canonical_host(data) == wanted
