"""The workers, all together: spawned through the fork server, read, signalled, limited in memory and time, reaped."""

import functools
import os
import selectors
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batchgray import errors
from batchgray.engine import memory, timelimit
from batchgray.engine.worker_handle import WorkerHandle
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.workers import messages
from batchgray.workers.forkserver import ForkServer

_LOST_SERVERS = 3


@dataclass(frozen=True, kw_only=True)
class Inheritance:
    """What every worker of a run is given: the folders of the outputs and of what is in flight, and how to convert.

    `descriptors` are those of the two folders, and of the locks that live as long as any worker (see
    `forkserver.Worker.main`). `checkpoint` is in seconds, `cores`, `job` and `on_the_way_bytes` are as in
    `messages.Setup`; with `times` outputs get the modification times of their inputs.
    """

    out: Path
    flight: Path
    descriptors: tuple[int, ...]
    pixels: PixelOptions
    max_pixels: int
    checkpoint: float
    cores: int = 1
    times: bool = False
    job: bytes = b""
    on_the_way_bytes: int = 0


class Pool:
    """The workers that are not reaped yet.

    Their pipes and the fork server's are registered with `selector`; each key's data is to be called when it is
    readable, and `handle_message` is then called with the worker and what it says.
    """

    def __init__(
        self,
        server: ForkServer,
        inheritance: Inheritance,
        selector: selectors.BaseSelector,
        handle_message: Callable[[WorkerHandle, messages.FromWorker], None],
        clock: Callable[[], float],
    ) -> None:
        self.workers: list[WorkerHandle] = []
        self._server, self._lost_servers = server, 0
        self._inheritance, self._selector, self._clock = inheritance, selector, clock
        self._handle_message = handle_message
        self._spawned = 0
        self._unforked: deque[WorkerHandle] = deque()  # asked for; their process ids are not known yet
        self._terminated = False
        self._check_at = 0.0
        selector.register(server.channel, selectors.EVENT_READ, self.read_server)

    @property
    def in_hand(self) -> list[int]:
        """The images, by their indices, that were handed out and are neither done nor failed yet."""
        return [index for worker in self.workers for index in worker.tasks]

    @property
    def gone_workers(self) -> list[WorkerHandle]:
        """Those to be reaped."""
        return [worker for worker in self.workers if worker.gone]

    # spawn and reap

    def spawn_worker(self, slot_bytes: int = slots.EMPTY_SLOT_BYTES) -> WorkerHandle | None:
        """Start a worker with a slot of its own. None where the fork server is gone; it is replaced then.

        Raises WorkersCannotWork where no process can be started, or a limit of this one is reached.
        """
        self._spawned += 1
        try:
            worker = _spawn(self._server, self._spawned, self._inheritance, slot_bytes)
        except OSError:
            self.read_server()  # it is gone, or about to be, and has said why or not
            return None
        self.workers.append(worker)
        self._unforked.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, functools.partial(self.read_worker, worker))
        return worker

    def inherit(self, inheritance: Inheritance) -> None:
        """What workers are given from now on; those that were given something else, and are idle, end."""
        if inheritance == self._inheritance:
            return
        self._inheritance = inheritance
        for worker in self.workers:
            worker.idle = False
            if not worker.ended:
                self.end_pipe(worker)

    def end_pipe(self, worker: WorkerHandle) -> None:
        """A worker whose pipe closes exits: it has nothing in hand, or is dead already."""
        self._selector.unregister(worker.channel)
        worker.channel.close()
        worker.ended = True

    def remove_worker(self, worker: WorkerHandle) -> None:
        """Its slot goes back to the system."""
        self.workers.remove(worker)
        worker.close()

    def close(self) -> None:
        """Ends the fork server, and with it every worker. It may be closed again."""
        self._server.stop()
        while self.workers:
            self.workers.pop().close()

    # messages

    def read_worker(self, worker: WorkerHandle) -> None:
        if worker.ended:  # since the selector said that there is something to read
            return
        try:
            message = worker.channel.receive()
        except EOFError:
            self.end_pipe(worker)
        else:
            self._handle_message(worker, message)

    def read_server(self) -> None:
        """Raises WorkersCannotWork."""
        try:
            message = self._server.channel.receive()
        except EOFError:
            self._replace_server()
            return
        match message:
            case messages.Broken():
                raise errors.WorkersCannotWork(message.reason)
            case messages.Booted():
                self._server.booted = True
            case messages.Forked():
                worker = self._unforked.popleft()
                worker.pid = message.pid
                if self._terminated:  # while this worker was on its way
                    self._signal(worker, signal.SIGTERM)
            case messages.Exited():
                for worker in self.workers:
                    if worker.pid == message.pid:
                        worker.record_exit(message.status, message.peak_bytes)

    def _replace_server(self) -> None:
        """Something killed the fork server, and its workers died with it; their slots are still here."""
        self._lost_servers += 1
        if self._lost_servers >= _LOST_SERVERS:
            raise errors.WorkersCannotWork("the process that they are forked from was killed again and again")
        self._selector.unregister(self._server.channel)
        self._server.stop()
        self._server = ForkServer()
        self._selector.register(self._server.channel, selectors.EVENT_READ, self.read_server)
        self._unforked.clear()
        for worker in self.workers:
            worker.record_exit(-signal.SIGKILL)
            worker.blameless = True

    # signals and limits

    def terminate_workers(self) -> None:
        """Have every worker flush and exit; one that is on its way is told as soon as it is forked."""
        self._terminated = True
        for worker in self.workers:
            self._signal(worker, signal.SIGTERM)
        if not self._server.booted:
            self._abandon_spawns()

    def kill_workers(self) -> None:
        for worker in self.workers:
            self._signal(worker, signal.SIGKILL)

    def abandon_workers(self) -> None:
        """Kill them, and listen to none any more; one that is on its way finds its pipe closed."""
        self.kill_workers()
        for worker in self.workers:
            if not worker.ended:
                self.end_pipe(worker)

    def enforce_time_limits(self) -> None:
        """Kill the workers whose images take too long; the limits are looked at every CHECK_SECONDS."""
        now = self._clock()
        if now < self._check_at:
            return
        self._check_at = now + timelimit.CHECK_SECONDS
        for worker in self.workers:
            if worker.cause is None and worker.exceeds_time():
                self._signal(worker, signal.SIGKILL)

    def lend_cores(self, cores: int) -> None:
        """Of so many cores, those that are idle go to the workers that are not, as evenly as can be."""
        busy = [worker for worker in self.workers if worker.tasks and not worker.idle]
        for number, worker in enumerate(busy):
            worker.lend_cores(max(1, cores // len(busy) + (number < cores % len(busy))))

    def grant_memory(self, limit: int) -> None:
        memory.grant_memory(self.workers, limit)

    def _abandon_spawns(self) -> None:
        """Before the fork server has booted no worker is forked: there is nothing to wait for."""
        for worker in self.workers:
            self.end_pipe(worker)
            worker.record_exit(0)

    def _signal(self, worker: WorkerHandle, signum: signal.Signals) -> None:
        if worker.pid is not None and not worker.exited:
            self._server.signal(worker.pid, signum)


def _spawn(server: ForkServer, number: int, inheritance: Inheritance, slot_bytes: int) -> WorkerHandle:
    """Raises OSError where the fork server is gone, WorkersCannotWork where a limit of this process is reached."""
    try:
        fd = slots.make_memory()
        try:
            channel = server.fork(fd, *inheritance.descriptors)
        except OSError:
            os.close(fd)
            raise
        worker = WorkerHandle(number, fd, channel)
        try:
            worker.resize(slot_bytes)
            channel.send(_setup(number, inheritance))
        except OSError:
            worker.close()
            raise
    except OSError as error:
        if error.errno in memory.REMEDIES:
            raise errors.WorkersCannotWork(f"{error.strerror}; {memory.REMEDIES[error.errno]}") from None
        raise
    return worker


def _setup(number: int, inheritance: Inheritance) -> messages.Setup:
    return messages.Setup(
        worker=number,
        out=str(inheritance.out),
        flight=str(inheritance.flight),
        pixels=inheritance.pixels,
        max_pixels=inheritance.max_pixels,
        times=inheritance.times,
        checkpoint=inheritance.checkpoint,
        cores=inheritance.cores,
        job=inheritance.job,
        on_the_way_bytes=inheritance.on_the_way_bytes,
    )
