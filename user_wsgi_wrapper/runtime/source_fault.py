"""Advice for a source file that can't be compiled: how it was saved, or what was pasted or merged into it."""

from __future__ import annotations

import os
import re
import sys

from user_wsgi_wrapper.runtime.module_search import module_in, search_path
from user_wsgi_wrapper.runtime.origin import is_own, line_of, places, text_of

_READ = 1 << 20  # bytes
_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_CHARACTERS = {
    "FEFF": "a byte order mark (BOM), which may only be the first in a file: save it as UTF-8 without BOM",
    "00A0": "a no-break space: type a space in its place",
    "200B": "a zero-width space, which can't be seen: delete and type the line anew",
    "201C": 'a typographic quotation mark: type " in its place',
    "201D": 'a typographic quotation mark: type " in its place',
    "2018": "a typographic quotation mark: type ' in its place",
    "2019": "a typographic quotation mark: type ' in its place",
    "2013": "a dash: type - in its place",
}
_NO_PYTHON = ((b"{\\rtf", "RTF, a word processor's format"), (b"<!doctype html", "HTML"), (b"<html", "HTML"))
_CONFLICT = ("<<<<<<< ", "=======", ">>>>>>> ")


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do to a file whose text is no Python of this version, verified against the file."""
    if not isinstance(error, (SyntaxError, ValueError)):
        return ""
    text = text_of(error)
    if "null bytes" in text:
        return _advise_nul(_file_with_nul(error, wsgi_file))
    if not isinstance(error, SyntaxError) or type(error.filename) is not str or type(error.lineno) is not int:
        return ""
    path = os.path.abspath(error.filename)
    if not os.path.isfile(path) or not is_own(path):
        return ""
    source = _read(path)
    if isinstance(error, TabError):
        return _advise_tabs(path, source, error.lineno)
    if "codec can't decode byte" in text or text.startswith("Non-UTF-8 code"):
        return _advise_encoding(path, source)
    lines = source.decode("utf-8", "replace").splitlines()
    line = lines[error.lineno - 1] if 0 < error.lineno <= len(lines) else ""
    return _advise_line(path, error.lineno, line, text, lines)


def _advise_line(path: str, number: int, line: str, text: str, lines: list[str]) -> str:
    where = f"{path} line {number}"
    match = re.match(r"invalid (?:non-printable )?character .*U\+([0-9A-F]{4,6})", text)
    if match:
        said = _CHARACTERS.get(match[1])
        return f"{where} has {said}" if said and chr(int(match[1], 16)) in line else ""
    if line.startswith(_CONFLICT):
        starts = [next((n for n, other in enumerate(lines) if other.startswith(mark)), -1) for mark in _CONFLICT]
        if -1 < starts[0] < starts[1] < starts[2]:
            return f"{where} is a marker of a merge conflict: decide for one of the two sides and delete the markers"
    if text.startswith("Missing parentheses in call to") and re.search(r"(?:^|[\s:;])(print|exec)\s+[^\s(=]", line):
        return f"{where} is Python 2, this site runs Python {_version()}: print(...) and exec(...) need parentheses"
    if text.startswith("multiple exception types") and re.match(r"\s*except\s+[\w.]+\s*,\s*\w+\s*:", line):
        return f"{where} is Python 2, this site runs Python {_version()}: write `as` in place of the comma"
    if line.startswith((">>> ", "```")):
        return f"{where} was pasted with its {line[:3]}, which is no Python: take that out"
    head = "\n".join(lines[:number])[:200].lstrip("\ufeff \n").lower().encode()
    kind = next((kind for start, kind in _NO_PYTHON if head.startswith(start)), "") if number <= 3 else ""
    return f"{path} holds {kind}, no Python source: save it as plain text" if kind else ""


def _advise_tabs(path: str, source: bytes, number: int) -> str:
    lines = source.splitlines()
    indents = [line[: len(line) - len(line.lstrip())] for line in lines[:number]]
    tabs = [n for n, indent in enumerate(indents, 1) if b"\t" in indent]
    spaces = [n for n, indent in enumerate(indents, 1) if b" " in indent]
    if not tabs or not spaces:
        return ""
    return (
        f"{path} is indented with tabs (line {tabs[-1]}) and with spaces (line {spaces[-1]}): "
        "have the editor make spaces of all tabs"
    )


def _advise_encoding(path: str, source: bytes) -> str:
    for bom, name in _BOMS:
        if source.startswith(bom):
            return f"{path} was saved as {name}: save it as UTF-8"
    if re.search(rb"coding[:=]", b"\n".join(source.splitlines()[:2])):
        return ""
    try:
        source.decode()
    except UnicodeDecodeError as error:
        if error.start > _READ - 4:
            return ""  # where we stopped to read
        number = source.count(b"\n", 0, error.start) + 1
        return (
            f"{path} line {number} has the byte 0x{source[error.start]:02x}, which is no UTF-8: "
            "the file was saved in another encoding, save it as UTF-8"
        )
    return ""


def _advise_nul(path: str) -> str:
    source = _read(path) if path else b""
    if b"\0" not in source:
        return ""
    if source.startswith((b"\xff\xfe", b"\xfe\xff")) or source.count(b"\0") * 3 > len(source):
        return f"{path} was saved as UTF-16: save it as UTF-8"
    number = source.count(b"\n", 0, source.index(b"\0")) + 1
    return (
        f"{path} line {number} has a NUL byte, the file is damaged: upload it again, or delete the line and retype it"
    )


def _file_with_nul(error: BaseException, wsgi_file: str) -> str:
    """The file that such an error is about. It names none, and the import's own frames are cut out of it."""
    found = places(error)
    if not found:
        return os.path.abspath(wsgi_file)
    match = re.match(r"(?:import|from)\s+(\w+)", line_of(found[-1]))
    paths = [module_in(folder, match[1]) for folder in search_path()] if match else []
    path = next((path for path in paths if path), "")
    return path if is_own(path) else ""


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_READ)
    except OSError:
        return b""


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
