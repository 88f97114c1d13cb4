"""The board: which shares of a round there are, how far their logs are, and which of them may be taken now.

Pure but for the place and the clock that it is given: no processes, no threads, no waiting. So a simulation, or a model
checker, runs this very code.

- A share may be taken where it never was, where its last entry gives it free, or where its log has not moved for
  STALE_SECONDS by the own clock. Taking it decides (see `share_log`); what the board believes is a hint.
- Logs are followed by their names: one LIST tells of a thousand entries. An entry is read only where its log stands
  still, and then the last one alone.
- Machines that work together look for a share from different ends, so that they do not race for the same one.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from batchgray.manifest import job_round, share_log, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.share_log import LogEntry, ShareLog
from batchgray.manifest.tally import DoneTally
from batchgray.ownclock import machine_clock
from batchgray.storage.base import Missing, Place

_READ_AT_ONCE = 16  # last entries; of more logs, only those that stand still are read
_MOST_TRIES = 8  # to take a share, between two looks
_GAP_SHARES = 20  # whose logs are rather listed than passed over by another LIST


class Shard(NamedTuple):
    """Every `of`-th share, from `number` on; both count from 1."""

    number: int
    of: int


@dataclass
class Followed:
    """A share, as far as it is known. `kind` is that of the last entry, None where it was not read.

    `entries` are what `log` has read, where an attempt to take it is not decided yet.
    """

    name: str
    number: int = 0
    moved_at: float = 0.0
    kind: str | None = None
    owner: str = ""
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


class Taken(NamedTuple):
    """A share that is ours now, and what its log told before."""

    name: str
    log: ShareLog
    entries: list[LogEntry]


class Board:
    """`through` says whether all is listed, `over` whether the round is finished, both as the last look found it.

    With `alone` shares are taken in their order.
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

    # what is known

    def __len__(self) -> int:
        return len(self._shares)

    @property
    def shares(self) -> list[Followed]:
        return list(self._shares.values())

    @property
    def all_done(self) -> bool:
        """Whether all is listed, and nothing is left of any share that is known."""
        return self.through and all(share.is_done for share in self._shares.values())

    @property
    def ours_done(self) -> bool:
        """The same of the shares that this machine may take."""
        return self.through and all(share.is_done for share in self._shares.values() if self.is_ours(share.name))

    @property
    def held(self) -> list[Followed]:
        """What another seems to work on."""
        return [share for share in self._shares.values() if share.may_be_held and not self._is_stale(share)]

    def add(self, name: str) -> Followed:
        """A share that is there, whoever says so."""
        return self._shares.setdefault(name, Followed(name, moved_at=self._clock()))

    def set_done(self, name: str, figures: DoneTally | None = None) -> None:
        """Nothing is left of it."""
        share = self.add(name)
        share.kind, share.figures = "done", figures

    def set_free(self, name: str, number: int) -> None:
        """It was given back, with the entry of this number."""
        share = self.add(name)
        share.kind, share.number, share.moved_at = "free", number, self._clock()

    # to look

    def look(self) -> None:
        """See what there is. Raises DamagedLog, PlaceError."""
        self.over = self._round.is_finished(self._place)
        if self.over:
            return
        self._list_plan()
        for figures in tally.done(self._place, self._round):
            self.add(figures.share).figures = figures
        for planned in tally.split(self._place, self._round):
            self.add(planned.share)
        self._follow(self._seen())

    def _list_plan(self) -> None:
        """What is new of it; all of it once more when the listing is through, as a number may have been put late."""
        if self.through:
            return
        last = max((job_round.number_of(name) for name in self._shares), default=0)
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

    def _seen(self) -> dict[str, int]:
        """The last number of each log that has entries, where something may be left to do."""
        seen: dict[str, int] = {}
        logs = f"{self._round.logs}/"
        for first, last in self._undone_runs():
            for entry in self._place.list(logs, logs + job_round.name_of(first)):
                name, _, number = entry.key.removeprefix(logs).partition("/")
                if not number.isdecimal() or name == "plan" or job_round.number_of(name) > last:
                    break
                seen[name] = int(number)
        return seen

    def _undone_runs(self) -> Iterator[tuple[int, int]]:
        """Numbers of the plan's shares, from first to last, between which most have something left."""
        numbers = sorted({job_round.number_of(share.name) for share in self._shares.values() if not share.is_done})
        if not numbers:
            return
        first = last = numbers[0]
        for number in numbers[1:]:
            if number - last > _GAP_SHARES:
                yield first, last
                first = number
            last = number
        yield first, last

    def _follow(self, seen: dict[str, int]) -> None:
        now = self._clock()
        moved: list[Followed] = []
        still: list[Followed] = []
        for name, number in seen.items():
            share = self.add(name)
            if share.number != number:
                share.number, share.moved_at, share.kind = number, now, None
                moved.append(share)
            elif share.kind is None:
                still.append(share)
        for share in [*still, *moved] if len(moved) <= _READ_AT_ONCE else still:
            if not share.is_done:
                self._read_last(share)

    def _read_last(self, share: Followed) -> None:
        try:
            entry = share_log.read_entry(self._place, self._round.log(share.name), share.number)
        except Missing:
            return  # the round was finished meanwhile
        share.kind, share.owner = entry.kind, entry.owner

    # to take

    def take(self) -> Taken | None:
        """Become the owner of a share that may be taken; None where there is none now. Raises DamagedLog, PlaceError.

        Where that left open whether it was done, the next call finds out. None, too, where others were sooner with
        several: what is known is old then, and one look tells of more than many tries.
        """
        for share in self._in_order()[:_MOST_TRIES]:
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
        return (share for share in self._shares.values() if self._may_be_taken(share) and self.is_ours(share.name))

    def _in_order(self) -> list[Followed]:
        return sorted(self._may_take(), key=self._turn)

    def _turn(self, share: Followed) -> tuple[bool, bytes]:
        """What was begun comes first."""
        return not share.number, self._rank(share)

    def _rank(self, share: Followed) -> bytes:
        if self._alone:
            return share.name.encode()
        return hashlib.blake2b(f"{self._owner}/{share.name}".encode(), digest_size=8).digest()

    def _may_be_taken(self, share: Followed) -> bool:
        return not share.is_done and (not share.may_be_held or self._is_stale(share))

    def _is_stale(self, share: Followed) -> bool:
        return self._clock() - share.moved_at >= share_log.STALE_SECONDS

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
        return None

    def log_of(self, name: str) -> ShareLog:
        """A share's log, nothing of it read yet."""
        return ShareLog(self._place, self._round.log(name), self._owner, self._round.finished, self._clock)
