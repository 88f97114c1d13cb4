"""What lies in a job's place, read little by little: figures, signs of life, failures, images.

The tallies tell of the shares that are done; plan and log are read only of those that are not, and where a tally is
missing. So a job of ten million images is told of by a few LISTs. No image is kept: a share at a time is in memory.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Literal, TypeVar

from batchgray.errors import PlaceUnusable
from batchgray.manifest import job_head, mending, outcome, share_log, tally
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round, name_of, number_of, parent_of
from batchgray.manifest.mending import ToMend
from batchgray.manifest.records import Image, Interruption
from batchgray.manifest.share_log import Kind, LogEntry, ShareLog
from batchgray.manifest.tally import DoneTally
from batchgray.planning.job_inputs import full_name
from batchgray.planning.replay import replayed
from batchgray.planning.shares import Planner
from batchgray.storage.base import Place, PlaceError
from batchgray.storage.urls import StoreOptions, open_place

ShareState = Literal["done", "open", "free", "waiting"]

_THREADS = 16  # requests at a time
_LOOKED_AT = 50  # machines whose logs are looked at for signs of life
_LOOK_AGAIN_SECONDS = 0.2
_STATES: dict[Kind | None, ShareState] = {
    None: "waiting",
    "open": "open",
    "renew": "open",
    "free": "free",
    "done": "done",
}

_T = TypeVar("_T")
_R = TypeVar("_R")


@contextlib.contextmanager
def viewing(name: str, stores: StoreOptions) -> Iterator["JobView"]:
    """The job in the place of this name, a path or a URL. Raises BatchgrayError; PlaceUnusable within, too."""
    try:
        with contextlib.closing(open_place(full_name(name), stores)) as place:
            yield JobView(place)
    except PlaceError as error:
        raise PlaceUnusable(name, str(error)) from None


@dataclass
class Holder:
    """A machine that has a share: who, since when, and its last sign of life, both by its own clock.

    `images`, `pixels` and `seconds` are what it did of the share since it took it. `alive` is whether a sign of life
    came while its log was looked at; None where that was not for long enough to tell.
    """

    share: str
    owner: str
    since: str
    last_sign: str
    images: int
    pixels: int
    seconds: float
    alive: bool | None = None


@dataclass
class ShareFigures:
    """What a share comes to."""

    name: str
    state: ShareState
    counts: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    seconds: float = 0.0
    interruptions: list[Interruption] = field(default_factory=list)
    holder: Holder | None = None


class _OnlyRound(Round):
    """The one that a job has: what it keeps lies at the top of the job's own."""

    @property
    def prefix(self) -> str:
        return self.job


class JobView:
    """`place` is where the outputs are. What is read may raise PlaceError, DamagedPlan, DamagedLog."""

    def __init__(self, place: Place) -> None:
        """Raises PlaceError, and what `job_head.read` raises."""
        self.place = place
        self.head: JobHead = job_head.read(place)
        self.name = job_head.name_in(place)
        self.round = _OnlyRound(self.head.prefix, 1)
        self._planner = Planner(place, self.head.prefix, (), self.head.options.format, lambda _: None)

    def listed(self) -> bool:
        """Whether all INPUTs are listed."""
        return self._planner.is_through()

    def shares(self) -> Iterator[ShareFigures]:
        """All that there are by now."""
        planned = {each.share: each for each in tally.planned(self.place, self.round)}
        planned.update({each.share: each for each in tally.split(self.place, self.round)})
        done = {each.share: each for each in tally.done(self.place, self.round)}
        begun = self._begun(done)

        def figures(name: str) -> ShareFigures:
            if name in done:
                return _of_tally(done[name])
            if name in begun or name not in planned:
                return self._of_log(name)
            return ShareFigures(name, "waiting", Counter(pending=planned[name].images))

        split = {name for each in done.values() for name in _split_off(each)}
        return _side_by_side(figures, sorted({*self._planned_names(), *planned, *begun, *split}))

    def failures(self, names: Iterable[str]) -> Iterator[Image]:
        """The failed images of these shares."""
        for name in names:
            yield from (image for image in self.images_of(name) if image.state == "failed")

    def images(self) -> Iterator[Image]:
        """All images, as their logs tell of them."""
        for name in self._planned_names():
            yield from self.images_of(name)

    def images_of(self, name: str) -> list[Image]:
        """Those of a share."""
        share, entries = self._planner.share(number_of(name)), self._log(name).catch_up()
        return replayed(self.head, share, entries, self.round.log(name)).images

    def marked(self) -> dict[str, ToMend]:
        """The outputs that are marked to be made anew, by their names."""
        return {each.output: each for mark in mending.marked(self.place, self.head) for each in mark.outputs}

    def mark(self, outputs: Iterable[ToMend]) -> int:
        """Mark outputs to be made anew. Returns how many."""
        return mending.mark(self.place, self.head, outputs)

    def look_for_life(self, holders: Sequence[Holder], sleep: Callable[[float], None] = time.sleep) -> None:
        """Find out which machines are alive, by this machine's clock alone: no two clocks are compared.

        It ends at the first sign of life; without one, after the time in which a machine gives one, and another that
        it may be late.
        """
        looked = [(holder, log := self._log(holder.share), log.catch_up()) for holder in holders[:_LOOKED_AT]]
        until = time.monotonic() + 2 * share_log.RENEW_SECONDS
        over = not looked
        while not over:
            for holder, log, _ in looked:
                if new := log.catch_up():
                    holder.alive, holder.last_sign = True, new[-1].at
            over = any(holder.alive for holder, *_ in looked)
            if not over and time.monotonic() >= until:
                over = True
                for holder, *_ in looked:
                    holder.alive = False
            if not over:
                sleep(_LOOK_AGAIN_SECONDS)

    def _log(self, name: str) -> ShareLog:
        return ShareLog(self.place, self.round.log(name), "")

    def _planned_names(self) -> Iterator[str]:
        for entry in self.place.list(f"{self.round.plan}/0"):
            yield entry.key.rpartition("/")[2]

    def _begun(self, done: Mapping[str, DoneTally]) -> set[str]:
        """The shares with a log, but for those that are done: their logs are leapt over."""
        folder, begun, after = f"{self.round.logs}/", set(), ""
        while True:
            for entry in self.place.list(f"{folder}0", after):
                name = entry.key.removeprefix(folder).partition("/")[0]
                if name in done:
                    break
                begun.add(name)
            else:
                return begun
            after = f"{folder}{_last_in_a_row(done, name)}0"  # "0" is what follows "/"

    def _of_log(self, name: str) -> ShareFigures:
        share, log = self._planner.share(number_of(name)), self._log(name)
        entries = log.catch_up()
        images = replayed(self.head, share, entries, self.round.log(name)).images
        figures = outcome.figures(images)
        state = _STATES[log.state]
        return ShareFigures(
            name=name,
            state=state,
            counts=Counter(figures.counts),
            pixels=figures.pixels,
            source_bytes=figures.source_bytes,
            output_bytes=figures.output_bytes,
            seconds=sum(_seconds_between(stay[0].at, stay[-1].at) for stay in _stays(entries)),
            interruptions=[entry.interruption for entry in entries if entry.interruption],
            holder=_holder(name, entries, images) if state == "open" else None,
        )


def _of_tally(tally: DoneTally) -> ShareFigures:
    return ShareFigures(
        name=tally.share,
        state="done",
        counts=Counter(done=tally.done, failed=tally.failed),
        pixels=tally.pixels,
        source_bytes=tally.source_bytes,
        output_bytes=tally.output_bytes,
    )


def _holder(name: str, entries: Sequence[LogEntry], images: Sequence[Image]) -> Holder:
    """What the present owner of a share did since it took it."""
    stay = _stays(entries)[-1]
    done = {change.image for entry in stay for change in entry.changes if change.state == "done"}
    return Holder(
        share=name,
        owner=stay[-1].owner,
        since=stay[0].at,
        last_sign=stay[-1].at,
        images=len(done),
        pixels=sum(images[index].pixels for index in done),
        seconds=_seconds_between(stay[0].at, stay[-1].at),
    )


def _stays(entries: Iterable[LogEntry]) -> list[list[LogEntry]]:
    """The entries of each owner of a share, one after another: the times of one are of one clock."""
    stays: list[list[LogEntry]] = []
    for entry in entries:
        if not stays or stays[-1][-1].epoch != entry.epoch:
            stays.append([])
        stays[-1].append(entry)
    return stays


def _seconds_between(first: str, last: str) -> float:
    """Of two times of one clock in ISO 8601; 0 where they are none, or the clock was set back."""
    try:
        return max(0.0, (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _last_in_a_row(done: Mapping[str, DoneTally], name: str) -> str:
    """The last of those that follow a share in the order of names without one between that is not done."""
    while parent_of(name) is None and _is_through(after := name_of(number_of(name) + 1), done):
        name = after
    return name


def _is_through(name: str, done: Mapping[str, DoneTally]) -> bool:
    """Whether a share is done, and whatever was split off it."""
    return name in done and all(_is_through(each, done) for each in _split_off(done[name]))


def _split_off(tally: DoneTally) -> list[str]:
    return [f"{tally.share}-{number}" for number in range(1, tally.splits + 1)]


def _side_by_side(call: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """What a call makes of each, in order: several at a time, and no more than these ahead."""
    left = iter(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(left, 4 * _THREADS)):
            yield from pool.map(call, some)


@dataclass
class Totals:
    """What all shares come to. `with_failures` are the names of those with failed images."""

    counts: Counter[str] = field(default_factory=Counter)
    shares: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    seconds: float = 0.0
    holders: list[Holder] = field(default_factory=list)
    interruptions: list[Interruption] = field(default_factory=list)
    with_failures: list[str] = field(default_factory=list)

    def add(self, share: ShareFigures) -> None:
        self.counts.update(share.counts)
        self.shares[share.state] += 1
        self.pixels += share.pixels
        self.source_bytes += share.source_bytes
        self.output_bytes += share.output_bytes
        self.seconds += share.seconds
        self.interruptions += share.interruptions
        self.holders += [share.holder] if share.holder else []
        self.with_failures += [share.name] if share.counts["failed"] else []


def totals(shares: Iterable[ShareFigures]) -> Totals:
    """Of the shares, one after another."""
    found = Totals()
    for share in shares:
        found.add(share)
    return found
