"""A job from beginning to end: places and head, then round after round (see `round_work`), and what it came to."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from batchgray import errors, events
from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.engine import finishing, session
from batchgray.engine.crew import Crew
from batchgray.engine.job_opening import (
    head_of,
    input_opener,
    named_inputs,
    naming_places,
    opened,
    refuse_inputs,
    refuse_other,
    refuse_unfit,
)
from batchgray.engine.ledger import Listener
from batchgray.engine.memory import on_the_way_bytes
from batchgray.engine.pool import Inheritance
from batchgray.engine.round_work import RoundWork
from batchgray.engine.session import DONE, INTERRUPTED, SOME_FAILED, ExitCode
from batchgray.engine.share_work import Machine
from batchgray.engine.supervisor import Outcome, Supervisor
from batchgray.errors import shown
from batchgray.manifest import job_head, job_round, mending, share_log
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round
from batchgray.manifest.layers import Layers
from batchgray.notices.inbox import Inbox, InterruptionNotice, NoticeListener
from batchgray.options import EngineOptions, FleetOptions, JobOptions
from batchgray.planning import job_inputs, job_listing
from batchgray.planning.job_pruning import JobPruning
from batchgray.planning.overwriting import replacing_what_is_there
from batchgray.planning.shares import FIRST_OF_MANY, Planner
from batchgray.planning.wanted import choosing
from batchgray.storage.base import Full, Place, PlaceError
from batchgray.storage.lease import Lease
from batchgray.storage.locking import this_process
from batchgray.storage.machine_folder import MachineFolder, machine_folder
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.names import is_url
from batchgray.storage.urls import StoreOptions
from batchgray.workers import job_places
from batchgray.workers.forkserver import ForkServer

_ROUNDS = 3  # that one command adds at most, of what changes again and again


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is given besides its options; as with `runs.run`. Where a `crew` works, there is no `server`."""

    stores: StoreOptions
    emit: Listener
    sources: Sequence[NoticeListener]
    server: ForkServer | None
    ready: Callable[[], bool]
    fleet: FleetOptions = FleetOptions()
    crew: Crew | None = None


def run_job(options: JobOptions, means: Means) -> ExitCode:
    """Convert what the INPUTs hold as a job, or go on with it, and return how it ended, as the command's exit code.

    Raises BatchgrayError, as `runs.run` does.
    """
    out_name = job_inputs.full_name(options.out)
    with contextlib.ExitStack() as stack, naming_places("a place of the job"):
        inbox = stack.enter_context(session.listening(means.sources))
        inputs = named_inputs(options, out_name, means.stores)
        asked = head_of(options, inputs)
        opening = input_opener(options.follow_links, out_name)
        places = [stack.enter_context(opened(each.place, means.stores, opening)) for each in inputs]
        if not is_url(out_name):
            stack.enter_context(session.folders(Path(out_name)))
        out = stack.enter_context(opened(out_name, means.stores))
        with naming_places(out_name):
            before = None if options.overwrite else job_head.find(out)
        refuse_inputs(options, inputs, places, out, before, asked)
        with naming_places(out_name):
            refuse_unfit(out)
            head = (
                _begin_afresh(asked, out, places, options, means, inbox)
                if options.overwrite
                else job_head.begin(out, asked)
            )
        refuse_other(asked, head, out)
        return _Job(stack, head, out, places, options.engine, means, inbox, lists=True, prune=options.prune).work()


def resume_job(
    name: str, engine: EngineOptions, means: Means, input_roots: Sequence[str] = (), prune: bool = False
) -> ExitCode:
    """Go on with the job whose head is in the place of this name. All else is as with `run_job`.

    `input_roots` are where its inputs are now, in the head's order; none where they did not move. With `prune` outputs
    of inputs that are known to be gone are removed, if they are as they were made.
    """
    with contextlib.ExitStack() as stack, naming_places("a place of the job"):
        inbox = stack.enter_context(session.listening(means.sources))
        out = stack.enter_context(opened(job_inputs.full_name(name), means.stores))
        with naming_places(name):
            head = job_head.read(out)
            refuse_unfit(out)
        inputs = job_inputs.moved(head.inputs, list(map(job_inputs.full_name, input_roots)), out.name)
        if engine.times:
            job_inputs.refuse_times([out.name, *inputs])
        has_moved = inputs != head.inputs
        head = msgspec.structs.replace(head, inputs=inputs)
        opening = input_opener(head.follow_links, out.name)
        places = [stack.enter_context(opened(each, means.stores, opening)) for each in head.inputs]
        job = _Job(stack, head, out, places, engine, means, inbox, lists=False, prune=prune, has_moved=has_moved)
        return job.work()


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
        lists: bool,
        prune: bool = False,
        has_moved: bool = False,
    ) -> None:
        """`lists` says whether it is looked for what is new; else what failed is tried again, and nothing else.

        With `has_moved` the head is told where the inputs are, as soon as nobody else works on the job.
        """
        self._stack, self._head, self._out, self._engine = stack, head, out, engine
        self._means, self._inbox = means, inbox
        self._name = job_head.name_in(out)
        self._inputs = job_listing.listed(head.listed, inputs, out.name)
        self._layers, self._lists, self._prune = Layers(out, head.prefix), lists, prune
        self._has_moved = has_moved
        self._prunings: list[JobPruning] = []
        self._began = time.monotonic()
        if means.server is not None:
            session.preload_clients(means.server, [*head.inputs, out.name])

    def abandon(self) -> None:
        """Nobody works on it now, and nobody will. Raises ManifestLocked, and what `work` raises."""
        machine = self._machine(self._stack.enter_context(machine_folder()))
        self._round_work(machine, job_round.current(self._out, self._head.prefix)).abandon()

    def work(self) -> ExitCode:
        """Go on with the round that was begun, if one was; then see whether there is something for another.

        Raises BatchgrayError, PlaceError.
        """
        if self._head.overwritten is not msgspec.UNSET:
            finishing.remove_overwritten(self._out, self._head.overwritten)
        machine = self._machine(self._stack.enter_context(machine_folder()))
        round = job_round.current(self._out, self._head.prefix)
        if round.number > 1:  # whoever finished the one before may have died of tidying it up
            tidy_up = finishing.tidy_up_later if self._means.fleet.joins else finishing.tidy_up
            tidy_up(self._out, round.previous)
        work, has_begun = self._round_work(machine, round), round.has_begun(self._out)
        if not has_begun and not self._is_more(round):
            work.nothing_to_do()
            self._tell_where_inputs_are()
            return self._end(Outcome(self._inbox.notice), work)
        outcome = self._work_on(work, has_begun)
        for _ in range(_ROUNDS):
            if outcome.notice is not None or not self._goes_on(work, has_begun):
                break
            round = round.next
            if not self._is_more(round):
                break
            work, has_begun = self._round_work(machine, round), False
            outcome = self._work_on(work, has_begun)
        return self._end(outcome, work)

    def _work_on(self, work: RoundWork, has_begun: bool) -> Outcome:
        work.begin(has_begun)
        self._tell_where_inputs_are()
        with _losing_places(self._out.name):
            return work.run()

    def _tell_where_inputs_are(self) -> None:
        if self._has_moved:
            self._has_moved = False
            job_head.move_inputs(self._out, self._head)

    def _goes_on(self, work: RoundWork, has_begun: bool) -> bool:
        """Whether to look for more when a round is over: what came since it was listed, or changed meanwhile.

        Not where others have to do it: of another round's shares most are other shards', which may have ended.
        """
        if self._means.fleet.shard:
            return False
        return work.finished_here and (has_begun or (self._lists and work.totals.has_changed_inputs))

    def _is_more(self, round: Round) -> bool:
        """Whether a round would have anything to do: else none is made. Nothing is left of the question."""
        if round.number == 1:
            return True
        if next(mending.marked(self._out, self._head), None) is not None:
            return True
        if not self._lists:
            totals = self._layers.totals()
            return totals.failed > 0 or (self._prune and totals.gone > 0)
        planning = self._planning(session.pause(self._inbox))
        nowhere = Planner(MemoryPlace(), "nowhere", prune=lambda gone: self._prune, **planning)
        return next(nowhere.plan(), None) is not None

    def _round_work(self, machine: Machine, round: Round) -> RoundWork:
        reader = Planner(self._out, round.prefix, **self._planning(lambda: None))
        return RoundWork(machine, round, reader, functools.partial(self._planner, round))

    def _machine(self, folder: MachineFolder) -> Machine:
        head, engine = self._head, self._engine
        checkpoints = PlaceCheckpoints(self._out, head.begun, folder.folder, head.options)
        inheritance = functools.partial(self._inheritance, folder)
        server, supervisor = self._means.server, None
        if server is not None:
            supervisor = Supervisor(inheritance(0), checkpoints, engine, server, self._inbox)
            self._stack.callback(supervisor.close)
        return Machine(
            head=head,
            name=self._name,
            out=self._out,
            owner=this_process(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            engine=engine,
            fleet=self._means.fleet,
            folder=folder,
            lease=Lease(folder.folder.path, make=True),
            checkpoints=checkpoints,
            supervisor=supervisor,
            crew=self._means.crew,
            inbox=self._inbox,
            notices=[source.name for source in self._means.sources],
            inheritance=inheritance,
            ready=self._means.ready,
            send=self._send,
            preload=lambda planned: session.preload(server, planned, head.options) if server else None,
        )

    def _planner(self, round: Round, pause: Callable[[], None]) -> Planner:
        """What makes the shares: it lists, or takes what failed. `pause` is called now and then."""
        only_failed = round.number > 1 and not self._lists
        marks = list(mending.marked(self._out, self._head)) if round.number > 1 else []
        planning = self._planning(pause) | {"only_failed": only_failed, "and_gone": self._prune, "marks": marks}
        if round.number == 1:
            planning["layers"] = None  # there are none yet
        if self._means.fleet.joins:
            planning["first_images"] = FIRST_OF_MANY
        if self._prune:
            self._prunings.append(JobPruning(self._inputs, self._out, pause))
            planning["prune"] = self._prunings[-1]
        if self._head.overwrite and round.number == 1:
            planning["permit"] = replacing_what_is_there(self._out)
        return Planner(self._out, round.prefix, **planning)

    def _planning(self, pause: Callable[[], None]) -> dict[str, Any]:
        return {
            "inputs": self._inputs,
            "format": self._head.options.format,
            "kind_of_unwanted": choosing(self._head.include, self._head.exclude),
            "layers": self._layers,
            "pause": pause,
        }

    def _inheritance(self, folder: MachineFolder, input: int) -> Inheritance:
        scratch = folder.folder
        return Inheritance(
            out=scratch.path,
            flight=scratch.path,
            descriptors=(scratch.fileno(), scratch.fileno(), folder.lock),
            pixels=self._head.options,
            max_pixels=self._head.max_pixels,
            checkpoint=self._engine.checkpoint,
            cores=self._engine.workers,
            times=self._head.times or self._engine.times,
            on_the_way_bytes=on_the_way_bytes(self._engine.memory, self._engine.workers),
            job=job_places.packed(
                self._head.inputs[input],
                self._out.name,
                self._head.begun,
                msgspec.structs.replace(self._means.stores, patience=share_log.AWAY_SECONDS),
                self._head.follow_links,
            ),
        )

    def _send(self, event: events.Event) -> None:
        self._means.emit(session.at(self._began, event))

    def _tell_what_stays(self, pruning: JobPruning) -> None:
        for output in pruning.altered:
            message = f"{shown(output)} is not as it was made, and stays; its input is gone"
            self._send(events.Warned(message=message))
        for output, reason in pruning.stuck:
            self._send(events.Warned(message=f"{shown(output)} can't be removed: {reason}; its input is gone"))

    def _end(self, outcome: Outcome, work: RoundWork) -> ExitCode:
        notice = outcome.notice
        if notice is not None:
            self._acknowledge(notice, work.durable)
        for pruning in self._prunings:
            self._tell_what_stays(pruning)
        last = session.at(self._began, work.totals.summary(time.monotonic() - self._began, outcome.space_needed))
        self._means.emit(last)
        if outcome.fault is not None and notice is not None and notice.source == "disk":
            raise errors.PlaceLost(outcome.fault)
        if work.full:
            raise errors.PlaceFull(shown(self._out.name), "the log of the share lacks what was done last")
        if notice is not None and not work.is_over:  # all images may be done; what the round leaves is to be tidied up
            return INTERRUPTED
        return INTERRUPTED if last.resume is not None else SOME_FAILED if last.failed else DONE

    def _acknowledge(self, notice: InterruptionNotice, durable: bool) -> None:
        """Where the log says "free" by now, or no share was taken."""
        lacking = "the log of the share lacks what was flushed"
        for failure in session.acknowledge(notice, self._means.sources, durable, lacking):
            message = f"the notice could not be acknowledged ({failure}); it may come again"
            self._send(events.Warned(message=message))


@contextlib.contextmanager
def _losing_places(name: str) -> Iterator[None]:
    """Raises PlaceLost, or PlaceFull, instead of PlaceError: work has begun."""
    try:
        yield
    except Full as error:
        raise errors.PlaceFull(shown(name), error.reason) from error
    except PlaceError as error:
        raise errors.PlaceLost(f"{error.key}: {error.reason}" if error.key else error.reason) from error


def _begin_afresh(
    asked: JobHead, out: Place, places: Sequence[Place], options: JobOptions, means: Means, inbox: Inbox
) -> JobHead:
    """The head of a new job, instead of the one that may be there. Raises ManifestLocked where somebody works on it."""
    before = job_head.job_in(out)
    if before is not None:
        with contextlib.ExitStack() as stack:
            there = msgspec.structs.replace(asked, job=before)
            own = msgspec.structs.replace(means, server=None, crew=None, fleet=FleetOptions())  # nothing is converted
            _Job(stack, there, out, places, options.engine, own, inbox, lists=False).abandon()
        asked = msgspec.structs.replace(asked, overwritten=before)
    head = job_head.begin_afresh(out, asked)
    if head.job != asked.job:
        raise errors.ManifestLocked(job_head.name_in(out), "another `batchgray run`")
    return head
