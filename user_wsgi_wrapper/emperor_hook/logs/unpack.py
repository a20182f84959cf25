"""A gzip file (RFC 1952) read as a stream, in bounded memory and time, whoever has written it."""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO

_GZIP = 16 + zlib.MAX_WBITS  # zlib.decompressobj: with the header and trailer of RFC 1952
_BLOCK = 64 * 1024
_MEMBERS = 1000  # gzip writes one; files of empty ones alone would take an hour


class UnpackError(Exception):
    """The file isn't whole, isn't gzip or goes beyond a bound; str() says which."""


class Unpacked(io.RawIOBase):
    """What `file`, from its beginning on, holds unpacked, at most `most` bytes. Reading raises UnpackError."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self._members = 0
        self._is_begun = True  # an empty file is no gzip file
        self._input = b""
        self._member = zlib.decompressobj(_GZIP)
        file.seek(0)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer's beginning; gives how many bytes, 0 at the end."""
        data = b""
        while not data:
            if self._member.eof:
                self._begin_the_next()
            self._input = self._input or self._file.read(_BLOCK)
            if not self._input:
                if self._is_begun:
                    raise UnpackError("it ends in the middle")
                return 0
            data = self._decompress(len(buffer))
        self._most -= len(data)
        if self._most < 0:
            raise UnpackError("it holds more than is read of one file")
        buffer[: len(data)] = data
        return len(data)

    def _begin_the_next(self) -> None:
        self._input = self._member.unused_data
        self._member = zlib.decompressobj(_GZIP)
        self._is_begun = False
        self._members += 1
        if self._members >= _MEMBERS:
            raise UnpackError(f"it has more than {_MEMBERS} parts")

    def _decompress(self, room: int) -> bytes:
        try:
            data = self._member.decompress(self._input, room)
        except zlib.error as error:
            raise UnpackError(f"it is damaged ({error})") from None
        self._input = self._member.unconsumed_tail
        self._is_begun = True
        return data
