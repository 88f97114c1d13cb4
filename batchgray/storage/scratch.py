"""Temporary files of a worker: outputs on their way, in the run's folder. They are worth nothing to another machine.

N-M.out    the M-th output of worker N
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from batchgray.storage import durable, integrity
from batchgray.storage.base import meaning
from batchgray.storage.durable import Buffer, Folder


class ScratchFile:
    """An output that grows until it is whole, and is not synced. `name` is where it lies; `size` is in bytes."""

    def __init__(self, name: str, fd: int) -> None:
        """Takes over the descriptor."""
        self.name, self._fd = name, fd
        self.size = 0
        self._digest = integrity.Digest()

    def write(self, data: Buffer) -> None:
        """Append bytes, in the block of `Scratch.new_file`, which says what an error means."""
        durable.write_all(self._fd, data)
        self._digest.update(data)
        self.size += len(data)

    def set_time(self, mtime_ns: int) -> bool:
        """Give it a modification time, in nanoseconds. False where the file system won't have it."""
        try:
            os.utime(self._fd, ns=(time.time_ns(), mtime_ns))
        except OSError:
            return False
        return True

    @property
    def checksum(self) -> str:
        return str(self._digest)

    def fileno(self) -> int:
        return self._fd


class HeldFile:
    """An output that is whole, in memory: for a place that takes it from there. `size` is in bytes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.data = b"".join(pieces)
        self.size = len(self.data)
        self.checksum = integrity.checksum([self.data])


class Scratch:
    """Where one worker makes them. No two workers of a run have the same number, so no two files the same name."""

    def __init__(self, folder: Folder, worker: int) -> None:
        self._folder, self._worker, self._made = folder, worker, 0

    def new_file(self) -> "_NewFile":
        """A file for the block to write, which stays open; if the block fails, nothing is left. Raises PlaceError."""
        self._made += 1
        return _NewFile(self._folder, f"{self._worker}-{self._made}.out")

    def write_file(self, pieces: Iterable[Buffer]) -> ScratchFile:
        """A file of these pieces. Raises PlaceError."""
        with self.new_file() as file:
            for piece in pieces:
                file.write(piece)
        return file

    @contextlib.contextmanager
    def file_of(self, data: bytes, mtime_ns: int) -> Iterator[str]:
        """The path of a file with these bytes and this modification time, for the block. Raises PlaceError."""
        file = self.write_file([data])
        file.set_time(mtime_ns)
        os.close(file.fileno())
        try:
            yield str(self._folder.path / file.name)
        finally:
            self._folder.remove(file.name)


class _NewFile:
    """See `Scratch.new_file`. A `contextmanager` takes three times as long, once an image."""

    __slots__ = ("_meaning", "_name", "_temporary")

    def __init__(self, folder: Folder, name: str) -> None:
        self._name, self._meaning, self._temporary = name, meaning(name), folder.temporary(name)

    def __enter__(self) -> ScratchFile:
        with self._meaning:
            return ScratchFile(self._name, self._temporary.__enter__())

    def __exit__(self, *raised: Any) -> None:
        with self._meaning:
            self._temporary.__exit__(*raised)
        self._meaning.__exit__(*raised)
