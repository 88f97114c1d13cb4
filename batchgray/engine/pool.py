"""The workers as the supervisor sees them: their slots, what each has in hand, and the memory they share."""

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from batchgray import errors
from batchgray.engine import timelimit
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.workers.forkserver import ForkServer
from batchgray.workers.messages import Channel, Convert, GiveBack, Granted, NeedMemory, Refused, Setup

_REMEDIES = {
    errno.EMFILE: "raise ulimit -n, or use fewer --workers",
    errno.ENFILE: "use fewer --workers",
    errno.EFBIG: "raise ulimit -f",
    errno.ENOMEM: "use fewer --workers",
}


@dataclass(eq=False)
class Member:
    """One worker process and its slot. It is gone when its pipe has ended and its exit is known."""

    number: int
    slot_fd: int
    channel: Channel
    pid: int | None = None
    idle: bool = False
    asked: NeedMemory | None = None  # waits for memory, since the moment `asked_at`
    asked_at: float = 0.0
    slot_bytes: int = slots.EMPTY_SLOT_BYTES
    scratch_bytes: int = 0
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

    def send(self, tasks: list[Task]) -> None:
        """Hand out images. Raises OSError where the worker is dead."""
        message = Convert(tasks=tasks, slot_bytes=self.slot_bytes, scratch_bytes=self.scratch_bytes)
        self.channel.send(message)

    def close(self) -> None:
        self.channel.close()
        os.close(self.slot_fd)


def spawn(server: ForkServer, number: int, setup: Setup, held: Iterable[int], slot_bytes: int) -> Member:
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
        member = Member(number, fd, channel)
        try:
            member.resize(slot_bytes)
            channel.send(setup)
        except OSError:
            member.close()
            raise
    except OSError as error:
        if error.errno in _REMEDIES:
            raise errors.WorkersCannotWork(f"{error.strerror}; {_REMEDIES[error.errno]}") from None
        raise
    return member


def grant_memory(members: Iterable[Member], limit: int) -> None:
    """Answer those that wait for memory, first come first served, within `limit` bytes for all together.

    Who waits, or is idle, has nothing in its slot that is still needed, and gives it up when somebody else is short.
    So whoever is first always gets what it asked for once the others have finished what they have in hand.
    """
    members = list(members)
    waiting = [(member, member.asked) for member in members if member.asked]
    for member, asked in sorted(waiting, key=lambda pair: pair[0].asked_at):
        wanted = asked.slot_bytes - slots.EMPTY_SLOT_BYTES + asked.scratch_bytes
        if wanted > limit:
            _answer(member, _refused(wanted, f"over the limit of {limit / 1e6:,.0f} MB", "raise --memory"))
            continue
        others = [other for other in members if other is not member]
        if wanted + sum(other.held_bytes for other in others) > limit:
            _take_back(others)
        if wanted + sum(other.held_bytes for other in others) > limit:
            return
        try:
            member.resize(max(asked.slot_bytes, slots.EMPTY_SLOT_BYTES))
        except OSError as error:  # RLIMIT_FSIZE counts for nameless memory too
            remedy = _REMEDIES.get(error.errno or 0, "free some memory")
            _answer(member, _refused(wanted, f"which can't be had: {error.strerror}", remedy))
            continue
        member.scratch_bytes = asked.scratch_bytes
        _answer(member, Granted(slot_bytes=member.slot_bytes, scratch_bytes=member.scratch_bytes))


def _refused(wanted: int, why: str, remedy: str) -> Refused:
    return Refused(reason=f"needs {wanted / 1e6:,.0f} MB while it is converted, {why}", remedy=remedy)


def _take_back(members: list[Member]) -> None:
    for member in members:
        if not member.held_bytes or not (member.asked or member.idle):
            continue
        member.resize(slots.EMPTY_SLOT_BYTES)
        member.scratch_bytes = 0
        _tell(member, GiveBack(slot_bytes=member.slot_bytes))


def _answer(member: Member, message: Granted | Refused) -> None:
    member.asked = None
    _tell(member, message)


def _tell(member: Member, message: GiveBack | Granted | Refused) -> None:
    with contextlib.suppress(OSError):  # it is dead; the end of its pipe tells
        member.channel.send(message)
