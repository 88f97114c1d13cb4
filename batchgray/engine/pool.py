"""Workers are spawned here: through the fork server, each with a slot of its own."""

import os
from collections.abc import Iterable

from batchgray import errors
from batchgray.engine import memory
from batchgray.engine.worker_handle import WorkerHandle
from batchgray.planes import slots
from batchgray.workers.forkserver import ForkServer
from batchgray.workers.messages import Setup


def spawn_worker(server: ForkServer, number: int, setup: Setup, held: Iterable[int], slot_bytes: int) -> WorkerHandle:
    """Start a worker with a slot of its own; `held` are the descriptors of the run that it gets as well.

    Raises OSError where the fork server is gone, WorkersCannotWork where a limit of this process is reached.
    """
    try:
        fd = slots.make_memory()
        try:
            channel = server.fork(fd, *held)
        except OSError:
            os.close(fd)
            raise
        worker = WorkerHandle(number, fd, channel)
        try:
            worker.resize(slot_bytes)
            channel.send(setup)
        except OSError:
            worker.close()
            raise
    except OSError as error:
        if error.errno in memory.REMEDIES:
            raise errors.WorkersCannotWork(f"{error.strerror}; {memory.REMEDIES[error.errno]}") from None
        raise
    return worker
