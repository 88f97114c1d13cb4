"""One worker process as the supervisor sees it: its pipe, its slot, what it has in hand, and how it ended."""

import os
import signal
from dataclasses import dataclass, field

from batchgray import machine
from batchgray.engine import timelimit
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.workers.messages import Channel, Convert, NeedMemory


@dataclass(eq=False)
class WorkerHandle:
    """A worker process and its slot. It is gone when its pipe has ended and its exit is known."""

    number: int
    slot_fd: int
    channel: Channel
    pid: int | None = None  # known when it is forked
    idle: bool = False
    wants_more: int = 0  # bytes to fetch ahead, while it converts
    chunks: int = 0  # handed out so far
    asked: NeedMemory | None = None  # waits for memory, since the moment `asked_at`
    asked_at: float = 0.0
    slot_bytes: int = slots.EMPTY_SLOT_BYTES
    scratch_bytes: int = 0
    cores: int = 1  # that its slot says it may use
    tasks: dict[int, Task] = field(default_factory=dict)  # handed out, and neither done nor failed yet
    ended: bool = False
    exited: bool = False
    status: int | None = None
    peak_bytes: int = 0  # of memory, known when it has exited
    cause: str | None = None  # why it ends, where that is known before its exit status
    blameless: bool = False  # it dies with the fork server, whatever it has in hand

    def __post_init__(self) -> None:
        self._watch = timelimit.Watch(self.slot_fd)

    @property
    def gone(self) -> bool:
        return self.ended and self.exited

    @property
    def held_bytes(self) -> int:
        """What this worker holds beyond an empty slot, which it never gives up."""
        return self.slot_bytes - slots.EMPTY_SLOT_BYTES + self.scratch_bytes

    @property
    def cause_of_death(self) -> str:
        """Why it ended, in words: the signal, and the memory at the time."""
        if self.cause is not None:
            return self.cause
        if self.status is None or self.status >= 0:
            return f"exit status {self.status}"
        name = signal.Signals(-self.status).name
        memory = f"{self.peak_bytes / 1e6:,.0f} MB in use, {machine.available_memory() / 1e6:,.0f} MB available"
        hint = ", as when memory runs out" if -self.status == signal.SIGKILL else ""
        return f"{name}{hint}; {memory}"

    def exceeds_time(self) -> bool:
        """Whether the image in hand takes too long; `cause` then says by what."""
        if self.asked or self.pid is None or self.exited:
            self._watch.forget()
            return False
        exceeded = self._watch.exceeded(self.pid)
        self.cause = exceeded and f"it took {exceeded}, and was stopped"
        return exceeded is not None

    def resize(self, slot_bytes: int) -> None:
        """Change the length of the slot; the worker learns of it with the next message and must not be using it now."""
        if slot_bytes != self.slot_bytes:
            slots.resize_memory(self.slot_fd, slot_bytes)
            self.slot_bytes = slot_bytes

    def lend_cores(self, cores: int) -> None:
        """Say how many cores it may use from now on."""
        if cores != self.cores:
            slots.lend_cores(self.slot_fd, cores)
            self.cores = cores

    def send_tasks(self, tasks: list[Task]) -> None:
        """Hand out images. Raises OSError where the worker is dead."""
        self.idle, self.wants_more = False, 0
        self.chunks += 1
        self.tasks.update((task.index, task) for task in tasks)
        message = Convert(tasks=tasks, slot_bytes=self.slot_bytes, scratch_bytes=self.scratch_bytes)
        self.channel.send(message)

    def record_exit(self, status: int, peak_bytes: int = 0) -> None:
        """Its process has ended; `status` as `os.waitstatus_to_exitcode` gives it."""
        self.exited, self.status, self.peak_bytes = True, status, peak_bytes

    def close(self) -> None:
        self.channel.close()
        os.close(self.slot_fd)
