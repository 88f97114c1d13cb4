"""What is wrong with an output, wherever it lies: read piece by piece, several side by side, in bounded memory."""

import contextlib
import errno
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import BinaryIO, TypeVar

from batchgray.codecs import outputs
from batchgray.errors import ImageError
from batchgray.manifest.records import Image
from batchgray.records import InputVersion
from batchgray.storage import integrity
from batchgray.storage.base import BadKey, Changed, Missing, Place, PlaceError

_AHEAD = 8  # images a thread
_PIECE = 4 << 20
_MEMORY = 128 << 20  # of all that is read at a time

_T = TypeVar("_T")
_R = TypeVar("_R")


def side_by_side(call: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Iterator[tuple[_T, _R]]:
    """Each item with what a call makes of it, in order: reading and decoding both let go of the interpreter.

    A few are taken at a time, so that memory stays bounded.
    """
    left = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(left, threads * _AHEAD)):
            yield from zip(some, pool.map(call, some), strict=True)


def fault_of_file(file: BinaryIO, size: int, image: Image) -> str | None:
    """What is wrong with an output of `size` bytes, read from an open file, or None. Raises OSError."""
    if size != image.output_size:
        return _other_size(size, image)
    if size > outputs.LONGEST_WHOLE:
        with _memory.taking(outputs.LONGEST_WHOLE):
            return _fault_of_content(file, image)
    with _memory.taking(size):
        return _fault_of_content(io.BytesIO(file.read(size)), image)


def fault_in_place(place: Place, image: Image) -> str | None:
    """The same of an output in an object store: its bytes are read, and no ETag is believed. Raises PlaceError.

    That is where the store fails, which says nothing of the output.
    """
    expected = image.output_size or 0
    try:
        if expected > outputs.LONGEST_WHOLE:
            return _fault_of_large(place, image)
        with _memory.taking(expected):
            data = place.get(image.output, end=expected + 1)
            if len(data) == expected:
                return _fault_of_content(io.BytesIO(data), image)
        return _other_size(len(data) if len(data) < expected else place.stat(image.output).size, image)
    except Missing:
        return "missing"
    except (BadKey, Changed) as error:
        return f"can't be read: {error.reason}"


def _fault_of_large(place: Place, image: Image) -> str | None:
    found = place.stat(image.output)
    raw = _PlaceFile(place, image.output, found.version, found.size)
    fault = None
    with contextlib.suppress(_Unread):
        fault = fault_of_file(io.BufferedReader(raw, _PIECE), found.size, image)
    if raw.failure is not None:  # whatever a decoder made of it
        raise raw.failure
    return fault


def _other_size(size: int, image: Image) -> str:
    return f"{size} bytes instead of {image.output_size}"


def _fault_of_content(file: BinaryIO, image: Image) -> str | None:
    if integrity.checksum(iter(lambda: file.read(_PIECE), b"")) != image.checksum:
        return "its checksum is another"
    file.seek(0)
    try:
        outputs.check_decodes(file)
    except ImageError as error:
        return str(error)
    return None


class _Unread(OSError):
    """A place did not give what was asked for."""


class _PlaceFile(io.RawIOBase):
    """An object as a file; each read is a request for a part of the same version. `failure` is the place's."""

    def __init__(self, place: Place, key: str, version: InputVersion, size: int) -> None:
        super().__init__()
        self._place, self._key, self._version, self._size = place, key, version, size
        self._at = 0
        self.failure: PlaceError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = self._place.get(self._key, self._version, self._at, min(self._at + len(buffer), self._size))
        except PlaceError as error:
            self.failure = error
            raise _Unread(errno.EIO, error.reason) from None
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Bounded:
    """Bytes that several threads take of a sum, and give back. One that wants more than all there are gets it alone."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taking(self, count: int) -> Iterator[None]:
        count = min(count, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + count <= self._most)
            self._taken += count
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()


_memory = _Bounded(_MEMORY)
