"""Until when a share may be worked on, as the supervisor tells its workers: in a file of the machine that both map.

A worker puts and deletes nothing while the lease is in doubt: the supervisor may be stopped, or have lost the store,
and another machine own the share by now. It waits; whoever has lost the share is killed, and never goes on.
"""

import mmap
import struct
import time
from pathlib import Path

from batchgray import ownclock
from batchgray.storage.base import Content, Place, Put
from batchgray.storage.wrapping import WrappedPlace

_NAME = "lease"
_TWICE = struct.Struct("=dd")  # a moment that is just being written is not the same twice
_LOOK_SECONDS = 0.05


class Lease:
    """The file `lease` in a folder of the run's. Moments are of `ownclock.machine_clock`."""

    def __init__(self, folder: Path, make: bool = False) -> None:
        """Raises OSError."""
        path = folder / _NAME
        if make:
            path.write_bytes(bytes(_TWICE.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _TWICE.size)

    def extend(self, until: float) -> None:
        """It is certain until this moment."""
        self._map[:] = _TWICE.pack(until, until)

    @property
    def in_doubt(self) -> bool:
        until: tuple[float, float] = _TWICE.unpack(self._map[:])
        return until[0] != until[1] or ownclock.machine_clock() >= until[0]

    def wait(self) -> None:
        """Until it is in no doubt."""
        while self.in_doubt:
            time.sleep(_LOOK_SECONDS)


class LeasedPlace(WrappedPlace):
    """See `base.Place`: another place, in which nothing is changed while the lease is in doubt."""

    def __init__(self, place: Place, lease: Lease) -> None:
        super().__init__(place)
        self._lease = lease

    def put(self, key: str, content: Content) -> None:
        self._lease.wait()
        super().put(key, content)

    def put_absent(self, key: str, content: Content) -> Put:
        self._lease.wait()
        return super().put_absent(key, content)

    def delete(self, key: str) -> None:
        self._lease.wait()
        super().delete(key)
