"""The supervisor: one loop that waits on worker pipes, the fork server and the inbox of notices.

    backlog --> hand out --> workers --> Done, Failed, Flushed --> reporter (journal, events)
                                |
    notices --> inbox --> drain: SIGTERM, flush (deadline: SIGKILL, salvage) --> commit --> acknowledge

It is given tasks and a reporter, and knows no plan and no manifest. It imports neither numba, nor numpy, nor a codec:
it starts at once, and no image can crash it.
"""

import contextlib
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from batchgray import errors
from batchgray.checkpoints.base import Checkpoints
from batchgray.engine import lifecycle, salvage
from batchgray.engine.backlog import CHUNK_BYTES, DEATHS_IN_VAIN, DEATHS_PER_IMAGE, Backlog, Tasks
from batchgray.engine.drain import Drain
from batchgray.engine.lifecycle import State, Trigger
from batchgray.engine.pool import Inheritance, Pool
from batchgray.engine.reporter import Reporter
from batchgray.engine.worker_handle import WorkerHandle
from batchgray.errors import shown
from batchgray.notices.inbox import Complaint, Inbox, InterruptionNotice
from batchgray.options import EngineOptions
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage.base import Busy, PlaceError, Unreachable
from batchgray.workers import messages
from batchgray.workers.forkserver import ForkServer

READY_SECONDS = 0.05  # between two questions to a listener that is not ready


@dataclass(frozen=True)
class Outcome:
    """How the work ended. `notice` is the one that interrupted it, if one did.

    `fault` says why no output can be written any more, `space_needed` how many bytes an output found no space for.
    """

    notice: InterruptionNotice | None
    fault: str | None = None
    space_needed: int | None = None


class Supervisor:
    """Works tasks off, once or again and again. Its workers may live on from one time to the next."""

    def __init__(
        self,
        inheritance: Inheritance,
        checkpoints: Checkpoints,
        engine: EngineOptions,
        server: ForkServer,
        inbox: Inbox,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._inbox, self._clock = engine, inbox, clock
        self._checkpoints = checkpoints
        self._selector = selectors.DefaultSelector()
        self._selector.register(inbox, selectors.EVENT_READ, self._read_inbox)
        self._pool = Pool(server, inheritance, self._selector, self._handle_message, clock)
        self._memory = engine.memory - engine.workers * inheritance.on_the_way_bytes

    def run(self, tasks: Tasks, reporter: Reporter, ready: Callable[[], bool], stay: bool = False) -> Outcome:
        """Returns when the reporter has committed the end, and no worker has anything in hand.

        `ready` is asked before tasks are handed out: while it is false none are, and all else goes on. With `stay` the
        workers wait for what comes next, but for those that a notice ended; else none is left.

        Raises BatchgrayError where the work can't go on; what was done is reported all the same.
        """
        self._begin(tasks, reporter, ready, stay)
        self._hand_out_tasks()  # workers that stayed are idle, and say nothing that would end the wait
        while self._is_working():
            self._dispatch_messages()
            self._reap_workers()
            self._enforce_deadline()
            self._enforce_time_limits()
            self._hand_out_tasks()
        return self._finish()

    @property
    def notice(self) -> InterruptionNotice | None:
        """The one that interrupted the work, if one did."""
        return self._drain.notice

    def close(self) -> None:
        """Ends the fork server, and with it every worker that is left."""
        self._pool.close()
        self._selector.close()

    def inherit(self, inheritance: Inheritance) -> None:
        """What workers are given from now on. To be called while none has anything in hand."""
        self._pool.inherit(inheritance)

    def abandon(self) -> None:
        """Kill all workers, whatever they have in hand: it is not ours any more. Returns when they are gone."""
        self._selector.unregister(self._inbox)
        self._pool.abandon_workers()
        while self._pool.workers:
            self._dispatch_abandoned()
        self._selector.register(self._inbox, selectors.EVENT_READ, self._read_inbox)

    def _dispatch_abandoned(self) -> None:
        for key, _ in self._selector.select():
            key.data()
        for worker in self._pool.gone_workers:
            self._pool.remove_worker(worker)

    def _begin(self, tasks: Tasks, reporter: Reporter, ready: Callable[[], bool], stay: bool) -> None:
        self._tasks, self._reporter, self._ready, self._stay = tasks, reporter, ready, stay
        self._lifecycle = lifecycle.Lifecycle()
        self._backlog = Backlog(tasks)
        self._drain = Drain(self._engine.grace, self._clock)
        self._salvage = salvage.Salvage(self._checkpoints)
        self._held_back = self._place_is_away = False
        self._fault: str | None = None
        self._space_needed: int | None = None
        self._lifecycle.happened(Trigger.PLANNED)

    def _is_working(self) -> bool:
        workers = self._pool.workers
        if not self._stay or self._drain.begun:
            return bool(workers)
        return self._backlog.has_work or any(worker.tasks for worker in workers)

    def _dispatch_messages(self) -> None:
        """Wait until something comes, or is due, and have each reader read one message."""
        for key, _ in self._selector.select(self._seconds_to_wait()):
            key.data()

    def _seconds_to_wait(self) -> float:
        until = self._reporter.sync()
        if self._lifecycle.state is State.DRAINING and self._drain.deadline is not None:
            until = min(until, self._drain.deadline)
        if self._held_back:
            until = min(until, self._clock() + READY_SECONDS)
        return max(0.0, until - self._clock())

    def _finish(self) -> Outcome:
        killed = self._lifecycle.state is State.KILLING
        self._lifecycle.happened(Trigger.DRAINED)
        self._reporter.commit(self._drain.notice)
        self._lifecycle.happened(Trigger.COMMITTED)
        if killed and not self._drain.second_signal:
            with contextlib.suppress(errors.WorkersCannotWork):  # all is durable, and a notice to be acknowledged
                self._salvage.draw_previews(self._pool, self._clock)
        if self._drain.begun:
            self._reporter.drained(self._drain.in_hand, self._drain.seconds)
        return Outcome(self._drain.notice, self._fault, self._space_needed)

    # notices

    def _read_inbox(self) -> None:
        for item in self._inbox.take():
            if isinstance(item, Complaint):
                self._reporter.warned(item.message)
            else:
                self._handle_notice(item)

    def _handle_notice(self, notice: InterruptionNotice) -> None:
        self._lifecycle.happened(Trigger.NOTICE)
        in_hand = self._pool.in_hand
        heard = self._drain.hear(notice, notice.seconds_left(datetime.now(UTC)), in_hand)
        if heard.first:
            self._pool.terminate_workers()
        if heard.first or heard.second_signal:
            self._reporter.noticed(notice, heard.seconds, len(in_hand), heard.second_signal)

    def _drain_for_space(self, needed: int) -> None:
        self._space_needed = max(self._space_needed or 0, needed)
        if not self._drain.begun:
            self._handle_notice(InterruptionNotice(source="disk", event_id=None))

    def _drain_for_fault(self, reason: str) -> None:
        self._fault = self._fault or reason
        if not self._drain.begun:
            self._handle_notice(InterruptionNotice(source="disk", event_id=reason))

    def _enforce_deadline(self) -> None:
        if self._lifecycle.state is State.DRAINING and self._drain.overdue:
            self._lifecycle.happened(Trigger.DEADLINE)
            self._pool.kill_workers()

    # what workers say

    def _handle_message(self, worker: WorkerHandle, message: messages.FromWorker) -> None:
        match message:
            case messages.Ready():
                worker.idle = True
            case messages.Idle():
                worker.idle = message.chunks == worker.chunks  # else the next one is on its way
            case messages.WantsMore():
                worker.wants_more = message.size
            case messages.NeedMemory():
                worker.asked, worker.asked_at = message, self._clock()
            case messages.Done():
                for item in message.images:
                    worker.tasks.pop(item.index, None)
                self._backlog.forget_deaths_in_vain()
                self._reporter.done(message.images)
            case messages.Flushed():
                self._backlog.mark_begun(message.index)
                self._reporter.flushed(message)
            case messages.Failed():
                worker.tasks.pop(message.index, None)
                self._backlog.forget_deaths_in_vain()
                self._reporter.failed(message.index, message.reason)
            case messages.OutputFault():
                if message.full:
                    self._drain_for_space(message.needed)
                else:
                    self._drain_for_fault(message.reason)
            case messages.Broken():
                worker.cause = message.reason

    # what they are given

    def _spawn_workers(self) -> None:
        """As many as there is work for."""
        workers = self._pool.workers
        if not any(worker.tasks for worker in workers):
            self._backlog.release_suspect()
        wanted = min(self._engine.workers, len(self._backlog) + sum(not worker.idle for worker in workers))
        while self._backlog and len(workers) < wanted:
            self._pool.spawn_worker()

    def _hand_out_tasks(self) -> None:
        """Memory to workers that wait for it, work to idle ones; one that is no longer needed has its pipe closed."""
        self._held_back = False
        if self._lifecycle.state is not State.RUNNING:
            return
        self._tasks.share_out(self._backlog)
        self._spawn_workers()
        self._pool.grant_memory(self._memory)
        ready = self._ready()
        for worker in [worker for worker in self._pool.workers if worker.idle or worker.wants_more]:
            if self._backlog and not ready:
                self._held_back = True
            elif (worker.idle and self._backlog) or self._backlog.can_spare(self._engine.workers):
                self._send_chunk(worker)
            elif worker.idle and not worker.tasks and not self._stay:
                worker.idle = False
                self._pool.end_pipe(worker)
        self._pool.lend_cores(self._engine.workers)

    def _send_chunk(self, worker: WorkerHandle) -> None:
        tasks = self._backlog.take_chunk(self._engine.workers, worker.wants_more or CHUNK_BYTES)
        with contextlib.suppress(OSError):  # it died; its tasks come back when it is reaped
            worker.send_tasks(tasks)
        for task in tasks:
            self._reporter.started(task, worker.number)

    def _enforce_time_limits(self) -> None:
        if self._lifecycle.state is State.RUNNING:
            self._pool.enforce_time_limits()

    # deaths

    def _reap_workers(self) -> None:
        for worker in self._pool.gone_workers:
            if worker.status != 0:
                self._handle_worker_death(worker)
            self._backlog.put_back(worker.tasks)
            self._pool.remove_worker(worker)
            self._reporter.worker_ended(worker.number)
        if self._reporter.disk_full and not self._drain.begun:
            self._drain_for_space(0)

    def _handle_worker_death(self, worker: WorkerHandle) -> None:
        """Its finished tiles are saved. An image that it died on is suspect; without one, something else is wrong."""
        task, image, in_bands = salvage.in_hand(worker)
        if task and image and not self._place_is_away:
            self._save_tiles(task, image)
        elif task and in_bands:
            self._salvage.expect_bands(task)
        if self._lifecycle.state is not State.RUNNING or worker.blameless:
            return
        if task is not None:
            del worker.tasks[task.index]
            self._blame(task.index, worker.cause_of_death)
        elif not self._backlog.count_death_in_vain():
            raise errors.WorkersCannotWork(
                f"{DEATHS_IN_VAIN} in a row ended with no image in hand, by {worker.cause_of_death}"
            )

    def _save_tiles(self, task: Task, image: slots.SlotImage) -> None:
        try:
            message = self._salvage.save_tiles(task, image)
        except PlaceError as error:
            self._place_is_away = isinstance(error, Busy | Unreachable)  # each try may take a minute, or more
            self._reporter.warned(
                f"can't save the finished tiles of {shown(task.output)}: {error.reason}; they are made anew"
            )
            return
        self._backlog.mark_begun(task.index)
        self._reporter.flushed(message)

    def _blame(self, index: int, cause: str) -> None:
        """An image that a worker died on is tried once more, alone, and then fails."""
        if self._backlog.blame(index):
            self._reporter.suspected(index, cause)
        else:
            self._reporter.failed(index, f"{DEATHS_PER_IMAGE} workers died on it, the last one alone ({cause})")
