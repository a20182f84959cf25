"""Large logs skimmed: only lines near something that may be wanted are looked at one by one. Pure.

A log is taken in areas of whole lines. An area without a trace of what is wanted is passed over, but for those beside
one that has it: a record may begin or end there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from user_wsgi_wrapper.emperor_hook.logs.records import Wanted
from user_wsgi_wrapper.emperor_hook.tail import LONGEST

# What a pattern must not have to be searched for in many lines at once: what looks around or holds on to what it has
# taken could miss a match there; what goes on beyond the end of a line could take for ever.
_NOT_LOCAL = re.compile(rb"\\[ABDWZ]|\(\?(?!:|P<\w+>)|[*+?}]\+|\[\^")


def test_for(wanted: Wanted) -> Callable[[bytes], object] | None:
    """Tells whether an area may hold something that is wanted; None if only each line can tell."""
    if wanted.request_id is not None:
        request_id = wanted.request_id.encode()
        return lambda area: request_id in area
    if wanted.pattern is None or _NOT_LOCAL.search(wanted.pattern.pattern):
        return None
    return re.compile(wanted.pattern.pattern, wanted.pattern.flags | re.MULTILINE).search


def areas(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks, cut at line ends instead. A line longer than LONGEST comes in pieces."""
    rest = b""
    for block in blocks:
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
        else:
            rest += block
        if len(rest) >= LONGEST:
            yield rest
            rest = b""
    if rest:
        yield rest


def lines(found: Iterable[bytes], may_match: Callable[[bytes], object]) -> Iterator[bytes | None]:
    """The lines of the areas that may match and of those beside them; None where something was passed over."""
    before, was_hot = b"", False
    for area in found:
        is_hot = bool(may_match(area))
        if is_hot and not was_hot:
            yield None
            yield from _split(before)
        if is_hot or was_hot:
            yield from _split(area)
        before, was_hot = area, is_hot


def _split(area: bytes) -> Iterator[bytes]:
    begin = 0
    while begin < len(area):
        end = area.find(b"\n", begin) + 1 or len(area)
        yield area[begin:end]
        begin = end
