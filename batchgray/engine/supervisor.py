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

from batchgray import errors, events
from batchgray.checkpoints import preview
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.engine import lifecycle, memory, pool, timelimit
from batchgray.engine.ledger import Ledger, Listener
from batchgray.engine.lifecycle import State, Trigger
from batchgray.engine.worker_handle import WorkerHandle
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
        self._check_at = 0.0
        self._workers: list[WorkerHandle] = []
        self._unforked: deque[WorkerHandle] = deque()  # forked, but their process ids are not told yet
        self._numbers = 0
        self._salvaged: list[Task] = []
        self._lifecycle = lifecycle.Lifecycle()
        self._deadline: float | None = None
        self._second_signal = False
        self._selector = selectors.DefaultSelector()

    def run(self) -> Counter[str]:
        """Returns how many images are in each state, when no worker is left and the manifest is durable.

        Raises BatchgrayError where the run can't go on; what was done is in the journal all the same.
        """
        self._lifecycle.happened(Trigger.PLANNED)
        self._selector.register(self._inbox, selectors.EVENT_READ, self._read_inbox)
        self._selector.register(self._server.channel, selectors.EVENT_READ, self._read_server)
        try:
            self._spawn_workers()
            while self._workers:
                for key, _ in self._selector.select(self._seconds_to_wait()):
                    key.data()
                self._reap_workers()
                self._enforce_deadline()
                self._enforce_time_limits()
                self._hand_out_tasks()
            return self._finish()
        finally:
            self._server.stop()
            for worker in self._workers:
                worker.close()
            self._selector.close()

    def _finish(self) -> Counter[str]:
        killed = self._lifecycle.state is State.KILLING
        self._lifecycle.happened(Trigger.DRAINED)
        states = self._ledger.commit(self.notice)
        self._lifecycle.happened(Trigger.COMMITTED)
        if killed and not self._second_signal:
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

    def _read_inbox(self) -> None:
        for item in self._inbox.take():
            if isinstance(item, Complaint):
                self._emit(events.Warned(message=item.message))
            else:
                self._handle_notice(item)

    def _handle_notice(self, notice: InterruptionNotice) -> None:
        """The first one drains; another signal moves the deadline to now, another source at most brings it nearer."""
        now = time.monotonic()
        self._lifecycle.happened(Trigger.NOTICE)
        first = self.notice is None
        again = not first and notice.source == "signal"
        self._second_signal |= again
        left = notice.seconds_left(datetime.now(UTC))
        self._deadline = lifecycle.drain_deadline(now, self._engine.grace, left, self._deadline, again)
        if first:
            self.notice, self._drain_began = notice, now
            self._in_hand = [index for worker in self._workers for index in worker.tasks]
            for worker in self._workers:
                self._signal(worker, signal.SIGTERM)
            if not self._server.booted:
                self._abandon_spawns()
        if first or again:
            seconds = max(0.0, self._deadline - now)
            self._emit(
                events.Notice(
                    source=notice.source,
                    event_id=notice.event_id,
                    deadline=notice.deadline,
                    seconds=seconds,
                    in_hand=sum(len(worker.tasks) for worker in self._workers),
                    again=again,
                )
            )

    def _read_server(self) -> None:
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
                if self.notice is not None:  # it came while this worker was on its way
                    self._signal(worker, signal.SIGTERM)
            case messages.Exited():
                for worker in self._workers:
                    if worker.pid == message.pid:
                        worker.record_exit(message.status, message.peak_bytes)

    def _replace_server(self) -> None:
        """Something killed the fork server, and its workers died with it; their slots are still here."""
        self._servers_lost += 1
        if self._servers_lost >= _DEATHS_IN_VAIN:
            raise errors.WorkersCannotWork("the process that they are forked from was killed again and again")
        self._selector.unregister(self._server.channel)
        self._server.stop()
        self._server = ForkServer()
        self._selector.register(self._server.channel, selectors.EVENT_READ, self._read_server)
        self._unforked.clear()
        for worker in self._workers:
            worker.record_exit(-signal.SIGKILL)
            worker.blameless = True

    def _read_worker(self, worker: WorkerHandle) -> None:
        try:
            message = worker.channel.receive()
        except EOFError:
            self._end_pipe(worker)
            return
        match message:
            case messages.Ready():
                worker.idle = True
            case messages.Idle():
                worker.idle = True
            case messages.NeedMemory():
                worker.asked, worker.asked_at = message, time.monotonic()
            case messages.Done():
                for item in message.images:
                    worker.tasks.pop(item.index, None)
                self._deaths_in_vain = 0
                self._ledger.done(message.images)
            case messages.Flushed():
                self._resumable.add(message.index)
                self._ledger.flushed(message)
            case messages.Failed():
                worker.tasks.pop(message.index, None)
                self._deaths_in_vain = 0
                self._ledger.failed(message.index, message.reason)
            case messages.OutputFault():
                if message.full:
                    self._drain_for_space(message.needed)
                else:
                    self._drain_for_fault(message.reason)
            case messages.Broken():
                worker.cause = message.reason

    def _drain_for_space(self, needed: int) -> None:
        totals = self._ledger.totals
        totals.space_needed = max(totals.space_needed or 0, needed)
        if self.notice is None:
            self._handle_notice(InterruptionNotice(source="disk", event_id=None))

    def _drain_for_fault(self, reason: str) -> None:
        self.fault = self.fault or errors.OutputLost(self._plan.out, reason)
        if self.notice is None:
            self._handle_notice(InterruptionNotice(source="disk", event_id=reason))

    # what goes out

    def _spawn_workers(self) -> None:
        """As many workers as there is work for."""
        if self._suspects and not self._queue and not any(worker.tasks for worker in self._workers):
            self._queue.append(self._suspects.popleft())
        wanted = min(self._engine.workers, len(self._queue) + sum(not worker.idle for worker in self._workers))
        while self._queue and len(self._workers) < wanted:
            self._spawn_worker()

    def _spawn_worker(self, slot_bytes: int = slots.EMPTY_SLOT_BYTES) -> WorkerHandle | None:
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
            worker = pool.spawn_worker(self._server, self._numbers, setup, self._held.for_workers, slot_bytes)
        except OSError:
            self._read_server()  # it is gone, or about to be, and has said why or not
            return None
        self._workers.append(worker)
        self._unforked.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, lambda: self._read_worker(worker))
        return worker

    def _hand_out_tasks(self) -> None:
        """Memory to workers that wait for it, work to idle ones; one that is no longer needed has its pipe closed."""
        self._held_back = False
        if self._lifecycle.state is not State.RUNNING:
            return
        self._spawn_workers()
        memory.grant_memory(self._workers, self._engine.memory)
        ready = self._ready()
        for worker in [worker for worker in self._workers if worker.idle]:
            if self._queue and not ready:
                self._held_back = True
            elif self._queue:
                self._send_chunk(worker)
            elif not worker.tasks:
                worker.idle = False
                self._end_pipe(worker)

    def _send_chunk(self, worker: WorkerHandle) -> None:
        tasks: list[Task] = []
        size = 0
        share = max(1, len(self._queue) // (2 * self._engine.workers))  # smaller towards the end: all end together
        while self._queue and size < _CHUNK_BYTES and len(tasks) < min(_CHUNK_IMAGES, share):
            task = self._task(self._queue.popleft())
            tasks.append(task)
            size += task.version.size
        with contextlib.suppress(OSError):  # it died; its tasks come back when it is reaped
            worker.send_tasks(tasks)
        for task in tasks:
            image = self._images[task.index]
            self._emit(
                events.Started(source=image.source, source_bytes=image.size, output=image.output, worker=worker.number)
            )

    def _task(self, index: int) -> Task:
        image = self._images[index]
        return Task(
            index=index,
            source=self._plan.source_path(image),
            output=image.output,
            version=image.version,
            replaces="*" if image.mend else image.checksum or "",
            preview=preview.name_of(image.output) not in self._outputs and preview.has_room(image.output),
            resumable=index in self._resumable,
        )

    def _end_pipe(self, worker: WorkerHandle) -> None:
        """A worker whose pipe closes exits: it has nothing in hand, or is dead already."""
        self._selector.unregister(worker.channel)
        worker.channel.close()
        worker.ended = True

    def _signal(self, worker: WorkerHandle, signum: signal.Signals) -> None:
        if worker.pid is not None and not worker.exited:
            self._server.signal(worker.pid, signum)

    def _abandon_spawns(self) -> None:
        """Before the fork server has booted no worker is forked: there is nothing to wait for."""
        for worker in self._workers:
            self._end_pipe(worker)
            worker.record_exit(0)

    # deaths and deadlines

    def _reap_workers(self) -> None:
        for worker in [worker for worker in self._workers if worker.gone]:
            self._workers.remove(worker)
            self._requeue_tasks(worker)
        if self._ledger.disk_full and self.notice is None:
            self._drain_for_space(0)

    def _requeue_tasks(self, worker: WorkerHandle) -> None:
        """Save its finished tiles, and put back what it had in hand."""
        if worker.status != 0:
            task = self._salvage(worker)
            if self._lifecycle.state is State.RUNNING and not worker.blameless:
                self._handle_worker_death(worker, task)
        self._queue.extendleft(sorted(worker.tasks, reverse=True))
        worker.close()
        self._emit(events.WorkerEnded(worker=worker.number))

    def _salvage(self, worker: WorkerHandle) -> Task | None:
        """The image that it died on, whose finished tiles are saved."""
        slot = slots.Slot(worker.slot_fd)
        task = worker.tasks.get(slot.announced) if slot.announced is not None else None
        image = slot.image() if task else None
        if task and image and image.tiles_done:
            self._save_tiles(task, image)
        return task

    def _handle_worker_death(self, worker: WorkerHandle, task: Task | None) -> None:
        """The image in hand is tried once more, alone, and then fails; without one, something else is wrong."""
        if task is None:
            self._deaths_in_vain += 1
            if self._deaths_in_vain >= _DEATHS_IN_VAIN:
                raise errors.WorkersCannotWork(
                    f"{_DEATHS_IN_VAIN} in a row ended with no image in hand, by {worker.cause_of_death}"
                )
            return
        del worker.tasks[task.index]
        self._deaths[task.index] += 1
        if self._deaths[task.index] < _DEATHS_PER_IMAGE:
            source, cause = shown(self._images[task.index].source), worker.cause_of_death
            self._suspects.append(task.index)
            self._emit(events.Warned(message=f"a worker died on {source} ({cause}); it is tried once more, alone"))
        else:
            reason = f"{_DEATHS_PER_IMAGE} workers died on it, the last one alone ({worker.cause_of_death})"
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

    def _enforce_deadline(self) -> None:
        if self._lifecycle.state is State.DRAINING and time.monotonic() >= (self._deadline or 0.0):
            self._lifecycle.happened(Trigger.DEADLINE)
            for worker in self._workers:
                self._signal(worker, signal.SIGKILL)

    def _enforce_time_limits(self) -> None:
        now = time.monotonic()
        if self._lifecycle.state is not State.RUNNING or now < self._check_at:
            return
        self._check_at = now + timelimit.CHECK_SECONDS
        for worker in self._workers:
            if worker.cause is None and worker.exceeds_time():
                self._signal(worker, signal.SIGKILL)

    def _draw_previews(self) -> None:
        """Killed workers left no partial JPEGs.

        They are for people to look at, so all is durable before, and time is short.
        """
        until = time.monotonic() + _PREVIEW_SECONDS
        for task in self._salvaged:
            header = self._checkpoints.find(task)
            if header is None or time.monotonic() >= until:
                continue
            worker = self._spawn_worker(header.record.slot_bytes)
            if worker is None:
                return
            with contextlib.suppress(OSError, EOFError):
                worker.channel.send(messages.Preview(task=task, slot_bytes=worker.slot_bytes))
                while worker.channel.waiting(until - time.monotonic()):
                    worker.channel.receive()

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
