"""The log of a share: its manifest, its lock and its fence in one, with `put_absent` as the only primitive.

    PREFIX/00000001   open   epoch 1   taken by whoever put it
    PREFIX/00000002   renew            results; an empty one after RENEW_SECONDS of silence
    PREFIX/00000003   free             given back at a notice
    PREFIX/00000004   open   epoch 2   taken by another
    PREFIX/00000005   done             nothing is left to do

The rules, and why they hold:

- Entries are numbered from 1 without gaps, and never changed. Of several that put the same number, one creates it; the
  others read what stands there. So the order of entries is the order of what happened, at every place.
- A share is taken by an entry "open", with the next epoch: where the last entry gives it free, or where its number has
  not moved for STALE_SECONDS by the looker's own clock. No clocks of two machines are ever compared.
- Every entry renews. Who finds somebody else's entry under the next number has lost the share (ShareLost): it writes
  and deletes nothing more.
- An answer may be lost, and the put be done. So a put that was not answered is tried again under the same number with
  the same bytes; where an entry stands there already, its nonce says whose it is.
- An owner that could not renew for DOUBT_SECONDS by its own clock, which is less than STALE_SECONDS, hands out and
  publishes nothing until it can.
- The log never leads: what an entry tells was durable before the entry was put. An entry of a paused owner that comes
  late finds its number taken; one whose number is free tells what is true.
- A finished round's logs are removed, and with them what fences a late owner. So a mark is put before, and whoever has
  put an entry looks for the mark afterwards: where it is, the entry is removed again, and the share is lost.
- A share is split by an entry that names the images it gives away. From that entry on they are a share of their own,
  with its own log: NUMBER-1, NUMBER-2, ... as the entries come.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, NoReturn

import msgspec

from batchgray.errors import BatchgrayError
from batchgray.manifest.records import Count, ImageChange, Interruption, utc_now
from batchgray.ownclock import machine_clock
from batchgray.storage.base import Missing, Place, Put
from batchgray.storage.sealing import SealedRecords, UnreadableRecord
from batchgray.texts import brief

RENEW_SECONDS = 10.0
DOUBT_SECONDS = 20.0
STALE_SECONDS = 30.0
AWAY_SECONDS = 300.0  # after which a place that does not answer is given up

Kind = Literal["open", "renew", "free", "done"]
_ENDINGS = ("free", "done")
_FINISHED = "others, who have finished all"
_LONGEST_ENTRY = 256 << 20  # bytes; the changes of a whole share come nowhere near


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an owner put under the next number. `nonce` is its own; `at` is for people only, UTC in ISO 8601.

    `split` are the images, by their indices in the plan's share, that are a share of their own from now on. `left` are
    the seconds that the owner will take for what is left, where it knows: for machines that would do a part of it.
    """

    kind: Kind
    epoch: Count
    nonce: str
    owner: str
    at: str
    changes: list[ImageChange] = []
    interruption: Interruption | None = None
    split: list[Count] = []
    left: Count | None = None


class ShareLost(BatchgrayError):
    """Another machine has taken share {0} over ({1}). It goes on there from the last checkpoint."""


class DamagedLog(BatchgrayError):
    """{0} is damaged: {1}. Restore it, or convert into another place."""


_ENTRIES = SealedRecords(LogEntry, _LONGEST_ENTRY)


class _Pending(NamedTuple):
    """An entry that was put, and not answered yet."""

    number: int
    entry: LogEntry
    data: bytes
    sent_at: float  # when it was sent first: others may have seen it, and begun to count, ever since


class ShareLog:
    """One share's log, as one process sees it. Taken or not, it can be followed with `catch_up`.

    `mark` is the key of what says that the logs are removed. The owner's `record` and `sync` may be called by
    different threads. `last_alone` is for a log whose entries tell nothing but who owns it: of those that are new to
    this process only the last is read.
    """

    def __init__(
        self,
        place: Place,
        prefix: str,
        owner: str,
        mark: str,
        clock: Callable[[], float] = machine_clock,
        last_alone: bool = False,
    ) -> None:
        self._place, self._prefix, self._owner, self._mark, self._clock = place, prefix, owner, mark, clock
        self._last_alone = last_alone
        self._recording, self._syncing = threading.Lock(), threading.Lock()
        self._last: LogEntry | None = None
        self._number = 0
        self._moved_at = self._renewed_at = self._looked_at = clock()
        self._unsent: list[ImageChange] = []
        self._unseen: list[LogEntry] = []  # read, and not given to anybody yet
        self._pending: _Pending | None = None
        self._owned_epoch: int | None = None

    @property
    def state(self) -> Kind | None:
        """Of the last entry; None where there is none."""
        return self._last.kind if self._last else None

    @property
    def number(self) -> int:
        """Of the last entry; 0 where there is none."""
        return self._number

    @property
    def last_key(self) -> str:
        """The key of the last entry."""
        return self._key(self._number)

    @property
    def epoch(self) -> int:
        """How often the share was taken."""
        return self._last.epoch if self._last else 0

    @property
    def owner(self) -> str:
        """Who put the last entry, for people."""
        return self._last.owner if self._last else ""

    @property
    def is_ours(self) -> bool:
        """Whether this process owns the share, as far as it knows: others may have it as soon as it was given back."""
        is_ending = self._pending is not None and self._pending.entry.kind in _ENDINGS
        return self._owned_epoch == self.epoch and self.state not in _ENDINGS and not is_ending

    def catch_up(self) -> list[LogEntry]:
        """The entries since the last look that came to its end; none where they are removed, as the round is over.

        Raises DamagedLog, PlaceError.
        """
        self._looked_at = self._clock()
        try:
            self._follow()
        except (DamagedLog, Missing):  # a late machine may have put one where others are gone
            if not self._is_over():
                raise
        found, self._unseen = self._unseen, []
        return found

    def _follow(self) -> None:
        last = self._number
        for last in self._numbers_after(self._number):
            if not self._last_alone or self._is_pending(last):
                self._take_in(last)
        if last > self._number:
            self._take_in(last)

    def _numbers_after(self, number: int) -> Iterator[int]:
        """Of the entries that follow. Raises DamagedLog where one is missing."""
        after = self._key(number) if number else ""
        for each in self._place.list(f"{self._prefix}/", after):
            number += 1
            if each.key != self._key(number):
                raise DamagedLog(f"{self._place.name}{each.key}", f"entry {number} is not there")
            yield number

    def _take_in(self, number: int) -> None:
        entry = self._read(number)
        self._advance(number, entry)
        self._unseen.append(entry)

    def _is_pending(self, number: int) -> bool:
        return self._pending is not None and self._pending.number == number

    def looked_within(self, seconds: float) -> bool:
        """Whether `catch_up` was called so short a time ago."""
        return self._clock() - self._looked_at < seconds

    def stood_since(self, number: int, moment: float) -> None:
        """Another saw, at this moment of the clock, that the last entry had this number."""
        if number == self._number:
            self._moved_at = min(self._moved_at, moment)

    def can_be_taken(self) -> bool:
        """Whether nobody works on it, by what `catch_up` has seen, and when."""
        if self.state in (None, "free"):
            return True
        return self.state != "done" and self._clock() - self._moved_at >= STALE_SECONDS

    def take(self) -> bool:
        """Become the owner, if it can be taken and no other is sooner. Raises PlaceError.

        Where that left open whether it was done, the next call finds out.
        """
        try:
            if self._pending is not None:
                self._put(self._pending)
            elif self.can_be_taken():
                self._put(self._made("open", self.epoch + 1))
        except ShareLost:
            pass  # what the other has done since is none of our business
        return self.is_ours

    def record(self, changes: list[ImageChange]) -> None:
        """What is true now; in the log after the next `sync`."""
        with self._recording:
            self._unsent += changes

    @property
    def unsynced(self) -> bool:
        """Whether there is something to put: what was recorded, or a sign of life."""
        return bool(self._unsent or self._pending) or self._clock() - self._renewed_at >= RENEW_SECONDS

    @property
    def certain_until(self) -> float:
        """Until when, by the clock, no other machine may take the share, with time to spare."""
        return self._renewed_at + DOUBT_SECONDS

    @property
    def in_doubt(self) -> bool:
        """Whether another machine may soon take the share, as this one could not renew."""
        return self._clock() >= self.certain_until

    @property
    def is_given_up(self) -> bool:
        """Whether it could not be renewed for so long that waiting any longer makes no sense."""
        return self._clock() >= self._renewed_at + AWAY_SECONDS

    def sync(
        self,
        kind: Kind = "renew",
        interruption: Interruption | None = None,
        split: list[int] | None = None,
        left: int | None = None,
    ) -> None:
        """Put what was recorded; `free` gives the share back, `done` closes it. Raises ShareLost, PlaceError.

        `split` are images to be given away, for which this share has recorded all that it ever will; `left` are the
        seconds of work that are left.

        After a PlaceError nothing is forgotten: the next call tries the same again, before all else.
        """
        with self._syncing:
            if self._pending is not None:
                entry = self._pending.entry
                self._put(self._pending)
                if entry.kind in _ENDINGS or (split and entry.split == split):
                    return
            if not self.is_ours:
                raise ShareLost(self._name, self.owner)
            with self._recording:
                changes, self._unsent = self._unsent, []
            self._put(self._made(kind, self.epoch, changes, interruption, split, left))

    def _made(
        self,
        kind: Kind,
        epoch: int,
        changes: list[ImageChange] | None = None,
        interruption: Interruption | None = None,
        split: list[int] | None = None,
        left: int | None = None,
    ) -> _Pending:
        entry = LogEntry(
            kind=kind,
            epoch=epoch,
            nonce=os.urandom(8).hex(),
            owner=self._owner,
            at=utc_now(),
            changes=changes or [],
            interruption=interruption,
            split=split or [],
            left=left,
        )
        return _Pending(self._number + 1, entry, _ENTRIES.packed(entry), self._clock())

    def _put(self, pending: _Pending) -> None:
        """Raises ShareLost, PlaceError."""
        self._pending = pending
        there = pending.entry
        if self._place.put_absent(self._key(pending.number), pending.data) is not Put.CREATED:
            try:
                there = self._read(pending.number)
            except Missing:
                if self._is_over():
                    self._lose_all()
                raise
        if there.nonce == pending.entry.nonce and self._is_over():
            self._place.delete(self._key(pending.number))
            self._lose_all()
        self._advance(pending.number, there)
        if there.nonce != pending.entry.nonce:
            raise ShareLost(self._name, self.owner)

    def _lose_all(self) -> NoReturn:
        """Raises ShareLost."""
        self._pending, self._owned_epoch = None, None
        raise ShareLost(self._name, _FINISHED)

    def _advance(self, number: int, entry: LogEntry) -> None:
        """One entry further; it may be the one that was put without an answer, or stand in its place."""
        self._number, self._last, self._moved_at = number, entry, self._clock()
        if self._pending is not None and self._is_pending(number):
            pending, self._pending = self._pending, None
            if pending.entry.nonce == entry.nonce:
                self._renewed_at = pending.sent_at
                if entry.kind == "open":
                    self._owned_epoch = entry.epoch

    def _is_over(self) -> bool:
        try:
            self._place.stat(self._mark)
        except Missing:
            return False
        return True

    @property
    def _name(self) -> str:
        return self._prefix.rpartition("/")[2]

    def _key(self, number: int) -> str:
        return _key_of(self._prefix, number)

    def _read(self, number: int) -> LogEntry:
        return read_entry(self._place, self._prefix, number)


def read_entry(place: Place, prefix: str, number: int) -> LogEntry:
    """An entry of the log with this prefix. Raises Missing, DamagedLog, PlaceError."""
    key = _key_of(prefix, number)
    data = place.get(key)
    try:
        return _ENTRIES.unpack(data)
    except UnreadableRecord as error:
        raise DamagedLog(f"{place.name}{key}", brief(str(error))) from None


def read_log(place: Place, prefix: str, threads: ThreadPoolExecutor) -> list[LogEntry]:
    """All entries of a log, several asked for at once. Raises Missing, DamagedLog, PlaceError."""
    keys = [each.key for each in place.list(f"{prefix}/")]
    for number, key in enumerate(keys, 1):
        if key != _key_of(prefix, number):
            raise DamagedLog(f"{place.name}{key}", f"entry {number} is not there")
    return list(threads.map(lambda number: read_entry(place, prefix, number), range(1, len(keys) + 1)))


def _key_of(prefix: str, number: int) -> str:
    return f"{prefix}/{number:08d}"
