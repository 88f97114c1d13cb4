"""Machines on one job without processes: the real logs, boards, splits and finishing over a place in memory.

Every request of a machine is a step of its own. A schedule says whose turn it is, how much time passes, and what
becomes of the request: it may be answered, done and not answered, not done at all, done twice, or its machine may die
of it. A machine that has no turn for longer than the lease is one that was suspended. Each has a clock of its own.

What must hold is looked at with every request (`World`); who breaks it raises `Broken`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import made_jobs

from batchgray.engine import finishing
from batchgray.engine.backlog import Backlog
from batchgray.engine.board import Board, Taken
from batchgray.engine.share import ShareBooks, SharePlan, ShareTasks, plan_of
from batchgray.manifest import job_head, job_round, share_log
from batchgray.manifest.layers import Layers
from batchgray.manifest.records import ImageChange
from batchgray.manifest.share_log import LogEntry, ShareLog, ShareLost
from batchgray.planning.shares import Input, Planner
from batchgray.records import Task
from batchgray.storage.base import Missing, PlaceError, Put, Unreachable
from batchgray.storage.lease import LeasedPlace
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.noting import NotingPlace

FATES = ("done", "delayed", "unanswered", "undone", "twice", "dies after", "dies before")


class Broken(AssertionError):
    """A promise of the protocol was broken."""


class Gone(BaseException):
    """The machine is dead: nothing of it runs on."""


class Turn(NamedTuple):
    """The machine of this number goes on (of those that live), so many seconds later, with this fate."""

    machine: int
    seconds: float
    fate: str


class Request(NamedTuple):
    call: Callable[[], Any]
    kind: str
    key: str


class World:
    """The place as it is, the time, and what must hold. `told` has who told of each image that it is done."""

    def __init__(self, images: int, share_images: int) -> None:
        job = made_jobs.MadeJob(images, share_images)
        self.now, self.head, self.round = 0.0, job.head, job.round
        self.place = MemoryPlace("memory://gray")
        for entry in job.place.list():
            self.place.put(entry.key, job.place.get(entry.key))
        self.images = images
        self.logs: dict[str, list[LogEntry]] = {}
        self.told: dict[tuple[int, int], str] = {}
        self.splits = self.takeovers = 0
        self.outputs = {image.output for share in job.shares for image in share.images}
        self._output_of = {
            (share.number, index): image.output for share in job.shares for index, image in enumerate(share.images)
        }
        self.late: dict[str, set[str]] = {}  # entries that were put after the mark, by whom

    @property
    def is_over(self) -> bool:
        return self.round.is_finished(self.place)

    def do(self, request: Request, owner: str) -> Any:
        """What a request does, and whether it may."""
        of_log = request.key.startswith(f"{self.round.logs}/")
        if request.kind == "delete" and request.key in self.outputs:
            raise Broken(f"{owner} deletes {request.key}")
        if request.kind == "delete" and of_log and not self.is_over:
            raise Broken(f"{owner} deletes {request.key} of a round that goes on")
        if request.kind == "put_absent" and request.key == self.round.finished:
            self._all_accounted_for()
        result = request.call()
        if request.kind == "put_absent" and of_log and result is Put.CREATED:
            self._entry(request.key)
        return result

    def may_change(self, share: str, epoch: int, owner: str) -> None:
        """Somebody begins to put or delete something of a share that it took in this epoch."""
        if any(f"/log/{share}/" in key for key in self.late.get(owner, ())):
            raise Broken(f"{owner} changes something of {share}, and has put an entry after the end")
        if self.logs[share][-1].epoch != epoch:
            raise Broken(f"{owner} changes something of {share}, which another has taken")

    def _entry(self, key: str) -> None:
        _, share, number = key.rsplit("/", 2)
        entry = share_log.read_entry(self.place, self.round.log(share), int(number))
        if self.is_over:
            self.late.setdefault(entry.owner, set()).add(key)
            return
        log = self.logs.setdefault(share, [])
        if int(number) != len(log) + 1:
            raise Broken(f"{key}: a gap after {len(log)}")
        self._sound_epoch(key, log[-1] if log else None, entry)
        log.append(entry)
        self.splits += bool(entry.split)
        for change in entry.changes:
            self._told(share, change, entry.owner)

    def _sound_epoch(self, key: str, last: LogEntry | None, entry: LogEntry) -> None:
        if last is not None and last.kind == "done":
            raise Broken(f"{key}: it was closed")
        if entry.kind == "open":
            if entry.epoch != (last.epoch if last else 0) + 1:
                raise Broken(f"{key}: epoch {entry.epoch}")
            self.takeovers += last is not None and last.kind != "free"
        elif last is None or last.kind == "free" or (entry.epoch, entry.owner) != (last.epoch, last.owner):
            raise Broken(f"{key}: {entry.owner} in the epoch of {last and last.owner}")

    def _told(self, share: str, change: ImageChange, owner: str) -> None:
        image = job_round.number_of(share), change.image
        if image in self.told:
            raise Broken(f"{owner} tells of {image}, as {self.told[image]} did")
        self.told[image] = owner
        with contextlib.suppress(Missing):
            self.place.stat(self._output_of[image])
            return
        raise Broken(f"{owner} tells of {image}, and there is no output")

    def _all_accounted_for(self) -> None:
        if len(self.told) != self.images and not self.is_over:
            raise Broken(f"finished, and only {len(self.told)} of {self.images} are told of")

    def whole(self) -> None:
        """What must hold when all machines have ended."""
        if not self.is_over:
            raise Broken("it is not over")
        layers = Layers(self.place, self.head.prefix)
        results = list(layers.read())
        if {each.output for each in results if each.state == "done"} != self.outputs or len(results) != self.images:
            raise Broken(f"results of {len(results)} images, not of {self.images}")
        results_key = f"{self.head.prefix}/results/"
        expected = {*self.outputs, job_head.HEAD_KEY, self.round.finished}
        keys = {entry.key for entry in self.place.list() if not entry.key.startswith(results_key)}
        if keys != expected:
            raise Broken(f"left: {sorted(keys - expected)}, lost: {sorted(expected - keys)}")


class SteppedPlace:
    """The world's place as one machine has it (see `base.Place`): each request waits for its turn.

    `check` is called before something is changed.
    """

    def __init__(self, machine: "Machine", check: Callable[[], None] = lambda: None) -> None:
        self.name = machine.world.place.name
        self._machine, self._place, self._check = machine, machine.world.place, check

    def _ask(self, kind: str, *given: Any) -> Any:
        call = getattr(self._place, kind)
        return self._machine.request(Request(lambda: call(*given), kind, given[0]))

    def list(self, prefix: str = "", after: str = "") -> Iterator:
        return iter(list(self._ask("list", prefix, after)))

    def stat(self, key: str):
        return self._ask("stat", key)

    def get(self, key: str, version=None, start: int = 0, end: int | None = None) -> bytes:
        return self._ask("get", key, version, start, end)

    def put(self, key: str, content) -> None:
        self._check()
        self._ask("put", key, content)

    def put_absent(self, key: str, content) -> Put:
        return self._ask("put_absent", key, content)

    def delete(self, key: str) -> None:
        self._check()
        self._ask("delete", key)

    def close(self) -> None:
        """There is nothing to let go of."""


class _Checkpoints:
    """As much of `PlaceCheckpoints` as finishing asks for; a checkpoint is an object with its output's name."""

    def __init__(self, place: SteppedPlace, prefix: str) -> None:
        self._place, self._prefix = place, prefix

    def key(self, output: str) -> str:
        return f"{self._prefix}/{output}"

    def left(self) -> Iterator[str]:
        for entry in self._place.list(f"{self._prefix}/"):
            yield entry.key.removeprefix(f"{self._prefix}/")

    def discard(self, output: str) -> None:
        self._place.delete(self.key(output))


class _Lease:
    """What workers look at. Waiting for it, this machine's supervisor renews: here they are one."""

    def __init__(self, clock: Callable[[], float], renew: Callable[[], None]) -> None:
        self._clock, self._renew, self._until = clock, renew, 0.0

    def extend(self, until: float) -> None:
        self._until = until

    def wait(self) -> None:
        while self._clock() >= self._until:
            self._renew()


class Machine(threading.Thread):
    """Does what a supervisor and its worker do, a request at a time. `failure` is what ended it but a death."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(name=f"machine {number}", daemon=True)
        self.world, self.failure = world, None
        self.is_dead = False
        self._ahead = 1000.0 * number  # no two clocks tell the same
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._request: Request | None = None
        self._answer: Callable[[], Any] | None = None
        self._delayed: Callable[[], Any] | None = None
        self._place = NotingPlace(SteppedPlace(self), world.round.prefix)
        self._checkpoints = _Checkpoints(self._place, world.head.begun)
        self._idle_mark = ""
        self._is_new = True
        self.start()
        self._back.acquire()

    def clock(self) -> float:
        return self.world.now + self._ahead

    @property
    def is_over(self) -> bool:
        return self._request is None

    # the schedule's side

    def step(self, fate: str) -> None:
        """Let its request have this fate, and let it go on to the next one. Raises what it failed with."""
        request, call = self._request, self._call
        if self._delayed is not None:  # it was done, and is answered now
            answer, self._delayed = self._delayed, None
        elif fate in ("dies after", "dies before"):
            if fate == "dies after":
                call(request)
            self.is_dead, answer = True, _raising(Gone())
        elif fate == "delayed":
            self._delayed = call(request)
            return
        elif fate in ("unanswered", "undone"):
            if fate == "unanswered":
                call(request)
            answer = _raising(Unreachable(request.key, "no answer"))
        else:
            answer = call(request)
            if fate == "twice":
                answer = call(request)
        self._go_on(answer)

    def end(self) -> None:
        """It dies, whatever it is at."""
        self.is_dead = True
        while not self.is_over:
            self._go_on(_raising(Gone()))

    def _call(self, request: Request) -> Callable[[], Any]:
        try:
            result = self.world.do(request, self.name)
        except PlaceError as error:
            return _raising(error)
        return lambda: result

    def _go_on(self, answer: Callable[[], Any]) -> None:
        self._request, self._answer = None, answer
        self._go.release()
        self._back.acquire()
        if self.failure is not None:
            raise self.failure

    # the machine's side

    def request(self, request: Request) -> Any:
        if self.is_dead:
            raise Gone
        self._request = request
        self._back.release()
        self._go.acquire()
        return self._answer()

    def run(self) -> None:
        try:
            self._work()
        except Gone:
            pass
        except BaseException as error:  # it is raised in the test's thread
            self.failure = error
        self._request = None
        self._back.release()

    def _pass(self) -> None:
        """A turn in which nothing is asked for."""
        self.request(Request(lambda: None, "nothing", ""))

    def _work(self) -> None:
        world = self.world
        self._reader = Planner(
            self._place, world.round.prefix, [Input(MemoryPlace(), "")], "jpeg", lambda _: None, world.images
        )
        self._board = Board(self._place, world.round, self.name, self.clock, alone=False)
        self._keeper = self._board.plan_log()
        self._keeper_looked = float("-inf")
        while True:
            with contextlib.suppress(Unreachable):
                try:
                    if self._turn():
                        return
                except Missing:
                    if not self._persist(lambda: world.round.is_finished(self._place)):
                        raise
                    self._end_with_others()
                    return

    def _turn(self) -> bool:
        """Whether the round is over."""
        board = self._board
        put_before = len(self._place.noted)
        board.look()
        if board.over:
            self._end_with_others()
            return True
        self._place.forget(put_before)
        self._is_new = False
        self._keep()
        taken = board.take()
        if taken is not None:
            self._take_idle_mark_off()
            self._work_on(taken)
        elif board.all_done and self._plan_is_ours():
            return self._finish()
        elif not board.may_take:
            self._set_idle_mark()
            self._pass()
        return False

    def _end_with_others(self) -> None:
        self._take_idle_mark_off()
        round = self.world.round
        if self._is_new:  # as whoever begins anew does with the round before
            self._persist(lambda: finishing.tidy_up_later(self._place, round))
            self._persist(lambda: finishing.remove_checkpoints(self._checkpoints, self._pass))
        else:
            self._persist(lambda: finishing.remove_late(self._place, round, self._place.noted))

    # as the plan's keeper does

    def _plan_is_ours(self) -> bool:
        return self._keeper.is_ours and not self._keeper.in_doubt

    def _keep(self) -> None:
        try:
            if self._keeper.is_ours:
                if self._keeper.unsynced:
                    self._keeper.sync()
            elif self.clock() - self._keeper_looked >= share_log.RENEW_SECONDS / 2:
                self._keeper_looked = self.clock()
                self._keeper.catch_up()
                self._keeper.take()
        except ShareLost:
            pass

    def _finish(self) -> bool:
        board, world = self._board, self.world
        parts = finishing.parts_left(board, world.head, self._reader, self._keep)
        for part in parts:
            board.add(part)
        finisher = finishing.Finisher(self._place, world.head, world.round, board, self._reader, self._checkpoints)
        return not parts and finisher.finish(self._plan_is_ours, self._keep)

    # as the supervisor does

    def _work_on(self, taken: Taken) -> None:
        share = self._reader.share(job_round.number_of(taken.name))
        above = [self._board.log_of(name).catch_up() for name in job_round.lineage_of(taken.name)[:-1]]
        plan = plan_of(self.world.head, share, taken.name, [*above, taken.entries])
        try:
            self._convert_all(plan, taken.log)
        except ShareLost:
            self._give_up(plan)
            return
        self._board.set_done(plan.name, plan.tally)
        for number in range(1, plan.splits + 1):
            self._board.add(f"{plan.name}-{number}")

    def _convert_all(self, plan: SharePlan, log: ShareLog) -> None:
        lease = _Lease(self.clock, lambda: self._persist(books.sync))
        books = ShareBooks("job", plan, self._place, self.world.round, log, lease, True, self.clock)
        self._tasks = ShareTasks(plan, (), books)
        guarded = SteppedPlace(self, lambda: self.world.may_change(plan.name, log.epoch, self.name))
        backlog, leased = Backlog(self._tasks), LeasedPlace(guarded, lease)
        while backlog.has_work:
            self._tasks.share_out(backlog)
            for task in backlog.take_chunk(1, chunk_bytes=1):
                self._convert(task, leased)
                change = made_jobs.changed(task.index)
                change.apply(plan.manifest.images)
                books.record([change])
            if log.unsynced:
                self._persist(books.sync)
            self._keep_quietly()
        plan.manifest.state = "complete"
        self._persist(lambda: books.commit(plan.manifest))

    def _convert(self, task: Task, place: LeasedPlace) -> None:
        checkpoint = self._checkpoints.key(task.output)
        self._persist(lambda: place.put(checkpoint, b"begun"))
        self._persist(lambda: place.put(task.output, task.source.encode()))
        self._persist(lambda: place.delete(checkpoint))

    def _persist(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except Unreachable:
                self._pass()

    def _keep_quietly(self) -> None:
        with contextlib.suppress(Unreachable):
            self._keep()

    def _give_up(self, plan: SharePlan) -> None:
        """As `ShareWork` does."""
        outputs = {index: plan.share.images[index].output for index in self._tasks.handed_out}
        for index, output in outputs.items():
            if plan.manifest.images[index].state != "done":
                self._persist(lambda output=output: self._withdraw(output))
        if self._persist(lambda: self.world.round.is_finished(self._place)):
            for output in outputs.values():
                self._persist(lambda output=output: self._checkpoints.discard(output))

    def _withdraw(self, output: str) -> None:
        with contextlib.suppress(Missing):
            self._place.stat(output)
            self._checkpoints.discard(output)

    # as an idle machine does

    def _set_idle_mark(self) -> None:
        self._take_idle_mark_off()
        held = [share.name for share in self._board.held]
        if held:
            self._idle_mark = f"{self.world.round.idle(held[0])}/{self.name}"
            with contextlib.suppress(PlaceError):
                self._place.put(self._idle_mark, b"")

    def _take_idle_mark_off(self) -> None:
        if self._idle_mark:
            mark, self._idle_mark = self._idle_mark, ""
            self._persist(lambda: self._place.delete(mark))


def _raising(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer
