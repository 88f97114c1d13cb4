"""A job from beginning to end: head, plan and logs in the output place, the work a share at a time.

    list --> shares --> take one: replay its log, supervise, "done" or "free" --> the next

Each share is to the supervisor what a whole plan is without a job. Its log is manifest, lock and fence (see
`manifest.share_log`); what is in flight lies on this machine, and what another machine needs is put into the place.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchgray import errors, events
from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.engine import session
from batchgray.engine.job_totals import JobTotals
from batchgray.engine.ledger import Ledger, Listener
from batchgray.engine.memory import on_the_way_bytes
from batchgray.engine.pool import Inheritance
from batchgray.engine.session import DONE, INTERRUPTED, SOME_FAILED, ExitCode
from batchgray.engine.share import ShareBooks, SharePlan, ShareTasks, plan_of
from batchgray.engine.supervisor import Outcome, Supervisor
from batchgray.errors import shown
from batchgray.manifest import job_head
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.records import Run
from batchgray.manifest.share_log import STALE_SECONDS, LogEntry, ShareLog, ShareLost
from batchgray.notices.inbox import Inbox, InterruptionNotice, NoticeListener
from batchgray.options import EngineOptions, JobOptions
from batchgray.planning import job_inputs
from batchgray.planning.shares import Planner
from batchgray.planning.wanted import choosing
from batchgray.storage import integrity
from batchgray.storage.base import Place, PlaceError
from batchgray.storage.folder import FolderPlace
from batchgray.storage.lease import Lease
from batchgray.storage.locking import this_process
from batchgray.storage.machine_folder import MachineFolder, machine_folder
from batchgray.storage.names import is_url
from batchgray.storage.trial import try_store
from batchgray.storage.urls import StoreOptions, open_place
from batchgray.workers import job_places
from batchgray.workers.forkserver import ForkServer, forking

_LOOK_SECONDS = 0.5  # between two looks at a log that another may be writing


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is given besides its options; as with `runs.run`."""

    stores: StoreOptions
    emit: Listener
    sources: Sequence[NoticeListener]
    server: ForkServer
    ready: Callable[[], bool]


def run_job(options: JobOptions, means: Means) -> ExitCode:
    """Convert what the INPUTs hold as a job, or go on with it, and return how it ended, as the command's exit code.

    Raises BatchgrayError, as `runs.run` does.
    """
    inputs = [job_inputs.full_name(name) for name in options.inputs]
    out_name = job_inputs.full_name(options.out)
    job_inputs.refuse_names(inputs, out_name)
    with contextlib.ExitStack() as stack, _naming_places("a place of the job"):
        inbox = stack.enter_context(session.listening(means.sources))
        wanted = choosing(options.include, options.exclude)
        places = [stack.enter_context(_open(name, means.stores)) for name in inputs]
        with _naming_places(", ".join(inputs)):
            job_inputs.refuse_nothing_found(job_inputs.mirrored(inputs, places), wanted)
        if not is_url(out_name):
            stack.enter_context(session.folders(Path(out_name)))
        out = stack.enter_context(_open(out_name, means.stores))
        with _naming_places(out_name):
            _refuse_unfit(out)
            head = job_head.begin(out, _head_of(options, inputs))
        _refuse_other(options, inputs, head, out)
        job = _Job(stack, head, out, places, options.engine, means, inbox)
        job.say_what_is_not_listed()
        return job.work()


def resume_job(name: str, engine: EngineOptions, means: Means) -> ExitCode:
    """Go on with the job whose head is in the place of this name. All else is as with `run_job`."""
    with contextlib.ExitStack() as stack, _naming_places("a place of the job"):
        inbox = stack.enter_context(session.listening(means.sources))
        out = stack.enter_context(_open(job_inputs.full_name(name), means.stores))
        with _naming_places(name):
            head = job_head.read(out)
            _refuse_unfit(out)
        places = [stack.enter_context(_open(each, means.stores)) for each in head.inputs]
        return _Job(stack, head, out, places, engine, means, inbox).work()


class _Followed(NamedTuple):
    """A share's log, and all that it tells so far."""

    name: str
    log: ShareLog
    entries: list[LogEntry]


class _Job:
    """A job that is opened. What is taken of it is given back, whatever happens but a death."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        head: JobHead,
        out: Place,
        inputs: Sequence[Place],
        engine: EngineOptions,
        means: Means,
        inbox: Inbox,
    ) -> None:
        self._stack, self._head, self._out, self._engine = stack, head, out, engine
        self._means, self._inbox = means, inbox
        self._name = job_head.name_in(out)
        self._owner = this_process(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        self._inputs = job_inputs.mirrored(head.inputs, inputs)
        self._planner = Planner(
            out, head.prefix, self._inputs, head.options.format, choosing(head.include, head.exclude)
        )
        self._began = time.monotonic()
        self._totals = JobTotals(head, self._name, out.name)
        self._server: ForkServer | None = means.server
        self._in_doubt = False
        self._held: dict[int, _Followed] = {}  # shares that a process has, or had when it died

    def say_what_is_not_listed(self) -> None:
        """Of a job that is gone on with. Raises DamagedPlan, PlaceError."""
        if self._planner.is_through():
            message = "the INPUTs were listed when this job was begun; what is new or changed since is not looked for"
            self._send(events.Warned(message=message))

    def work(self) -> ExitCode:
        """Raises BatchgrayError, PlaceError."""
        waiting = self._survey()
        with _losing_places():
            return self._work_off(waiting)

    def _work_off(self, waiting: list[int]) -> ExitCode:
        machine = self._stack.enter_context(machine_folder())
        if isinstance(self._out, FolderPlace):
            self._out.sweep()
        planned = self._totals.planned(self._engine.workers, [source.name for source in self._means.sources])
        session.preload(self._means.server, planned, self._head.options)
        self._send(planned)
        outcome = Outcome(self._inbox.notice)
        for number in waiting:
            if outcome.notice is None:
                outcome = self._work_on(number, machine)
        if outcome.notice is None:
            self._remove_checkpoints(machine)
        return self._end(outcome)

    def _send(self, event: events.Event) -> None:
        self._means.emit(session.at(self._began, event))

    def _survey(self) -> list[int]:
        """List what there is, and count what is done of it. Returns the numbers of the shares with work.

        Raises ManifestLocked where another works on the job.
        """
        pause = session.pause(self._inbox)
        waiting: list[int] = []
        for share in self._planner.shares():
            pause()
            followed = self._follow(share.number)
            self._totals.add(
                plan_of(self._head, share, followed.entries, followed.name), resumed=bool(followed.entries)
            )
            if followed.log.state != "done":
                waiting.append(share.number)
            if followed.log.state in ("open", "renew"):
                self._held[share.number] = followed
        self._totals.ignored.update(self._planner.ignored_at_the_end())
        for followed in self._held.values():
            self._wait_for(followed, pause)
        return waiting

    def _follow(self, number: int) -> "_Followed":
        name = self._head.log(number)
        log = ShareLog(self._out, name, self._owner)
        return _Followed(name, log, log.catch_up())

    def _wait_for(self, followed: "_Followed", pause: Callable[[], None]) -> None:
        """Until a share's owner gives a sign of life, or is taken for dead. Raises ManifestLocked."""
        log = followed.log
        message = f"{log.owner} did not end its work here; waiting up to {STALE_SECONDS:.0f} s for a sign of life"
        self._send(events.Warned(message=message))
        while not log.can_be_taken():
            pause()
            time.sleep(_LOOK_SECONDS)
            followed.entries.extend(new := log.catch_up())
            if any(entry.kind in ("open", "renew") for entry in new):
                raise errors.ManifestLocked(self._name, log.owner)

    def _work_on(self, number: int, machine: MachineFolder) -> Outcome:
        """Take a share, and work it off. Raises ManifestLocked, ShareLost."""
        share, followed = self._planner.share(number), self._held.pop(number, None) or self._follow(number)
        log = followed.log
        if not log.take():
            raise errors.ManifestLocked(self._name, log.owner)
        plan = plan_of(self._head, share, followed.entries, followed.name)
        with self._giving_back(log):
            return self._supervise(plan, log, machine)

    @contextlib.contextmanager
    def _giving_back(self, log: ShareLog) -> Iterator[None]:
        """Where the work fails, no worker is left, and what was done is kept: others need not wait for our lease."""
        try:
            yield
        except BaseException:
            if log.is_ours:
                with contextlib.suppress(PlaceError, ShareLost):
                    log.sync("free")
            raise

    def _supervise(self, plan: SharePlan, log: ShareLog, machine: MachineFolder) -> Outcome:
        checkpoints = PlaceCheckpoints(self._out, self._head.begun, machine.folder, self._head.options)
        begun = checkpoints.names()
        resumable = {index for index in plan.todo if integrity.short_name(plan.manifest.images[index].output) in begun}
        plan.flight = machine.folder.path
        plan.manifest.runs.append(Run(at=datetime.now(UTC), workers=self._engine.workers, found=None))
        self._totals.begin(plan)
        books = ShareBooks(self._name, log, Lease(machine.folder.path, make=True))
        ledger = Ledger(plan, _nothing, books, self._engine.checkpoint, self._tell, self._began)
        supervisor = Supervisor(
            ShareTasks(plan, resumable),
            self._inheritance(plan, machine),
            checkpoints,
            self._engine,
            ledger,
            self._next_server(),
            self._inbox,
            lambda: self._may_begin_more(log),
        )
        try:
            outcome = supervisor.run()
        finally:
            ledger.close()
        self._totals.end(plan, ledger)
        return outcome

    def _may_begin_more(self, log: ShareLog) -> bool:
        if log.in_doubt != self._in_doubt:
            self._in_doubt = log.in_doubt
            name = shown(self._out.name)
            lost = f"{name} does not answer; nothing is begun or put until it does"
            self._send(events.Warned(message=lost if self._in_doubt else f"{name} answers again"))
        return self._means.ready() and not self._in_doubt

    def _tell(self, event: events.Event) -> None:
        self._send(self._totals.of_the_job(event))

    def _next_server(self) -> ForkServer:
        """Each share has its own: workers end with the share."""
        server, self._server = self._server, None
        return server or self._stack.enter_context(forking())

    def _inheritance(self, plan: SharePlan, machine: MachineFolder) -> Inheritance:
        scratch = machine.folder
        return Inheritance(
            out=scratch.path,
            flight=scratch.path,
            descriptors=(scratch.fileno(), scratch.fileno(), machine.lock),
            pixels=self._head.options,
            max_pixels=self._head.max_pixels,
            checkpoint=self._engine.checkpoint,
            cores=self._engine.workers,
            on_the_way_bytes=on_the_way_bytes(self._engine.memory, self._engine.workers),
            job=job_places.packed(
                self._head.inputs[plan.share.input], self._out.name, self._head.begun, self._means.stores
            ),
        )

    def _remove_checkpoints(self, machine: MachineFolder) -> None:
        """Of images that failed after they were begun, and what machines left that died just after an output's put."""
        checkpoints = PlaceCheckpoints(self._out, self._head.begun, machine.folder, self._head.options)
        for output in checkpoints.left():
            checkpoints.discard(output)

    def _end(self, outcome: Outcome) -> ExitCode:
        if outcome.notice is not None:
            self._acknowledge(outcome.notice)
        last = session.at(self._began, self._totals.summary(time.monotonic() - self._began, outcome.space_needed))
        self._means.emit(last)
        if outcome.fault is not None:
            raise errors.PlaceLost(outcome.fault)
        return INTERRUPTED if last.resume is not None else SOME_FAILED if last.failed else DONE

    def _acknowledge(self, notice: InterruptionNotice) -> None:
        """The log says "free" by now, or no share was taken."""
        for failure in session.acknowledge(notice, self._means.sources, True):
            message = f"the notice could not be acknowledged ({failure}); it may come again"
            self._send(events.Warned(message=message))


def _nothing() -> None:
    """A share has nothing in flight that is its own alone."""


@contextlib.contextmanager
def _naming_places(name: str) -> Iterator[None]:
    """Raises PlaceUnusable instead of PlaceError."""
    try:
        yield
    except PlaceError as error:
        raise errors.PlaceUnusable(name, error) from error


@contextlib.contextmanager
def _losing_places() -> Iterator[None]:
    """Raises PlaceLost instead of PlaceError: work has begun."""
    try:
        yield
    except PlaceError as error:
        raise errors.PlaceLost(f"{error.key}: {error.reason}" if error.key else error.reason) from error


@contextlib.contextmanager
def _open(name: str, stores: StoreOptions) -> Iterator[Place]:
    """Raises PlaceUnusable, and what `open_url` raises."""
    try:
        place = open_place(name, stores)
    except PlaceError as error:
        raise errors.PlaceUnusable(name, error.reason) from None
    with contextlib.closing(place):
        yield place


def _refuse_unfit(out: Place) -> None:
    """A store is tried: one that does not keep put-if-absent can't keep a job. Raises UnfitPlace."""
    if isinstance(out, FolderPlace):
        return
    for finding in try_store(out):
        if finding.verdict == "wrong":
            raise errors.UnfitPlace(out.name, f"{finding.what}: {finding.detail}; {finding.remedy}".rstrip("; "))


def _head_of(options: JobOptions, inputs: list[str]) -> JobHead:
    return JobHead(
        job=os.urandom(4).hex(),
        options=options.pixels,
        max_pixels=options.max_pixels,
        inputs=inputs,
        include=list(options.include),
        exclude=list(options.exclude),
    )


def _refuse_other(options: JobOptions, inputs: list[str], head: JobHead, out: Place) -> None:
    """Raises JobDiffers where the job that is there is another one."""
    there, asked = msgspec.to_builtins(head), msgspec.to_builtins(_head_of(options, inputs))
    pixels = {
        f"--{name.replace('_', '-')} {value}"
        for name, value in there["options"].items()
        if value != asked["options"][name]
    }
    others = {
        f"{name} {there[name]}" for name in ("max_pixels", "inputs", "include", "exclude") if there[name] != asked[name]
    }
    if pixels or others:
        raise errors.JobDiffers(job_head.name_in(out), ", ".join(sorted(pixels | others)))
