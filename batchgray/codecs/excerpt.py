"""Parts of a file as a file: what libraries get to read of an input, which may be larger than memory."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from mmap import mmap
from typing import BinaryIO

Contents = bytes | mmap  # of a file, read or mapped


def let_go(data: Contents) -> None:
    """Unmap a file's bytes, where they are mapped."""
    if isinstance(data, mmap):
        data.close()


class Excerpt(io.RawIOBase):
    """Parts of a mapped file as a file, and bytes that stand between them.

    Nothing is copied but what is read: the file may be larger than memory. `fd` is a descriptor for libraries that
    read the file itself; it is the excerpt's to close.
    """

    def __init__(self, data: Contents, parts: Sequence[slice | bytes], fd: int | None = None) -> None:
        self._data, self._parts, self._at, self._fd = data, parts, 0, fd
        self._ends = list(
            accumulate(len(part) if isinstance(part, bytes) else part.stop - part.start for part in parts)
        )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return super().fileno() if self._fd is None else self._fd

    def close(self) -> None:
        if not self.closed and self._fd is not None:
            os.close(self._fd)
        super().close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]  # io gives a memoryview
        number = bisect_right(self._ends, self._at)
        if number == len(self._parts):
            return 0
        part, left = self._parts[number], self._ends[number] - self._at
        source, stop = (part, len(part)) if isinstance(part, bytes) else (self._data, part.stop)
        piece = source[stop - left : min(stop, stop - left + len(target))]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def excerpt(data: Contents, parts: Sequence[slice | bytes], fd: int | None = None) -> BinaryIO:
    """An Excerpt as libraries want a file to be."""
    return io.BufferedReader(Excerpt(data, parts, fd))
