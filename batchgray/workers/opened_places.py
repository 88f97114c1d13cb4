"""A job's places on the workers' side: inputs are fetched ahead, outputs and checkpoints are put.

The clients of object stores are made here, in the worker: none of them may be used across a fork.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.storage.durable import Folder
from batchgray.storage.folder import FolderPlace
from batchgray.storage.lease import Lease, LeasedPlace
from batchgray.storage.place_publishing import PlacePublisher
from batchgray.storage.urls import open_input, open_place
from batchgray.workers.committer import Report
from batchgray.workers.fetching import Fetching
from batchgray.workers.interrupt import Interrupt
from batchgray.workers.job_places import JobPlaces
from batchgray.workers.messages import Setup
from batchgray.workers.sending import Sender


class Opened(NamedTuple):
    """What a worker has its inputs from, keeps checkpoints in, and puts its outputs with."""

    inputs: Fetching
    checkpoints: PlaceCheckpoints
    outbox: Sender


def opened(
    setup: Setup, scratch: Folder, interrupt: Interrupt, report: Report, broken: Callable[[BaseException], None]
) -> Opened:
    """Half of the budget is for inputs, half for outputs. Raises PlaceError."""
    places = msgspec.msgpack.decode(setup.job, type=JobPlaces)
    lease = Lease(scratch.path)
    unleased = open_place(os.fsdecode(places.out), places.stores)
    out = LeasedPlace(unleased, lease)
    timed = unleased if setup.times and isinstance(unleased, FolderPlace) else None
    inputs = open_input(os.fsdecode(places.input), places.stores)
    checkpoints = PlaceCheckpoints(out, places.begun, scratch, setup.pixels)
    budget = setup.on_the_way_bytes // 2
    fetching = Fetching(inputs, scratch, setup.worker, interrupt, budget, lease.wait)
    sender = Sender(PlacePublisher(out, scratch), checkpoints, report, broken, budget, timed)
    return Opened(fetching, checkpoints, sender)
