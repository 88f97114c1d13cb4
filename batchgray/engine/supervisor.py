"""The supervisor: one loop that waits on worker pipes, the fork server and the inbox of notices.

    plan --> hand out --> workers --> Done, Failed, Flushed --> ledger (journal, events)
                             |
    notices --> inbox --> drain: SIGTERM, flush (deadline: SIGKILL, salvage) --> commit --> acknowledge

It imports neither numba, nor numpy, nor a codec: it starts at once, and no image can crash it.
"""

import contextlib
import selectors
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime

from batchgray import errors, events, machine
from batchgray.checkpoints import preview
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.engine import lifecycle, pool, timelimit
from batchgray.engine.ledger import Ledger, Listener
from batchgray.engine.lifecycle import Event, State
from batchgray.engine.pool import Member
from batchgray.errors import shown
from batchgray.notices.inbox import Complaint, Inbox, InterruptionNotice
from batchgray.options import EngineOptions
from batchgray.planes import slots
from batchgray.planning.plan import Plan
from batchgray.records import Task
from batchgray.storage.base import PlaceError
from batchgray.storage.run_folder import RunFolder
from batchgray.workers import messages
from batchgray.workers.forkserver import ForkServer

_CHUNK_BYTES = 1 << 20  # some 20 ms of work, in which the round trip to the supervisor is lost
_CHUNK_IMAGES = 64
_DEATHS_PER_IMAGE = 2
_DEATHS_IN_VAIN = 3
_PREVIEW_SECONDS = 5.0
READY_SECONDS = 0.05  # between two questions to a listener that is not ready


class Supervisor:
    """Works a plan off.

    `notice` is the one that interrupted it, if one did; `fault` is why the output can't be written any more.
    """

    def __init__(
        self,
        plan: Plan,
        held: RunFolder,
        resumable: set[int],
        engine: EngineOptions,
        ledger: Ledger,
        server: ForkServer,
        inbox: Inbox,
        emit: Listener,
        ready: Callable[[], bool],
    ) -> None:
        self.notice: InterruptionNotice | None = None
        self.fault: errors.OutputLost | None = None
        self._held = held
        self._checkpoints = FolderCheckpoints(held.inner, held.out, plan.manifest.options)
        self._plan, self._engine, self._ledger, self._inbox = plan, engine, ledger, inbox
        self._emit, self._ready, self._held_back = emit, ready, False
        self._server, self._servers_lost = server, 0
        self._images = plan.manifest.images
        self._outputs = {image.output for image in self._images}
        self._queue = deque(_largest_first(plan))
        self._suspects: deque[int] = deque()  # a worker died on each; they are tried once more, alone, at the end
        self._resumable = resumable
        self._deaths: Counter[int] = Counter()
        self._deaths_in_vain = 0
        self._look_at = 0.0
        self._members: list[Member] = []
        self._unnamed: deque[Member] = deque()  # forked, but their process ids are not told yet
        self._numbers = 0
        self._salvaged: list[Task] = []
        self._lifecycle = lifecycle.Lifecycle()
        self._deadline: float | None = None
        self._hurried = False
        self._selector = selectors.DefaultSelector()

    def run(self) -> Counter[str]:
        """Returns how many images are in each state, when no worker is left and the manifest is durable.

        Raises BatchgrayError where the run can't go on; what was done is in the journal all the same.
        """
        self._lifecycle.happened(Event.PLANNED)
        self._selector.register(self._inbox, selectors.EVENT_READ, self._hear_notices)
        self._selector.register(self._server.channel, selectors.EVENT_READ, self._hear_server)
        try:
            self._fill_up()
            while self._members:
                for key, _ in self._selector.select(self._seconds_to_wait()):
                    key.data()
                self._bury_the_gone()
                self._heed_deadline()
                self._heed_time_limits()
                self._hand_out()
            return self._finish()
        finally:
            self._server.stop()
            for member in self._members:
                member.close()
            self._selector.close()

    def _finish(self) -> Counter[str]:
        killed = self._lifecycle.state is State.KILLING
        self._lifecycle.happened(Event.DRAINED)
        states = self._ledger.commit(self.notice)
        self._lifecycle.happened(Event.COMMITTED)
        if killed and not self._hurried:
            with contextlib.suppress(errors.WorkersCannotWork):  # all is durable, and a notice to be acknowledged
                self._draw_previews()
        if self.notice is not None:
            seconds = time.monotonic() - self._drain_began
            self._emit(self._flushed(states, seconds))
        return states

    def _flushed(self, states: Counter[str], seconds: float) -> events.Flushed:
        in_hand = Counter(self._images[index].state for index in self._in_hand)
        return events.Flushed(
            in_hand=in_hand.total(),
            finished=in_hand["done"] + in_hand["failed"],
            kept=in_hand["partial"],
            put_back=in_hand["pending"],
            failed=in_hand["failed"],
            partial=states["partial"],
            pending=states["pending"],
            seconds=seconds,
        )

    # what comes in

    def _hear_notices(self) -> None:
        for item in self._inbox.take():
            if isinstance(item, Complaint):
                self._emit(events.Warned(message=item.message))
            else:
                self._take_notice(item)

    def _take_notice(self, notice: InterruptionNotice) -> None:
        """The first one drains; another signal moves the deadline to now, another source at most brings it nearer."""
        now = time.monotonic()
        self._lifecycle.happened(Event.NOTICE)
        first = self.notice is None
        again = not first and notice.source == "signal"
        self._hurried |= again
        left = notice.seconds_left(datetime.now(UTC))
        self._deadline = lifecycle.drain_deadline(now, self._engine.grace, left, self._deadline, again)
        if first:
            self.notice, self._drain_began = notice, now
            self._in_hand = [index for member in self._members for index in member.tasks]
            for member in self._members:
                self._signal(member, signal.SIGTERM)
            if not self._server.booted:
                self._give_up_unborn()
        if first or again:
            seconds = max(0.0, self._deadline - now)
            self._emit(
                events.Notice(
                    source=notice.source,
                    event_id=notice.event_id,
                    deadline=notice.deadline,
                    seconds=seconds,
                    in_hand=sum(len(member.tasks) for member in self._members),
                    again=again,
                )
            )

    def _hear_server(self) -> None:
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
                member = self._unnamed.popleft()
                member.pid = message.pid
                if self.notice is not None:  # it came while this worker was on its way
                    self._signal(member, signal.SIGTERM)
            case messages.Exited():
                for member in self._members:
                    if member.pid == message.pid:
                        member.exited, member.status, member.peak_bytes = True, message.status, message.peak_bytes

    def _replace_server(self) -> None:
        """Something killed the fork server, and its workers died with it; their slots are still here."""
        self._servers_lost += 1
        if self._servers_lost >= _DEATHS_IN_VAIN:
            raise errors.WorkersCannotWork("the process that they are forked from was killed again and again")
        self._selector.unregister(self._server.channel)
        self._server.stop()
        self._server = ForkServer()
        self._selector.register(self._server.channel, selectors.EVENT_READ, self._hear_server)
        self._unnamed.clear()
        for member in self._members:
            member.exited, member.status, member.blameless = True, -signal.SIGKILL, True

    def _hear_worker(self, member: Member) -> None:
        try:
            message = member.channel.receive()
        except EOFError:
            self._end_pipe(member)
            return
        match message:
            case messages.Ready():
                member.idle = True
            case messages.Idle():
                member.idle = True
            case messages.NeedMemory():
                member.asked, member.asked_at = message, time.monotonic()
            case messages.Done():
                for item in message.images:
                    member.tasks.pop(item.index, None)
                self._deaths_in_vain = 0
                self._ledger.done(message.images)
            case messages.Flushed():
                self._resumable.add(message.index)
                self._ledger.flushed(message)
            case messages.Failed():
                member.tasks.pop(message.index, None)
                self._deaths_in_vain = 0
                self._ledger.failed(message.index, message.reason)
            case messages.OutputFault():
                if message.full:
                    self._drain_for_space(message.needed)
                else:
                    self._drain_for_fault(message.reason)
            case messages.Broken():
                member.cause = message.reason

    def _drain_for_space(self, needed: int) -> None:
        totals = self._ledger.totals
        totals.space_needed = max(totals.space_needed or 0, needed)
        if self.notice is None:
            self._take_notice(InterruptionNotice(source="disk", event_id=None))

    def _drain_for_fault(self, reason: str) -> None:
        self.fault = self.fault or errors.OutputLost(self._plan.out, reason)
        if self.notice is None:
            self._take_notice(InterruptionNotice(source="disk", event_id=reason))

    # what goes out

    def _fill_up(self) -> None:
        """As many workers as there is work for."""
        if self._suspects and not self._queue and not any(member.tasks for member in self._members):
            self._queue.append(self._suspects.popleft())
        wanted = min(self._engine.workers, len(self._queue) + sum(not member.idle for member in self._members))
        while self._queue and len(self._members) < wanted:
            self._spawn()

    def _spawn(self, slot_bytes: int = slots.EMPTY_SLOT_BYTES) -> Member | None:
        self._numbers += 1
        setup = messages.Setup(
            worker=self._numbers,
            out=str(self._plan.out),
            flight=str(self._plan.flight),
            pixels=self._plan.manifest.options,
            max_pixels=self._plan.manifest.max_pixels,
            checkpoint=self._engine.checkpoint,
        )
        try:
            member = pool.spawn(self._server, self._numbers, setup, self._held.for_workers, slot_bytes)
        except OSError:
            self._hear_server()  # it is gone, or about to be, and has said why or not
            return None
        self._members.append(member)
        self._unnamed.append(member)
        self._selector.register(member.channel, selectors.EVENT_READ, lambda: self._hear_worker(member))
        return member

    def _hand_out(self) -> None:
        """Memory to workers that wait for it, work to idle ones; the pipe of who is no longer needed is closed."""
        self._held_back = False
        if self._lifecycle.state is not State.RUNNING:
            return
        self._fill_up()
        pool.grant_memory(self._members, self._engine.memory)
        ready = self._ready()
        for member in [member for member in self._members if member.idle]:
            if self._queue and not ready:
                self._held_back = True
            elif self._queue:
                self._send_chunk(member)
            elif not member.tasks:
                member.idle = False
                self._end_pipe(member)

    def _send_chunk(self, member: Member) -> None:
        tasks: list[Task] = []
        size = 0
        share = max(1, len(self._queue) // (2 * self._engine.workers))  # smaller towards the end: all end together
        while self._queue and size < _CHUNK_BYTES and len(tasks) < min(_CHUNK_IMAGES, share):
            task = self._task(self._queue.popleft())
            tasks.append(task)
            size += task.identity.size
        member.idle = False
        member.tasks.update((task.index, task) for task in tasks)
        with contextlib.suppress(OSError):  # it died; its tasks come back when it is buried
            member.send(tasks)
        for task in tasks:
            image = self._images[task.index]
            self._emit(
                events.Started(source=image.source, source_bytes=image.size, output=image.output, worker=member.number)
            )

    def _task(self, index: int) -> Task:
        image = self._images[index]
        return Task(
            index=index,
            source=self._plan.source_path(image),
            output=image.output,
            identity=image.identity,
            replaces="*" if image.mend else image.checksum or "",
            preview=preview.name_of(image.output) not in self._outputs and preview.has_room(image.output),
            resumable=index in self._resumable,
        )

    def _end_pipe(self, member: Member) -> None:
        """A worker whose pipe closes exits: it has nothing in hand, or is dead already."""
        self._selector.unregister(member.channel)
        member.channel.close()
        member.ended = True

    def _signal(self, member: Member, signum: signal.Signals) -> None:
        if member.pid is not None and not member.exited:
            self._server.signal(member.pid, signum)

    def _give_up_unborn(self) -> None:
        """Nobody is forked before the fork server has booted: there is nothing to wait for."""
        for member in self._members:
            self._end_pipe(member)
            member.exited, member.status = True, 0

    # deaths and deadlines

    def _bury_the_gone(self) -> None:
        for member in [member for member in self._members if member.gone]:
            self._members.remove(member)
            self._bury(member)
        if self._ledger.disk_full and self.notice is None:
            self._drain_for_space(0)

    def _bury(self, member: Member) -> None:
        """Save its finished tiles, and put back what it had in hand."""
        if member.status != 0:
            task = self._salvage(member)
            if self._lifecycle.state is State.RUNNING and not member.blameless:
                self._judge_death(member, task)
        self._queue.extendleft(sorted(member.tasks, reverse=True))
        member.close()
        self._emit(events.WorkerEnded(worker=member.number))

    def _salvage(self, member: Member) -> Task | None:
        """The image that it died on, whose finished tiles are saved."""
        slot = slots.Slot(member.slot_fd)
        task = member.tasks.get(slot.announced) if slot.announced is not None else None
        image = slot.image() if task else None
        if task and image and image.tiles_done:
            self._save_tiles(task, image)
        return task

    def _judge_death(self, member: Member, task: Task | None) -> None:
        """The image in hand is tried once more, alone, and then fails; without one, something else is wrong."""
        if task is None:
            self._deaths_in_vain += 1
            if self._deaths_in_vain >= _DEATHS_IN_VAIN:
                raise errors.WorkersCannotWork(
                    f"{_DEATHS_IN_VAIN} in a row ended with no image in hand, by {_cause(member)}"
                )
            return
        del member.tasks[task.index]
        self._deaths[task.index] += 1
        if self._deaths[task.index] < _DEATHS_PER_IMAGE:
            source = shown(self._images[task.index].source)
            self._suspects.append(task.index)
            self._emit(
                events.Warned(message=f"a worker died on {source} ({_cause(member)}); it is tried once more, alone")
            )
        else:
            reason = f"{_DEATHS_PER_IMAGE} workers died on it, the last one alone ({_cause(member)})"
            self._ledger.failed(task.index, reason)

    def _save_tiles(self, task: Task, image: slots.SlotImage) -> None:
        try:
            header = self._checkpoints.save(task, image)
        except PlaceError as error:
            reason = f"can't save the finished tiles of {shown(task.output)}: {error.reason}; they are made anew"
            self._emit(events.Warned(message=reason))
            return
        self._salvaged.append(task)
        self._resumable.add(task.index)
        self._ledger.flushed(messages.flushed(task, header.record, header.tiles_done))

    def _heed_deadline(self) -> None:
        if self._lifecycle.state is State.DRAINING and time.monotonic() >= (self._deadline or 0.0):
            self._lifecycle.happened(Event.DEADLINE)
            for member in self._members:
                self._signal(member, signal.SIGKILL)

    def _heed_time_limits(self) -> None:
        now = time.monotonic()
        if self._lifecycle.state is not State.RUNNING or now < self._look_at:
            return
        self._look_at = now + timelimit.LOOK_SECONDS
        for member in self._members:
            if member.cause is None and member.exceeds_time():
                self._signal(member, signal.SIGKILL)

    def _draw_previews(self) -> None:
        """Killed workers left no partial JPEGs.

        They are for people to look at, so all is durable before, and time is short.
        """
        until = time.monotonic() + _PREVIEW_SECONDS
        for task in self._salvaged:
            header = self._checkpoints.find(task)
            if header is None or time.monotonic() >= until:
                continue
            member = self._spawn(header.record.slot_bytes)
            if member is None:
                return
            with contextlib.suppress(OSError, EOFError):
                member.channel.send(messages.Preview(task=task, slot_bytes=member.slot_bytes))
                while member.channel.waiting(until - time.monotonic()):
                    member.channel.receive()

    def _seconds_to_wait(self) -> float:
        until = self._ledger.sync()
        if self._lifecycle.state is State.DRAINING and self._deadline is not None:
            until = min(until, self._deadline)
        if self._held_back:
            until = min(until, time.monotonic() + READY_SECONDS)
        return max(0.0, until - time.monotonic())


def _largest_first(plan: Plan) -> list[int]:
    """What is to be done, the large files by their sizes, the others in the plan's order.

    So no worker is left alone with a large one at the end, and each gets nearly all the memory it will need at once.
    """
    images = plan.manifest.images
    return sorted(plan.todo, key=lambda index: -max(images[index].size, _CHUNK_BYTES))


def _cause(member: Member) -> str:
    if member.cause is not None:
        return member.cause
    if member.status is None or member.status >= 0:
        return f"exit status {member.status}"
    name = signal.Signals(-member.status).name
    memory = f"{member.peak_bytes / 1e6:,.0f} MB in use, {machine.available_memory() / 1e6:,.0f} MB available"
    hint = ", as when memory runs out" if -member.status == signal.SIGKILL else ""
    return f"{name}{hint}; {memory}"
