"""A share that this machine owns, worked off: supervised, its log written, given back whatever happens but a death."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from batchgray import errors, events
from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.engine.crew import Crew
from batchgray.engine.job_totals import JobTotals
from batchgray.engine.ledger import Ledger
from batchgray.engine.pool import Inheritance
from batchgray.engine.share import ShareBooks, SharePlan, ShareTasks
from batchgray.engine.supervisor import Outcome, Supervisor
from batchgray.errors import shown
from batchgray.manifest import share_log
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import Run
from batchgray.manifest.share_log import ShareLog, ShareLost
from batchgray.notices.inbox import Inbox
from batchgray.options import EngineOptions, FleetOptions
from batchgray.storage import integrity
from batchgray.storage.base import Place, PlaceError
from batchgray.storage.lease import Lease
from batchgray.storage.machine_folder import MachineFolder

_TELL_SECONDS = 1.0  # between two looks at what else there is to tell


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine works on a job with. `owner` is what it is called, `name` what the job is.

    `inheritance` makes what workers are given, for the INPUT of that number; `preload` is called with what is planned,
    before the first worker is forked. Without a `supervisor` of its own it has a `crew`, and converts nothing.
    """

    head: JobHead
    name: str
    out: Place
    owner: str
    engine: EngineOptions
    fleet: FleetOptions
    folder: MachineFolder
    lease: Lease
    checkpoints: PlaceCheckpoints
    supervisor: Supervisor | None
    crew: Crew | None
    inbox: Inbox
    notices: list[str]
    inheritance: Callable[[int], Inheritance]
    ready: Callable[[], bool]
    send: Callable[[events.Event], None]
    preload: Callable[[events.Planned], None]


class ShareWork:
    """Works off the shares of a round, one after another. `durable` says whether the last one's log has all,
    `full` whether it lacks something for want of room.

    `pass_on` is called about once a second, to tell what happens beside the work.
    """

    def __init__(self, machine: Machine, round: Round, totals: JobTotals, pass_on: Callable[[], None]) -> None:
        self.durable, self.full = True, False
        self._machine, self._round, self._totals, self._pass_on = machine, round, totals, pass_on
        self._in_doubt = False
        self._tell_at = 0.0

    def run(self, plan: SharePlan, log: ShareLog) -> Outcome:
        """Until nothing is left of the share, it is lost, or a notice comes. Raises BatchgrayError, PlaceError."""
        machine = self._machine
        plan.flight = machine.folder.folder.path
        plan.manifest.runs.append(Run(at=datetime.now(UTC), workers=machine.engine.workers, found=None))
        joins = machine.fleet.joins
        books = ShareBooks(machine.name, plan, machine.out, self._round, log, machine.lease, joins)
        ledger = Ledger(plan, _nothing, books, machine.engine.checkpoint, self._tell, 0.0)
        tasks = ShareTasks(plan, self._resumable(plan) if plan.was_begun else set(), books)
        try:
            with self._giving_back(log):
                self._supervisor.inherit(machine.inheritance(plan.share.input))
                return self._supervisor.run(tasks, ledger, lambda: self._may_begin_more(log), stay=True)
        except ShareLost as lost:
            self._give_up(plan, tasks)
            if not joins:
                raise
            machine.send(events.Warned(message=str(lost)))
            return Outcome(self._supervisor.notice or machine.inbox.notice)
        finally:
            ledger.close()
            self._sum_up(plan, log, ledger)

    @property
    def _supervisor(self) -> Supervisor:
        if self._machine.supervisor is None:
            raise AssertionError("a machine without workers takes no share")
        return self._machine.supervisor

    def _resumable(self, plan: SharePlan) -> set[int]:
        begun = self._machine.checkpoints.names()
        return {index for index in plan.todo if integrity.short_name(plan.share.images[index].output) in begun}

    @contextlib.contextmanager
    def _giving_back(self, log: ShareLog) -> Iterator[None]:
        """Where the work fails, no worker is left, and what was done is kept: others need not wait for our lease.

        A place that does not answer is not asked again, as that takes its time.
        """
        try:
            yield
        except ShareLost:
            raise
        except BaseException:
            self._supervisor.close()
            if log.is_ours and not log.in_doubt:
                with contextlib.suppress(PlaceError, ShareLost):
                    log.sync("free")
            raise

    def _may_begin_more(self, log: ShareLog) -> bool:
        if log.in_doubt != self._in_doubt:
            self._in_doubt = log.in_doubt
            name = shown(self._machine.out.name)
            lost = f"{name} does not answer; nothing is begun or put until it does"
            self._machine.send(events.Warned(message=lost if self._in_doubt else f"{name} answers again"))
        if log.is_given_up:
            raise errors.PlaceLost(
                f"{shown(self._machine.out.name)} has not answered for {share_log.AWAY_SECONDS:.0f} s"
            )
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_SECONDS
            self._pass_on()
        return self._machine.ready() and not self._in_doubt

    def _give_up(self, plan: SharePlan, tasks: ShareTasks) -> None:
        """Another has the share. Nothing of what our workers put may stay where all is finished by now."""
        machine = self._machine
        self._supervisor.abandon()
        for index in tasks.handed_out:
            if plan.manifest.images[index].state != "done":
                machine.checkpoints.withdraw(plan.share.images[index].output)
        if self._round.is_finished(machine.out):
            outputs = {integrity.short_name(image.output): image.output for image in plan.images}
            for name in machine.checkpoints.names() & outputs.keys():
                machine.checkpoints.discard(outputs[name])

    def _sum_up(self, plan: SharePlan, log: ShareLog, ledger: Ledger) -> None:
        machine = self._machine
        self.full = ledger.disk_full and not ledger.durable
        notice = self._supervisor.notice or machine.inbox.notice  # the supervisor has taken it out of the inbox
        self.durable = ledger.durable or notice is None
        if ledger.unreachable is not None:
            machine.send(events.Warned(message=_not_told(machine.out.name, ledger.unreachable)))
        self._totals.end(plan, ledger, ours=log.is_ours or log.state in ("free", "done"))

    def _tell(self, event: events.Event) -> None:
        self._machine.send(self._totals.of_the_job(event))


def _not_told(name: str, reason: str) -> str:
    return (
        f"{shown(name)} does not answer ({reason}): the share is not given back, and is free for others "
        f"{share_log.STALE_SECONDS:.0f} s after its last sign of life; what its log lacks is made again there"
    )


def _nothing() -> None:
    """A share has nothing in flight that is its own alone."""
