"""The command `batchgray`, but its workers call each image done without touching it: what the supervisor costs.

    python benchmarks/idle_workers.py run IN --out OUT ...

Planned, handed out, told and written down is all as ever; no file is read, and none is made but the manifest.
"""

import contextlib
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from batchgray.workers import forkserver
from batchgray.workers.messages import Channel, Convert, Done, Idle, ImageDone, Ready, ToWorker

_HERE = str(Path(__file__).parent)
_BOOT = f"""import sys
sys.path.append({_HERE!r})
import batchgray.workers, idle_workers
batchgray.workers.worker = idle_workers
{forkserver._BOOT}"""


def main(pipe_fd: int, *_: int) -> None:
    """The life of a worker (see `batchgray.workers.worker.main`)."""
    channel = Channel(Connection(pipe_fd), ToWorker)
    chunks = 0
    with contextlib.suppress(EOFError):
        channel.receive()
        channel.send(Ready())
        while isinstance(message := channel.receive(), Convert):
            chunks += 1
            channel.send(Done(images=[_done(task) for task in message.tasks]))
            channel.send(Idle(chunks=chunks))


def preload(_what: object) -> None:
    """Nothing is needed."""


def _done(task) -> ImageDone:
    return ImageDone(
        index=task.index,
        version=task.version,
        width=8,
        height=8,
        tiles_total=1,
        tiles_computed=1,
        decoded=True,
        output_size=332,
        checksum="xxh3-128:0123456789abcdef0123456789abcdef",
        note=None,
        seconds=0.000123456,
        waited=0.000012345,
    )


if __name__ == "__main__":
    from batchgray.cli.main import main as command

    forkserver._BOOT = _BOOT
    sys.argv[0] = "batchgray"
    command()
