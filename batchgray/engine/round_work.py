"""A round of a job as one machine works it off, alone or with others that come and go.

    look --> take a share --> supervise it: "done", or "free" --> the next --> all done: finish, or wait for who does

The board says which share may be taken, its log decides. The plan is listed beside the work, by whoever owns its log.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator

from batchgray import errors, events
from batchgray.engine import finishing, pace, session
from batchgray.engine.beside import Beside
from batchgray.engine.board import Board, Shard, Taken
from batchgray.engine.crew import Crew, Standing
from batchgray.engine.idle_mark import IdleMark
from batchgray.engine.job_totals import JobTotals, ShareSize
from batchgray.engine.plan_keeper import PlanKeeper
from batchgray.engine.share import SharePlan, plan_of
from batchgray.engine.share_work import Machine, ShareWork
from batchgray.engine.supervisor import Outcome
from batchgray.manifest import job_round, share_log, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.layers import Layers
from batchgray.manifest.results import Totals
from batchgray.manifest.share_log import DamagedLog
from batchgray.manifest.tally import PlannedTally
from batchgray.notices.inbox import Complaint, InterruptionNotice
from batchgray.planning.shares import DamagedPlan, Planner
from batchgray.storage.base import PlaceError
from batchgray.storage.folder import FolderPlace
from batchgray.storage.noting import NotingPlace

_TELL_SECONDS = 1.0  # between two events of what a crew has done
_TEND_SECONDS = 0.3  # between two looks at a crew
_LIST_SECONDS = 0.3  # in which a short list is complete before the first image
_READ_AT_ONCE = 16  # shares whose sizes no tally tells

# Makes what lists and reads the shares of a round; it calls what it is given now and then, which may raise.
MakePlanner = Callable[[Callable[[], None]], Planner]


class RoundWork:
    """One round. What the job comes to is in `totals`.

    `is_over` is set when the round is, `finished_here` when this machine ended it. `reader` reads shares, what
    `make_planner` makes writes them.
    """

    def __init__(self, machine: Machine, round: Round, reader: Planner, make_planner: MakePlanner) -> None:
        self.is_over = self.finished_here = False
        self._place, self._noting = machine.out, NotingPlace(machine.out, round.prefix)
        machine = dataclasses.replace(machine, out=self._noting)
        self._machine, self._round, self._make_planner = machine, round, make_planner
        fleet = machine.fleet
        alone = not fleet.joins or machine.crew is not None  # a driver has to know of all, and is but one
        self._board = Board(machine.out, round, machine.owner, shard=fleet.shard and Shard(*fleet.shard), alone=alone)
        self.totals = JobTotals(machine.head, machine.name, machine.out.name, self._board.is_ours)
        self._wake = session.Wake(machine.inbox)
        self._keeper = PlanKeeper(self._board.plan_log(), self._list, self._wake.set)
        self._reader = reader
        self._beside = Beside(reader.share)
        self._share_work = ShareWork(machine, round, self.totals, self._pass_on)
        self._layers = Layers(machine.out, machine.head.prefix)
        self._told: events.Planned | events.Listed | None = None
        self._look_at = self._looked_at = self._idle_since = 0.0
        self._idle_mark = IdleMark(machine.out, round)
        self._tell_at = 0.0

    @property
    def durable(self) -> bool:
        """Whether the logs have all that this machine did."""
        return self._share_work.durable

    @property
    def full(self) -> bool:
        """Whether they lack something for want of room."""
        return self._share_work.full

    # from beginning to end

    def begin(self, has_begun: bool) -> None:
        """See what there is, if anything. Raises ManifestLocked, DamagedLog, DamagedPlan, PlaceError."""
        if has_begun:
            self._look()
            self._keeper.look()
        else:
            self._looked_at = time.monotonic()  # nobody has done anything yet
            self._look_at = self._looked_at + pace.look_seconds()
        if not self._machine.fleet.joins:
            self._wait_for_the_dead()
        if not self._keeper.take():
            if not self._machine.fleet.joins:
                raise errors.ManifestLocked(self._machine.name, self._keeper.owner)
            self._look_at = 0.0  # another has begun it by now
        self._sweep()
        self.totals.goes_on = has_begun
        self.totals.resumed = has_begun or self._round.number > 1

    def abandon(self) -> None:
        """Instead of all else: nobody works on it, and whoever wakes up late finds it over. Raises as `begin`."""
        try:
            self.begin(self._round.has_begun(self._machine.out))
            finishing.remove_checkpoints(self._machine.checkpoints, session.pause(self._machine.inbox))
            self._machine.out.put_absent(self._round.finished, b"")
        finally:
            self._wake.close()

    def nothing_to_do(self) -> None:
        """Tell what the job has come to, instead of all else, and remove what a late machine has left."""
        finishing.remove_checkpoints(self._machine.checkpoints, session.pause(self._machine.inbox))
        self._tell_results(self._layers.totals())
        self._announce()
        self._wake.close()

    def run(self) -> Outcome:
        """Work until nothing is left for this machine, or a notice comes. Raises BatchgrayError, PlaceError."""
        self._keeper.start(self._board.through)
        try:
            self._wait_for_the_list()
            outcome = Outcome(self._machine.inbox.notice)
            while outcome.notice is None and (taken := self._next_share()):
                outcome = self._work_on(taken)
            if self._met_the_end(outcome):
                outcome = Outcome(self._machine.inbox.notice)
                self._end_with_the_round()
            if self._machine.crew is not None:
                self._machine.crew.drain(self._standing)
            self._announce()
        except (DamagedLog, DamagedPlan, PlaceError):  # what is read may have been removed meanwhile
            if not self._round.is_finished(self._machine.out):
                raise
            outcome = Outcome(self._machine.inbox.notice)
            self._end_with_the_round()
        finally:
            self._idle_mark.take_off()
            self._keeper.stop()
            self._beside.close()
            self._wake.close()
        if self.is_over and not self.finished_here:
            self._take_back_what_was_late()
        return outcome if outcome.notice else Outcome(self._machine.inbox.notice)

    def _met_the_end(self, outcome: Outcome) -> bool:
        """Whether what failed here did so as others have ended the round: the folders that it wanted are gone."""
        if outcome.notice is None or outcome.notice.source != "disk":
            return False
        with contextlib.suppress(PlaceError):
            return self._round.is_finished(self._machine.out)
        return False

    def _take_back_what_was_late(self) -> None:
        """What our threads put since the last look that found the round going on. A lister's shares are not noted."""
        if self._keeper.has_listed:
            finishing.tidy_up(self._place, self._round)
        else:
            finishing.remove_late(self._place, self._round, self._noting.noted)

    def _sweep(self) -> None:
        """What others that died had on its way to a folder."""
        if isinstance(self._place, FolderPlace):
            self._place.sweep()

    def _wait_for_the_dead(self) -> None:
        """Until nobody seems to work on the job. Raises ManifestLocked where somebody gives a sign of life."""
        pause = session.pause(self._machine.inbox)
        before = self._held()
        if before:
            owner = next(iter(before.values()))[1]
            lease = f"{share_log.STALE_SECONDS:.0f} s"
            message = f"{owner} did not end its work here; waiting up to {lease} for a sign of life"
            self._machine.send(events.Warned(message=message))
        while held := self._held():
            for name, (number, owner) in held.items():
                if name not in before or before[name][0] != number:
                    raise errors.ManifestLocked(self._machine.name, owner)
            pause()
            self._wake.wait(pace.look_seconds() / 2)
            self._look()
            self._keeper.look()

    def _held(self) -> dict[str, tuple[int, str]]:
        """What others seem to have: how far its log is, and who they are."""
        held = {share.name: (share.number, share.owner) for share in self._board.held}
        if not self._keeper.can_be_taken:
            held["plan"] = self._keeper.number, self._keeper.owner
        return held

    # which share

    def _next_share(self) -> Taken | None:
        """Wait for one. None where nothing more is to come for this machine, or a notice came."""
        self._idle_since = time.monotonic()
        self._look_at = min(self._look_at, self._idle_since + self._seconds_to_next_look(0.0))
        while self._hear() is None:
            if self._machine.crew is not None:
                self._tend(self._machine.crew)
            elif (taken := self._board.take()) is not None:
                self._idle_mark.take_off()
                return taken
            elif self._board.may_take:
                self._look_at = 0.0  # others were sooner with several
            if self._is_over():
                break
            if self._machine.crew is not None or not self._board.may_take:
                self._wait()
        return None

    def _is_over(self) -> bool:
        """Whether nothing more is to come. What is to be done when all is done, is done."""
        if not self._board.all_done or self._machine.fleet.joins or not self._keeper.is_ours:
            self._look_if_due()
        if self._board.all_done and self._keeper.is_ours:
            with contextlib.suppress(errors.InterruptedEarly):  # the notice is heard, and others finish
                return self._finish()
            return False
        if self._machine.fleet.shard and self._board.ours_done and not self._board.all_done:
            return True
        if self._board.over:
            self._end_with_the_round()
        return self.is_over

    def _end_with_the_round(self) -> None:
        """Another machine has ended it."""
        self.is_over = True
        self._keeper.forget()
        self._tell_results(self._layers.totals())

    def _finish(self) -> bool:
        """Whether the round is over now. Parts of shares may be found that are still to be done."""
        machine = self._machine
        self._beside.settle()  # what is put later would be left behind
        pause = session.pause(machine.inbox)
        parts = finishing.parts_left(self._board, machine.head, self._reader, pause)
        for name in parts:
            self._board.add(name)
            part = finishing.planned_part(self._board, machine.head, self._reader, name)
            with contextlib.suppress(PlaceError):  # who may take it, a driver's nodes, sees it by this alone
                tally.put_planned(machine.out, self._round, part)
        if parts:
            return False
        finisher = finishing.Finisher(
            self._place, machine.head, self._round, self._board, self._reader, machine.checkpoints
        )
        self.is_over = self.finished_here = finisher.finish(lambda: self._keeper.is_ours, pause)
        if self.is_over:
            self._keeper.forget()
            self._tell_results(finisher.totals)
        return self.is_over

    def _tell_results(self, totals: Totals) -> None:
        self.totals.finished(totals, self._layers.failures() if totals.failed else ())

    def _wait(self) -> None:
        """Until there may be something new."""
        seconds = max(0.0, self._look_at - time.monotonic())
        if self._machine.crew is not None:
            seconds = min(seconds, _TEND_SECONDS)
        elif self._machine.fleet.joins:
            held = [share for share in self._board.held if self._board.is_ours(share.name)]
            self._idle_mark.put({share.name: share.left for share in held})
        self._wake.wait(seconds)

    # supervisors elsewhere

    def _tend(self, crew: Crew) -> None:
        told = crew.tend(self._standing)
        self.totals.elsewhere(told)
        if told.done and self._keeper.is_ours:  # nobody else ends the round, and it goes on
            self._look_at = self._looked_at + share_log.STALE_SECONDS
        else:
            self._look_at = min(self._look_at, time.monotonic() + pace.look_seconds())
        is_due = time.monotonic() >= self._tell_at
        if is_due:
            self._announce()
            self._tell_at = time.monotonic() + _TELL_SECONDS
        if (is_due or told.done) and self.totals.all_told:
            # The logs have it by now. Where images were made twice, it may be told too early, and for long.
            self._look_at = min(self._look_at, self._looked_at + _TELL_SECONDS)

    def _standing(self, owner: str) -> Standing:
        self._look()
        kinds = {share.kind for share in self._board.shares if share.owner.startswith(owner)}
        held = any(share.owner.startswith(owner) for share in self._board.held)
        return "holds" if held else "free" if "free" in kinds else "nothing"

    def _wait_for_the_list(self) -> None:
        until = time.monotonic() + _LIST_SECONDS
        while self._keeper.lists and self._hear() is None and (left := until - time.monotonic()) > 0:
            self._wake.wait(left)

    # what is seen and heard

    def _hear(self) -> InterruptionNotice | None:
        """What the listing, and the listeners to notices, say. Raises what made the listing fail."""
        self._hear_news()
        inbox = self._machine.inbox
        if inbox.notice is None:
            for item in inbox.take():
                if isinstance(item, Complaint):
                    self._machine.send(events.Warned(message=item.message))
                else:
                    inbox.put(item)  # it came in between
        return inbox.notice

    def _hear_news(self) -> None:
        self._keeper.check()
        self._wake.clear()
        through = self._keeper.through
        while self._keeper.news:
            size = self._keeper.news.popleft()
            self._board.add(size.name)
            self.totals.listed(size)
        if through and not self.totals.complete:
            self._board.through = True
            self.totals.all_listed(self._reader.end())

    def _look_if_due(self) -> None:
        if time.monotonic() >= self._look_at:
            self._look()

    def _look(self) -> None:
        put_before, began = len(self._noting.noted), time.monotonic()
        self._board.look()
        self._looked_at = time.monotonic()
        self._look_at = self._looked_at + self._seconds_to_next_look(self._looked_at - began)
        if self._board.over:
            return
        self._noting.forget(put_before)
        for share in self._board.shares:
            if share.figures is not None:
                self.totals.done(share.figures)
        if not self._keeper.lists:
            self._learn_sizes()
            if self._board.through and not self.totals.complete:
                self.totals.all_listed(self._reader.end())

    def _seconds_to_next_look(self, took: float) -> float:
        if self._machine.fleet.joins and self._machine.crew is None:
            return pace.idle_seconds(time.monotonic() - self._idle_since, took)
        return pace.look_seconds()

    def _learn_sizes(self) -> None:
        """Of shares that another machine listed."""
        if not self._unsized():
            return
        for planned in tally.planned(self._machine.out, self._round):
            self.totals.sized(planned)
        for name in self._unsized()[:_READ_AT_ONCE]:
            self.totals.listed(ShareSize.of(self._reader.share(int(name))))

    def _unsized(self) -> list[str]:
        return [
            share.name for share in self._board.shares if share.name.isdecimal() and not self.totals.knows(share.name)
        ]

    def _list(self, check: Callable[[], None]) -> Iterator[ShareSize]:
        """In the lister's thread."""
        known = {share.name for share in self._board.shares}
        for share in self._make_planner(check).shares():
            check()
            size = ShareSize.of(share)
            yield size  # work on it begins meanwhile
            if size.name not in known:
                with contextlib.suppress(PlaceError):  # it is a hint
                    planned = PlannedTally(size.name, size.images, size.bytes.total())
                    tally.put_planned(self._machine.out, self._round, planned)

    def _announce(self) -> None:
        """What is planned, when it is told first; then how it grows."""
        machine = self._machine
        if self._told is None:
            workers = machine.crew.workers if machine.crew else machine.engine.workers
            planned = self.totals.planned(workers, machine.notices)
            machine.preload(planned)
            self._told = planned
            machine.send(planned)
        elif (listed := self.totals.changed(self._told)) is not None:
            self._told = listed
            machine.send(listed)

    # the work

    def _work_on(self, taken: Taken) -> Outcome:
        """Raises BatchgrayError, PlaceError."""
        plan = self._plan_of(taken)
        self.totals.begin(plan)
        self._announce()
        if self._machine.fleet.joins and not plan.was_begun:
            self._beside.put(functools.partial(tally.put_taken, self._machine.out, self._round, plan.name))
        outcome = self._share_work.run(plan, taken.log)
        if taken.log.state == "done":
            self._board.set_done(plan.name, plan.tally)
            self._beside.put(functools.partial(tally.put_done, self._machine.out, self._round, plan.tally))
        elif taken.log.state == "free":
            self._board.set_free(plan.name, taken.log.number)
        for number in range(1, plan.splits + 1):
            self._board.add(f"{plan.name}-{number}")
        self._look_at = 0.0
        return outcome

    def _plan_of(self, taken: Taken) -> SharePlan:
        share = self._beside.share(job_round.number_of(taken.name))
        above = [self._board.log_of(name).catch_up() for name in job_round.lineage_of(taken.name)[:-1]]
        self.totals.listed(ShareSize.of(share))
        return plan_of(self._machine.head, share, taken.name, [*above, taken.entries])

    def _pass_on(self) -> None:
        self._hear_news()
        if not self._beside.expects and (name := self._board.next_name) is not None:
            self._beside.expect(job_round.number_of(name))
        self._announce()
