"""What uWSGI still holds of the requests that a dead worker was at.

uWSGI reads each core's request packet into memory that the master shares with its workers, and a worker that takes a
dead one's place finds it there until its own first request. So a request is told of without having cost anything
while it was served. Only memory that /proc/self/maps lists is read, and where it isn't certain which it is, none.
"""

from __future__ import annotations

from _struct import Struct
from mmap import PAGESIZE

from user_wsgi_wrapper.runtime import late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# the variables that are asked for, those of the front among them
NAMES = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "REQUEST_ID", "HTTP_X_REQUEST_START")
_LENGTH = Struct("<H")
_HEADER = 4  # of a packet, which the server has zeroed meanwhile (the uwsgi protocol)
_IOVEC = 16  # bytes of a struct iovec on a 64-bit machine
_VECTORS = 4 + 1 + 4 * 64  # of each core, from MAX_VARS


def last_requests(uwsgi: Any, cores: Sequence[int]) -> dict[int, dict[str, str]]:
    """The variables in NAMES of the last request of each of `cores` of the worker whose place this process takes.

    A core whose request can't be told is left out. `uwsgi` is the server's module.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            regions = shared_regions(file.read())
        size = uwsgi.buffer_size + _HEADER
        start = choose(regions, size * uwsgi.cores, uwsgi.cores, uwsgi.worker_id(), uwsgi.numproc)
        return _read(start, size, cores) if start is not None else {}
    except (AttributeError, OSError, ValueError, ImportError):
        return {}


def _read(start: int, size: int, cores: Sequence[int]) -> dict[int, dict[str, str]]:
    read: Callable[[int, int], bytes] = late.load("ctypes").string_at
    found = {core: parse_packet(read(start + core * size + _HEADER, size - _HEADER)) for core in cores}
    return {core: variables for core, variables in found.items() if "REQUEST_METHOD" in variables}


def shared_regions(maps: str) -> list[tuple[int, int]]:
    """The (start, length) of anonymous memory shared between processes, in the order of its making: proc(5)."""
    found = []
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1] == "rw-s" and fields[5].startswith("/dev/zero"):
            start, _, end = fields[0].partition("-")
            found.append((int(fields[4]), int(start, 16), int(end, 16) - int(start, 16)))
    return [(start, length) for _, start, length in sorted(found)]


def choose(regions: list[tuple[int, int]], size: int, cores: int, worker: int, workers: int) -> int | None:
    """Where the packets of `worker` are, of `size` bytes in all; None if that isn't certain.

    The server makes such memory, with that for its vectors right after it, for the master (worker 0) and then for
    each of `workers`: so the places must be as many as there are processes, evenly spaced.
    """
    lengths = [length for _, length in regions]
    packets, vectors = _pages(size), _pages(_IOVEC * _VECTORS * cores)
    places = [at for at, pair in enumerate(zip(lengths, lengths[1:])) if pair == (packets, vectors)]
    steps = {later - at for at, later in zip(places, places[1:])}
    return regions[places[worker]][0] if len(places) == workers + 1 and len(steps) == 1 else None


def _pages(size: int) -> int:
    return -(-size // PAGESIZE) * PAGESIZE


def parse_packet(packet: bytes) -> dict[str, str]:
    """The variables in NAMES of a uwsgi packet's body, each where it first stands; what follows it is rubbish."""
    variables: dict[str, str] = {}
    texts: list[str] = []
    at = 0
    while at + _LENGTH.size <= len(packet) and len(variables) < len(NAMES):
        end = at + _LENGTH.size + _LENGTH.unpack_from(packet, at)[0]
        if end > len(packet):
            break
        texts.append(packet[at + _LENGTH.size : end].decode("latin-1"))
        if len(texts) == 2:
            name, value = texts
            if not name:
                break
            if name in NAMES:
                variables.setdefault(name, value)
            texts = []
        at = end
    return variables
