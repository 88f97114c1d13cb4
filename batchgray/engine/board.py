"""The board: which shares of a round there are, how far their logs are, and which of them may be taken now.

Pure but for the place and the clock that it is given: no processes, no threads, no waiting. So a simulation, or a model
checker, runs this very code.

- A share may be taken where it never was, where its last entry gives it free, or where its log has not moved for
  STALE_SECONDS by the own clock. Taking it decides (see `share_log`); what the board believes is a hint.
- Logs are followed by their names: one LIST tells of a thousand entries. An entry is read only where its log stands
  still, and then the last one alone.
- Machines that work together look for a share from different ends, so that they do not race for the same one. A tally
  tells that one was taken: else each of many would try all that others have, towards the end, to find one that is free.
- What one look of such a machine asks is bounded: a thousand that each looked at the logs of all would ask more than a
  store answers. Every other look goes on where the last but one ended, and so comes round to all. Those between begin
  at the machine's own end: of what many machines watch so, each log is seen often by some, and a silent one soon found.
"""

import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from batchgray.manifest import job_round, share_log, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.share_log import LogEntry, ShareLog
from batchgray.manifest.tally import DoneTally
from batchgray.ownclock import machine_clock
from batchgray.storage.base import Entry, Missing, Place

_READ_AT_ONCE = 16  # last entries; of more logs, those that stand still are read, and so many of the others
_STILL_AT_ONCE = 64  # of those that stand still, where machines work together
_MOST_TRIES = 8  # to take a share, between two looks
_GAP_SHARES = 20  # whose logs are rather listed than passed over by another LIST; fewer where they are long
_MOST_LISTS = 16  # of logs, in one look
_PAGE = 1000  # keys that one LIST tells of


class Shard(NamedTuple):
    """Every `of`-th share, from `number` on; both count from 1."""

    number: int
    of: int


@dataclass(slots=True)
class Followed:
    """A share, as far as it is known. `kind` is that of the last entry, None where it was not read.

    `moved_at` is when its number was seen first, `seen_at` when it was looked at last. `left` are the seconds of work
    that its owner had left, by the last entry that was read. `entries` are what `log` has read, where an attempt to
    take it is not decided yet.
    """

    name: str
    of: int  # the number of the plan's share that it is, or was split off
    rank: bytes  # by which the owner of the board comes to it sooner or later than to others
    number: int = 0
    moved_at: float = 0.0
    seen_at: float = 0.0
    kind: str | None = None
    owner: str = ""
    left: int | None = None
    said_taken_at: float | None = None  # when a tally told so first
    figures: DoneTally | None = None
    log: ShareLog | None = None
    entries: list[LogEntry] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.figures is not None or self.kind == "done"

    @property
    def may_be_held(self) -> bool:
        """Whether it was taken, and neither given back nor closed, as far as is known."""
        return self.number > 0 and not self.is_done and self.kind != "free"

    @property
    def is_stale(self) -> bool:
        """Whether its log was seen to stand still for so long that its owner has lost it."""
        return self.seen_at - self.moved_at >= share_log.STALE_SECONDS

    @property
    def is_ownerless(self) -> bool:
        """Whether it was never taken, was given back, or seems to be lost by its owner.

        Where a tally says that it was taken, and no entry of its log is known, the next look at the log tells.
        """
        if not self.number:
            return self.said_taken_at is None or self.seen_at > self.said_taken_at
        return self.kind == "free" or self.is_stale


class Taken(NamedTuple):
    """A share that is ours now, and what its log told before."""

    name: str
    log: ShareLog
    entries: list[LogEntry]


class Board:
    """`through` says whether all is listed, `over` whether the round is finished, both as the last look found it.

    With `alone` shares are taken in their order, and each look sees all.
    """

    def __init__(
        self,
        place: Place,
        round: Round,
        owner: str,
        clock: Callable[[], float] = machine_clock,
        shard: Shard | None = None,
        alone: bool = True,
    ) -> None:
        self.through = self.over = False
        self._place, self._round, self._owner, self._clock = place, round, owner, clock
        self._shard, self._alone = shard, alone
        self._shares: dict[str, Followed] = {}
        self._undone: dict[str, Followed] = {}  # those of them that are not done: most looks are about few
        self._known_tallies: set[str] = set()  # by their keys: each look lists all anew
        self._looked_at = float("-inf")
        self._look_from: int | None = None  # the number of the share at which the next look but one begins
        self._looks = 0

    # what is known

    def __len__(self) -> int:
        return len(self._shares)

    @property
    def shares(self) -> list[Followed]:
        return list(self._shares.values())

    @property
    def all_done(self) -> bool:
        """Whether all is listed, and nothing is left of any share that is known."""
        return self.through and not self._undone

    @property
    def ours_done(self) -> bool:
        """The same of the shares that this machine may take."""
        return self.through and not any(self.is_ours(name) for name in self._undone)

    @property
    def held(self) -> list[Followed]:
        """What another seems to work on."""
        return [share for share in self._undone.values() if share.may_be_held and not share.is_stale]

    def add(self, name: str) -> Followed:
        """A share that is there, whoever says so."""
        share = self._shares.get(name)
        if share is None:
            now, of = self._clock(), job_round.number_of(name)
            share = Followed(name, of, self._rank(name), moved_at=now, seen_at=now)
            self._shares[name] = self._undone[name] = share
        return share

    def set_done(self, name: str, figures: DoneTally | None = None) -> None:
        """Nothing is left of it."""
        share = self.add(name)
        share.kind, share.figures = "done", figures or share.figures
        self._refile(share)

    def set_free(self, name: str, number: int) -> None:
        """It was given back, with the entry of this number."""
        share = self.add(name)
        share.kind, share.number, share.moved_at = "free", number, self._clock()
        self._refile(share)

    def _refile(self, share: Followed) -> None:
        """After what is known of it has changed."""
        if share.is_done:
            self._undone.pop(share.name, None)
        else:
            self._undone[share.name] = share

    # to look

    def look(self) -> None:
        """See what there is. Raises DamagedLog, PlaceError."""
        self.over = self._round.is_finished(self._place)
        if self.over:
            return
        self._list_plan()
        self._looked_at = self._clock()
        if not self.all_done:
            self._list_done()
        for planned in tally.split(self._place, self._round, self._known_tallies):
            self.add(planned.share)
        if not self._alone and self.may_take:
            for taken in tally.taken(self._place, self._round, self._known_tallies):
                self.add(taken.share).said_taken_at = self._looked_at
        self._follow(*self._list_logs())

    def _list_done(self) -> None:
        """Of several tallies of a share the largest counts, whichever was seen first."""
        for figures in tally.done(self._place, self._round, self._known_tallies):
            share = self.add(figures.share)
            share.figures = max(figures, share.figures or figures)
            self._refile(share)

    def _list_plan(self) -> None:
        """What is new of it; all of it once more when the listing is through, as a number may have been put late."""
        if self.through:
            return
        last = max((share.of for share in self._shares.values()), default=0)
        self._list_names(f"{self._round.plan}/{job_round.name_of(last)}" if last else "")
        if self.through:
            self._list_names("")

    def _list_names(self, after: str) -> None:
        for entry in self._place.list(f"{self._round.plan}/", after):
            name = entry.key.rpartition("/")[2]
            if name.isdecimal():
                self.add(name)
            elif name == "end":
                self.through = True

    def _list_logs(self) -> tuple[dict[str, int], list[tuple[int, int]]]:
        """The last number of each log that has entries, and between which shares was looked, both included.

        Of those where something may be left to do; of all of them, if that does not take too many requests.
        """
        seen: dict[str, str] = {}
        looked_at: list[tuple[int, int]] = []
        left = _MOST_LISTS * _PAGE
        for first, last in self._undone_from_there():
            listed, through = self._list_some_logs(first, last, None if self._alone else left, seen)
            looked_at.append((first, through))
            left -= listed + _PAGE  # some of the last page is of no use
            if not self._alone and (left <= 0 or through < last):
                if self._looks % 2 == 0 or self._look_from is None:
                    self._look_from = through + 1
                break
        return {name: int(number) for name, number in seen.items()}, looked_at

    def _list_some_logs(self, first: int, last: int, most: int | None, seen: dict[str, str]) -> tuple[int, int]:
        """How many entries there were, and through which share: not `last` where there were more than `most`."""
        logs = f"{self._round.logs}/"
        listed, share, before = 0, first, ""
        entries = self._place.list(logs, logs + job_round.name_of(first))
        for entry in entries:
            name, _, number = entry.key.removeprefix(logs).partition("/")
            if not number.isdecimal() or name == "plan":
                break
            if name != before:
                of, before = job_round.number_of(name), name
                if of > last:
                    break
                if most is not None and listed >= most and of != share:
                    return listed, share
                share = of
                listed += self._pass_over(name, entries)
            listed += 1
            seen[name] = number  # the last one is it
        return listed, last

    def _pass_over(self, name: str, entries: Iterator[Entry]) -> int:
        """How many: of a log whose first entry was listed, those before the last one that is known tell nothing new."""
        known = self._shares.get(name)
        count = max(0, known.number - 2) if known else 0
        next(itertools.islice(entries, count, count), None)
        return count

    def _undone_from_there(self) -> list[tuple[int, int]]:
        """Where something is left, all around: from this machine's own end, or from where the look before ended."""
        runs = list(self._undone_runs())
        if not runs or self._alone:
            return runs
        self._looks += 1
        there = self._look_from
        if self._looks % 2 or there is None:
            fraction = int.from_bytes(self._rank("")) / 2**64  # it stays nearly where it is as shares are done
            there = runs[0][0] + int(fraction * (runs[-1][1] - runs[0][0] + 1))
        before = [(first, min(last, there - 1)) for first, last in runs if first < there]
        return [(max(first, there), last) for first, last in runs if last >= there] + before

    def _undone_runs(self) -> Iterator[tuple[int, int]]:
        """Numbers of the plan's shares, from first to last, between which most have something left."""
        numbers = sorted({share.of for share in self._undone.values()})
        if not numbers:
            return
        entries = sum(share.number for share in self._undone.values()) / len(self._undone)
        gap = min(_GAP_SHARES, _PAGE / (entries + 1))
        first = last = numbers[0]
        for number in numbers[1:]:
            if number - last > gap:
                yield first, last
                first = number
            last = number
        yield first, last

    def _follow(self, seen: dict[str, int], looked_at: list[tuple[int, int]]) -> None:
        moved: list[Followed] = []
        still: list[Followed] = []
        for name, number in seen.items():
            share = self.add(name)
            if share.number != number:
                share.number, share.moved_at, share.kind = number, self._looked_at, None
                self._refile(share)
                moved.append(share)
            elif share.kind is None:
                still.append(share)
        looked_at_numbers = {number for first, last in looked_at for number in range(first, last + 1)}
        for share in self._undone.values():
            if share.of in looked_at_numbers:
                share.seen_at = self._looked_at
        some = moved
        if not self._alone:
            some = heapq.nsmallest(_READ_AT_ONCE, moved, lambda share: share.rank)
            # What is free stands longest; of what was seen by one look others begin elsewhere.
            still = heapq.nsmallest(_STILL_AT_ONCE, still, lambda share: (share.moved_at, share.rank))
        for share in [*still, *some] if len(some) <= _READ_AT_ONCE else still:
            if not share.is_done:
                self._read_last(share)

    def _read_last(self, share: Followed) -> None:
        try:
            entry = share_log.read_entry(self._place, self._round.log(share.name), share.number)
        except Missing:
            return  # the round was finished meanwhile
        share.kind, share.owner, share.left = entry.kind, entry.owner, entry.left
        self._refile(share)

    # to take

    def take(self) -> Taken | None:
        """Become the owner of a share that may be taken; None where there is none now. Raises DamagedLog, PlaceError.

        Where that left open whether it was done, the next call finds out. None, too, where others were sooner with
        several: what is known is old then, and one look tells of more than many tries.
        """
        for share in self._first_ones():
            taken = self._try(share)
            if taken is not None:
                return taken
        return None

    @property
    def may_take(self) -> bool:
        """Whether there is a share that may be taken, as far as is known."""
        return any(self._may_take())

    @property
    def next_name(self) -> str | None:
        """The share that `take` would try first, if any."""
        first = min(self._may_take(), key=self._turn, default=None)
        return first.name if first is not None else None

    def _may_take(self) -> Iterator[Followed]:
        return (share for share in self._undone.values() if share.is_ownerless and self.is_ours(share.name))

    def _first_ones(self) -> list[Followed]:
        return heapq.nsmallest(_MOST_TRIES, self._may_take(), self._turn)

    def _turn(self, share: Followed) -> tuple[bool, bool, bytes]:
        """What was begun comes first, then what the last look has seen: others are less likely to have it by now."""
        return not share.number, self._is_old(share), share.rank

    def _is_old(self, share: Followed) -> bool:
        return not self._alone and share.seen_at < self._looked_at

    def _rank(self, name: str) -> bytes:
        if self._alone:
            return name.encode()
        return hashlib.blake2b(f"{self._owner}/{name}".encode(), digest_size=8).digest()

    def is_ours(self, name: str) -> bool:
        """Whether this machine may take it at all."""
        if self._shard is None:
            return True
        return (job_round.number_of(name) - self._shard.number) % self._shard.of == 0

    def _try(self, share: Followed) -> Taken | None:
        if share.log is None:
            share.log = self.log_of(share.name)
        log = share.log
        if share.number:  # else to put its first entry tells whether there is one
            share.entries += log.catch_up()
        log.stood_since(share.number, share.moved_at)
        if log.take():
            taken = Taken(share.name, log, share.entries)
            share.log, share.entries = None, []
            share.number, share.kind, share.owner = log.number, "open", self._owner
            share.moved_at = self._clock()
            return taken
        share.number, share.kind, share.owner = log.number, log.state, log.owner
        share.moved_at = self._clock()
        share.log, share.entries = None, []
        self._refile(share)
        return None

    def log_of(self, name: str) -> ShareLog:
        """A share's log, nothing of it read yet."""
        return self._log_at(self._round.log(name))

    def plan_log(self) -> ShareLog:
        """The plan's log. It has an entry for each ten seconds of a job that may take days."""
        return self._log_at(self._round.plan_log, last_alone=True)

    def _log_at(self, prefix: str, last_alone: bool = False) -> ShareLog:
        return ShareLog(self._place, prefix, self._owner, self._round.finished, self._clock, last_alone)
