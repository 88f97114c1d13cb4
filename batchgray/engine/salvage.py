"""What a worker leaves in its slot when it is killed or crashes: the finished tiles of the image in hand.

They are made durable at once; partial JPEGs, which are only for people to look at, come when all else is durable. Of an
image in bands there is nothing to save: its last checkpoint is on the disk, and a partial JPEG comes of that.
"""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from batchgray.checkpoints.base import Checkpoints
from batchgray.engine.pool import Pool
from batchgray.engine.worker_handle import WorkerHandle
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.workers import messages

_PREVIEW_SECONDS = 5.0


class Salvage:
    """Saves what dead workers leave, as checkpoints of the run."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._saved: list[Task] = []

    def save_tiles(self, task: Task, image: slots.SlotImage) -> messages.Flushed:
        """Make an image's finished tiles durable. Raises PlaceError."""
        header = self._checkpoints.save(task, image)
        self._saved.append(task)
        return messages.flushed(task, header.record, header.tiles_done)

    def expect_bands(self, task: Task) -> None:
        """The image was being converted in bands."""
        self._saved.append(task)

    def draw_previews(self, pool: Pool, clock: Callable[[], float]) -> None:
        """Have new workers draw the partial JPEGs of what was saved, for a short time. Raises WorkersCannotWork."""
        until = clock() + _PREVIEW_SECONDS
        for task in self._saved:
            header = self._checkpoints.find(task)
            if header is None or clock() >= until:
                continue
            worker = pool.spawn_worker(header.record.slot_bytes if header.tiles else slots.EMPTY_SLOT_BYTES)
            if worker is None:
                return
            with contextlib.suppress(OSError, EOFError):
                worker.channel.send(messages.Preview(task=task, slot_bytes=worker.slot_bytes))
                while worker.channel.waiting(until - clock()):
                    worker.channel.receive()


class InHand(NamedTuple):
    """What a worker was working on when it ended, and the image in its slot if tiles of it are finished."""

    task: Task | None
    image: slots.SlotImage | None
    in_bands: bool


def in_hand(worker: WorkerHandle) -> InHand:
    """Of a worker that has ended."""
    slot = slots.Slot(worker.slot_fd)
    task = worker.tasks.get(slot.announced) if slot.announced is not None else None
    image = slot.image() if task else None
    return InHand(task, image if image and image.tiles_done else None, slot.is_elsewhere)
