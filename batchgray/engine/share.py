"""A share of a job as the engine takes it: a plan in memory, tasks, and its log for books."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchgray.engine import pace
from batchgray.engine.backlog import Backlog
from batchgray.engine.tasks import ListedTasks
from batchgray.manifest import job_round, outcome, tally
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import Image, ImageChange, ImageState, Interruption, Manifest
from batchgray.manifest.share_log import DamagedLog, LogEntry, ShareLog
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.ownclock import machine_clock
from batchgray.planning.replay import replayed
from batchgray.planning.shares import Share
from batchgray.records import Task
from batchgray.storage.base import Place, PlaceError
from batchgray.storage.lease import Lease

SPLIT_SECONDS = 1.0  # of work that each part of a split share has at least; to hand it over takes some requests

# What the plan says of an image already, and what is known of the copy that was converted.
_OF_THE_COPY = {"size": msgspec.UNSET, "mtime_ns": msgspec.UNSET}
_MOST_PARTS = 8


@dataclass
class SharePlan:
    """A share ready to be worked on. Indices are into the images of the plan's share, of which `members` are its own.

    `todo` are those of them with work, `already_done` counts those that are done, `splits` how often it was split.
    `was_begun` is whether anybody had it before. `flight` is the machine's folder of what is in flight.
    """

    name: str
    share: Share
    manifest: Manifest
    members: list[int]
    splits: int
    was_begun: bool
    flight: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        states = [self.manifest.images[index].state for index in self.members]
        pairs = zip(self.members, states, strict=True)
        self.todo = [index for index, state in pairs if state not in ("done", "failed")]
        self.already_done = states.count("done")

    @property
    def images(self) -> list[Image]:
        """Its own."""
        return [self.manifest.images[index] for index in self.members]

    def states(self) -> Counter[ImageState]:
        """How many of its images are in each state."""
        return Counter(image.state for image in self.images)

    def give_away(self, images: Collection[int]) -> None:
        """They are a share of their own from now on."""
        given = set(images)
        self.members = [index for index in self.members if index not in given]
        self.todo = [index for index in self.todo if index not in given]

    @property
    def tally(self) -> DoneTally:
        """What it came to."""
        figures = outcome.figures(self.images)
        return DoneTally(
            share=self.name,
            done=figures.counts["done"],
            failed=figures.counts["failed"],
            pixels=figures.pixels,
            source_bytes=figures.source_bytes,
            output_bytes=figures.output_bytes,
            splits=self.splits,
        )


def plan_of(head: JobHead, share: Share, name: str, lineage: Sequence[Sequence[LogEntry]]) -> SharePlan:
    """A share with what the logs tell: its own is the last of `lineage`, before it are those that it was split off.

    Raises DamagedLog.
    """
    entries = [entry for log in lineage for entry in log]
    manifest = replayed(head, share, entries, name)
    members = list(range(len(share.images)))
    for name_of_part, log in zip(job_round.lineage_of(name)[1:], lineage, strict=False):
        members = _part_of(log, int(name_of_part.rpartition("-")[2]), name)
    splits = [entry.split for entry in lineage[-1] if entry.split]
    plan = SharePlan(name, share, manifest, members, len(splits), was_begun=bool(entries))
    plan.give_away([index for split in splits for index in split])
    return plan


def _part_of(log: Sequence[LogEntry], number: int, name: str) -> list[int]:
    splits = [entry.split for entry in log if entry.split]
    if not 1 <= number <= len(splits):
        raise DamagedLog(name, "no log tells which images it has")
    return splits[number - 1]


class ShareTasks(ListedTasks):
    """What a share wants done. `handed_out` are the images, by their indices, that were asked for."""

    def __init__(self, plan: SharePlan, resumable: Collection[int], books: "ShareBooks") -> None:
        super().__init__(plan.share.images, plan.todo, resumable)
        self._plan, self._books = plan, books
        self.handed_out: set[int] = set()

    def task(self, index: int) -> Task:
        """See `backlog.Tasks`."""
        image = self._plan.share.images[index]
        self.handed_out.add(index)
        return self._task(index, image.source, image.replaces)

    def share_out(self, backlog: Backlog) -> None:
        """Give parts of what waits to machines that are idle, where that pays."""
        self._books.share_out(backlog)


class _Split(NamedTuple):
    """Images to be given away, and the mark of the machine that they are for."""

    images: list[int]
    mark: str


class ShareBooks:
    """The log of a share as the ledger writes it (see `ledger.Books`). `path` is what the job is called.

    `lease` tells the workers of each time that the share is renewed. With `joined`, other machines may be idle.
    """

    def __init__(
        self,
        path: str,
        plan: SharePlan,
        place: Place,
        round: Round,
        log: ShareLog,
        lease: Lease,
        joined: bool,
        clock: Callable[[], float] = machine_clock,
    ) -> None:
        self.path: str = path
        self.commit_has_all = True
        self._plan, self._place, self._round = plan, place, round
        self._log, self._lease, self._joined, self._clock = log, lease, joined, clock
        lease.extend(log.certain_until)
        self._interruption: Interruption | None = None
        self._began = self._looked_at = clock()
        self._left, self._done = self._bytes(plan.todo), 0  # bytes of sources
        self._idle: list[str] = []  # marks of machines that wait for a part of this share
        self._splits: deque[_Split] = deque()
        self._others_wait = False  # for splits that were not tried to be put yet

    def commit(self, manifest: Manifest) -> None:
        """Close the share where nothing is left of it, or give it back."""
        self._put_splits()
        finished = manifest.state in ("complete", "complete_with_failures")
        self._log.sync("done" if finished else "free", self._interruption)

    def record(self, changes: list[ImageChange]) -> None:
        self._done += self._bytes(change.image for change in changes if change.state == "done")
        self._left -= self._bytes(change.image for change in changes if change.state in ("done", "failed"))
        self._log.record([msgspec.structs.replace(change, **_OF_THE_COPY) for change in changes])

    def record_interruption(self, interruption: Interruption) -> None:
        self._interruption = msgspec.structs.replace(interruption, run=None)

    def sync(self) -> None:
        self._put_splits()
        if self._log.unsynced:
            self._log.sync(left=self._seconds_left)
        self._lease.extend(self._log.certain_until)
        if self._look_is_due:
            self._look_for_idle()

    @property
    def unsynced(self) -> bool:
        return bool(self._splits) or self._log.unsynced

    @property
    def hurries(self) -> bool:
        return self._others_wait or self._look_is_due

    def close(self) -> None:
        """There is nothing to let go of."""

    def share_out(self, backlog: Backlog) -> None:
        """See `ShareTasks`."""
        if not self._idle or not self._done:
            return
        marks, self._idle = self._idle, []
        parts = min(len(marks), int(self._seconds(backlog.bytes) / SPLIT_SECONDS) - 1, len(backlog) - 1)
        if parts > 0:
            for images, mark in zip(backlog.give_away(parts), marks, strict=False):
                self._plan.give_away(images)
                self._left -= self._bytes(images)
                self._splits.append(_Split(images, mark))
            self._others_wait = True

    def _bytes(self, images: Iterable[int]) -> int:
        return sum(self._plan.share.images[index].size for index in images)

    def _seconds(self, size: int) -> float:
        """That so many bytes will take, by what was done so far."""
        return size * (self._clock() - self._began) / self._done

    def _put_splits(self) -> None:
        self._others_wait = False
        while self._splits:
            self._put_split(self._splits[0])
            self._splits.popleft()

    def _put_split(self, split: _Split) -> None:
        self._log.sync(split=split.images, left=self._seconds_left)
        self._plan.splits += 1
        part = PlannedTally(f"{self._plan.name}-{self._plan.splits}", len(split.images), self._bytes(split.images))
        with contextlib.suppress(PlaceError):  # hints
            tally.put_planned(self._place, self._round, part)
            self._place.delete(split.mark)

    @property
    def _seconds_left(self) -> int | None:
        return max(0, round(self._seconds(self._left))) if self._joined and self._done else None

    @property
    def _look_is_due(self) -> bool:
        return self._joined and self._clock() - self._looked_at >= pace.split_seconds(self._seconds_left)

    def _look_for_idle(self) -> None:
        self._looked_at = self._clock()
        with contextlib.suppress(PlaceError):
            found = [entry.key for entry in self._place.list(f"{self._round.idle(self._plan.name)}/")]
            self._idle = found[:_MOST_PARTS]
