"""A job's places on the workers' side: inputs are fetched whole into scratch files, outputs and checkpoints are put.

The clients of object stores are made here, in the worker: none of them may be used across a fork.
"""

import contextlib
import os
from collections.abc import Iterator

import msgspec

from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.errors import ImageError, shown
from batchgray.records import Task
from batchgray.storage import durable
from batchgray.storage.base import BadKey, Changed, Denied, LockedOut, Missing, Place, PlaceError, meaning
from batchgray.storage.durable import Folder
from batchgray.storage.lease import Lease, LeasedPlace
from batchgray.storage.names import kind_of
from batchgray.storage.place_publishing import PlacePublisher
from batchgray.storage.urls import StoreOptions, open_place
from batchgray.workers.interrupt import Interrupt
from batchgray.workers.messages import Setup

_PIECE_BYTES = 8 << 20
_FAULTS_OF_ONE_INPUT = Missing, Changed, Denied, BadKey
_WHY_NOT: dict[type[PlaceError], str] = {
    Missing: "it is not there any more",
    Changed: "it has changed since the job was planned; put it back, or convert it in a job of its own",
}


class JobPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """Names of places, as bytes, and how stores are reached. `begun` is what the keys of checkpoints begin with."""

    input: bytes
    out: bytes
    begun: str
    stores: StoreOptions


def packed(input: str, out: str, begun: str, stores: StoreOptions) -> bytes:
    """What a worker is told with `Setup.job`."""
    return msgspec.msgpack.encode(JobPlaces(input=os.fsencode(input), out=os.fsencode(out), begun=begun, stores=stores))


def places_of(
    setup: Setup, scratch: Folder, interrupt: Interrupt
) -> tuple[PlacePublisher, PlaceCheckpoints, "Fetching"]:
    """What a worker publishes with, keeps checkpoints in, and has its sources from. Raises PlaceError."""
    places = msgspec.msgpack.decode(setup.job, type=JobPlaces)
    out = LeasedPlace(open_place(os.fsdecode(places.out), places.stores), Lease(scratch.path))
    inputs = open_place(os.fsdecode(places.input), places.stores)
    checkpoints = PlaceCheckpoints(out, places.begun, scratch, setup.pixels)
    return PlacePublisher(out, scratch), checkpoints, Fetching(inputs, scratch, setup.worker, interrupt)


class Fetching:
    """See `worker.Sources`: the planned version of a source, fetched into a file of its own."""

    def __init__(self, place: Place, scratch: Folder, worker: int, interrupt: Interrupt) -> None:
        self._place, self._scratch, self._worker, self._interrupt = place, scratch, worker, interrupt

    @contextlib.contextmanager
    def __call__(self, task: Task) -> Iterator[Task]:
        name = f"{self._worker}{kind_of(task.source)}"
        try:
            with self._interrupt.ending_at_once():  # nothing would be lost with it
                self._fetch(task, name)
            source = str(self._scratch.path / name)
            yield msgspec.structs.replace(task, source=source, version=task.version.of_copy())
        finally:
            self._scratch.remove(name)

    def _fetch(self, task: Task, name: str) -> None:
        """Raises ImageError where it is the image's fault, PlaceError."""
        with meaning(name), self._scratch.temporary(name) as fd:
            for start in range(0, task.version.size, _PIECE_BYTES):
                durable.write_all(fd, self._piece(task, start))
            moment = task.version.of_copy().mtime_ns
            os.utime(fd, ns=(moment, moment))
            os.close(fd)

    def _piece(self, task: Task, start: int) -> bytes:
        try:
            return self._place.get(task.source, task.version, start, min(start + _PIECE_BYTES, task.version.size))
        except PlaceError as error:
            if isinstance(error, _FAULTS_OF_ONE_INPUT) and not isinstance(error, LockedOut):
                raise ImageError(_WHY_NOT.get(type(error), error.reason)) from None
            reason = f"can't read {shown(f'{self._place.name}/{task.source}')}: {error.reason}"
            raise type(error)(task.source, reason) from None
