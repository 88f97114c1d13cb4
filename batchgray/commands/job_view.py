"""What lies in a job's place, read little by little: figures, signs of life, failures, images.

The tallies tell of the shares that are done; plan and log are read only of those that are not, and where a tally is
missing. So a job of ten million images is told of by a few LISTs. No image is kept: a share at a time is in memory.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import TypeVar

from batchgray.commands.job_figures import (
    Holder,
    ShareFigures,
    ShareState,
    Stay,
    figures_of_results,
    figures_of_tally,
    holder_of,
    seconds_between,
    splits_in,
    stay_of,
    stays_in,
    work_of,
)
from batchgray.errors import PlaceUnusable
from batchgray.manifest import job_head, job_round, mending, outcome, results, share_log, tally
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import lineage_of, name_of, number_of, parent_of
from batchgray.manifest.layers import Layers
from batchgray.manifest.mending import ToMend
from batchgray.manifest.records import Image
from batchgray.manifest.results import Result
from batchgray.manifest.share_log import DamagedLog, Kind, LogEntry, ShareLog
from batchgray.manifest.tally import DoneTally
from batchgray.planning.job_inputs import full_name
from batchgray.planning.replay import replayed
from batchgray.planning.shares import Planner
from batchgray.storage import integrity
from batchgray.storage.base import Missing, Place, PlaceError
from batchgray.storage.locking import lives_here
from batchgray.storage.urls import StoreOptions, open_place

PLAN = "plan"  # how the log of whoever plans, and ends, a round is called

_THREADS = 16  # requests at a time
_SAMPLE = 100  # images
_ROUNDS_ENDED = 3  # while a job is read
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


def steadily(view: "JobView", read: Callable[["JobView"], _R]) -> _R:
    """What is read of a job, anew where its round ended meanwhile: what led to its results is removed then."""
    for _ in range(_ROUNDS_ENDED):
        try:
            found = read(view)
        except (Missing, DamagedLog):
            if not view.has_ended():
                raise
        else:
            if not view.has_ended():
                return found
        view = JobView(view.place)
    return read(view)


class JobView:
    """`place` is where the outputs are. What is read may raise PlaceError, DamagedPlan, DamagedLog."""

    def __init__(self, place: Place) -> None:
        """Raises PlaceError, and what `job_head.read` raises."""
        self.place = place
        self.head: JobHead = job_head.read(place)
        self.name = job_head.name_in(place)
        self.round = job_round.current(place, self.head.prefix)
        self._results = Layers(place, self.head.prefix)
        self._open_logs: dict[str, ShareLog] = {}
        self.is_over = self.round.number > 1 and not self.round.has_begun(place)
        self._planner = Planner(place, self.round.prefix, (), self.head.options.format, lambda _: None)

    def has_ended(self) -> bool:
        """Whether the round that was going on is over by now."""
        return not self.is_over and self.round.is_finished(self.place)

    def listed(self) -> bool:
        """Whether all INPUTs are listed."""
        return self.is_over or self._planner.is_through()

    def shares(self) -> Iterator[ShareFigures]:
        """All that there are by now; what earlier rounds came to is told as one more, without a state."""
        if self.round.number > 1:
            yield figures_of_results(self._earlier(), self.is_over)
        if self.is_over:
            return
        planned = {each.share: each for each in tally.planned(self.place, self.round)}
        planned.update({each.share: each for each in tally.split(self.place, self.round)})
        done = {each.share: each for each in tally.done(self.place, self.round)}
        begun = self._begun(done)

        def figures(name: str) -> ShareFigures:
            if name in done:
                return figures_of_tally(done[name])
            if name in begun or name not in planned:
                return self._of_log(name)
            return ShareFigures(name, "waiting", Counter(pending=planned[name].images))

        split = {name for each in done.values() for name in _split_off(each.share, each.splits)}
        yield from _side_by_side(figures, sorted({*self._planned_names(), *planned, *begun, *split}))

    def _earlier(self) -> results.Totals:
        """What this round has nothing to do with; before all is listed, what earlier rounds came to."""
        if not self.is_over:
            with contextlib.suppress(Missing):
                return self._planner.end().all_kept
        return self._results.totals()

    def planner(self) -> Holder | None:
        """The machine that lists the INPUTs, or ends the round, where one does."""
        log = self._open_logs[PLAN] = self._log(PLAN)
        entries = log.catch_up()
        return holder_of(PLAN, entries) if _STATES[log.state] == "open" else None

    def failures(self, names: Iterable[str]) -> Iterator[Image]:
        """The failed images of these shares; of a job that is over all."""
        if self.is_over:
            yield from map(_image_of, self._results.failures())
            return
        for name in names:
            yield from (image for image in self.images_of(name) if image.state == "failed")

    def images(self) -> Iterator[Image]:
        """All images, as their logs, or the results, tell of them.

        While a later round goes on, numbers that stand for its images are in memory.
        """
        if self.is_over:
            yield from map(_image_of, self._results.read())
            return
        of_round: set[int] = set()
        for name in self._planned_names():
            for image in self._images_of_all(name):
                if self.round.number > 1:
                    of_round.add(integrity.number(image.output))
                yield image
        if self.round.number > 1:
            earlier = (result for result in self._results.read() if integrity.number(result.output) not in of_round)
            yield from map(_image_of, earlier)

    def sample(self, names: Iterable[str], parts: int) -> Iterator[Image]:
        """The images of these shares; of a job that is over some from so many parts of its list, and some failures."""
        if not self.is_over:
            for name in names:
                yield from self.images_of(name)
            return
        yield from islice(self.failures(()), _SAMPLE)
        later = [start.order for end in self._results.ends()[:1] for start in end.segments[1:]]
        for after in (None, *later[:: -(-len(later) // parts) or 1]):
            done = (result for result in self._results.read(after) if result.state == "done")
            yield from map(_image_of, islice(done, _SAMPLE))

    def finished(self) -> Iterator[tuple[int, int]]:
        """When each image of rounds that are over was done (milliseconds since 1970), and how many pixels it has."""
        if self.round.number > 1:
            for result in self._results.read():
                if result.state == "done" and result.done_at_ms is not None:
                    yield result.done_at_ms, (result.width or 0) * (result.height or 0)

    def images_of(self, name: str) -> list[Image]:
        """Those of a share, without what was split off."""
        return self._read_share(name)[0]

    def _images_of_all(self, name: str) -> Iterator[Image]:
        """With all that was split off."""
        images, splits = self._read_share(name)
        yield from images
        for part in _split_off(name, splits):
            yield from self._images_of_all(part)

    def _read_share(self, name: str, own: list[LogEntry] | None = None) -> tuple[list[Image], int]:
        """A share's images, and how often it was split; `own` are the entries of its log, where they are read."""
        lineage = lineage_of(name)
        logs = [self._log(each).catch_up() for each in lineage[:-1]]
        logs.append(self._log(name).catch_up() if own is None else own)
        entries = [entry for log in logs for entry in log]
        images = replayed(self.head, self._planner.share(number_of(name)), entries, self.round.log(name)).images
        members = list(range(len(images)))
        for part, log in zip(lineage[1:], logs, strict=False):
            members = splits_in(log)[int(part.rpartition("-")[2]) - 1]
        given = {index for split in splits_in(logs[-1]) for index in split}
        return [images[index] for index in members if index not in given], len(splits_in(logs[-1]))

    def stays(self, most: int = 1000) -> list[Stay]:
        """Which machines had which shares, of `most` shares at most, taken evenly."""
        done = {each.share: each for each in tally.done(self.place, self.round)}
        spans = list(self._log_spans())
        step = -(-len(spans) // most) or 1
        return [
            stay for stays in _side_by_side(lambda span: self._stays_of(span, done), spans[::step]) for stay in stays
        ]

    def _log_spans(self) -> Iterator[tuple[str, int]]:
        """Each share with a log, and how many entries that has."""
        keys = (entry.key for entry in self.place.list(f"{self.round.logs}/0"))
        for name, some in groupby(keys, key=lambda key: key.removeprefix(f"{self.round.logs}/").partition("/")[0]):
            yield name, sum(1 for _ in some)

    def _stays_of(self, span: tuple[str, int], done: Mapping[str, DoneTally]) -> list[Stay]:
        """By the first and the last entry, where these are of one machine and a tally has the rest."""
        name, count = span
        if name in done:
            ends = [share_log.read_entry(self.place, self.round.log(name), number) for number in sorted({1, count})]
            if ends[0].epoch == ends[-1].epoch:
                return [stay_of(name, ends, done[name].done, done[name].pixels, True)]
        stays = stays_in(self._log(name).catch_up())
        return [stay_of(name, stay, *work_of(stay), stay is stays[-1]) for stay in stays]

    def marked(self) -> dict[str, ToMend]:
        """The outputs that are marked to be made anew, by their names."""
        return {each.output: each for mark in mending.marked(self.place, self.head) for each in mark.outputs}

    def mark(self, outputs: Iterable[ToMend]) -> int:
        """Mark outputs to be made anew. Returns how many."""
        return mending.mark(self.place, self.head, outputs)

    def look_for_life(self, holders: Sequence[Holder], sleep: Callable[[float], None] = time.sleep) -> None:
        """Find out which machines are alive. No clocks of two machines are compared.

        A process of this machine is there, or is not; how old an entry is a store may tell by its own clock. Else logs
        are looked at, until the first sign of life; without one, for the time in which a machine gives one, and another
        that it may be late.
        """
        for holder in holders[:_LOOKED_AT]:
            holder.alive = self._is_alive(holder)
        if any(holder.alive for holder in holders):
            return
        looked = [(holder, self._open_log(holder.share)) for holder in holders[:_LOOKED_AT] if holder.alive is None]
        until = time.monotonic() + 2 * share_log.RENEW_SECONDS
        over = not looked
        while not over:
            for holder, log in looked:
                if new := log.catch_up():
                    holder.alive, holder.last_sign = True, new[-1].at
            over = any(holder.alive for holder, _ in looked)
            if not over and time.monotonic() >= until:
                over = True
                for holder, _ in looked:
                    holder.alive = False
            if not over:
                sleep(_LOOK_AGAIN_SECONDS)

    def _is_alive(self, holder: Holder) -> bool | None:
        """What can be told at once; None where that is nothing."""
        if (lives := lives_here(holder.owner)) is not None:
            return lives
        log = self._open_log(holder.share)
        try:
            age = self.place.age(log.last_key)
        except Missing:  # the round has just been finished
            return None
        return None if age is None else age < share_log.STALE_SECONDS

    def _open_log(self, name: str) -> ShareLog:
        """That of a share that was open when it was read, as far as that was."""
        if name not in self._open_logs:
            self._open_logs[name] = self._log(name)
            self._open_logs[name].catch_up()
        return self._open_logs[name]

    def _log(self, name: str) -> ShareLog:
        return ShareLog(self.place, self.round.log(name), "", self.round.finished)

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
        log = self._log(name)
        entries = log.catch_up()
        figures = outcome.figures(self._read_share(name, entries)[0])
        state = _STATES[log.state]
        if state == "open":
            self._open_logs[name] = log
        return ShareFigures(
            name=name,
            state=state,
            counts=Counter(figures.counts),
            pixels=figures.pixels,
            source_bytes=figures.source_bytes,
            output_bytes=figures.output_bytes,
            seconds=sum(seconds_between(stay[0].at, stay[-1].at) for stay in stays_in(entries)),
            interruptions=[entry.interruption for entry in entries if entry.interruption],
            holder=holder_of(name, entries) if state == "open" else None,
        )


def _image_of(result: Result) -> Image:
    same = {name: getattr(result, name) for name in Image.__struct_fields__ if name in Result.__struct_fields__}
    tiles = int(result.state == "done")
    return Image(root=result.input, tiles_done=tiles, tiles_total=tiles or None, **same)


def _last_in_a_row(done: Mapping[str, DoneTally], name: str) -> str:
    """The last of those that follow a share in the order of names without one between that is not done."""
    while parent_of(name) is None and _is_through(after := name_of(number_of(name) + 1), done):
        name = after
    return name


def _is_through(name: str, done: Mapping[str, DoneTally]) -> bool:
    """Whether a share is done, and whatever was split off it."""
    return name in done and all(_is_through(each, done) for each in _split_off(name, done[name].splits))


def _split_off(name: str, splits: int) -> list[str]:
    return [f"{name}-{number}" for number in range(1, splits + 1)]


def _side_by_side(call: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """What a call makes of each, in order: several at a time, and no more than these ahead."""
    left = iter(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(left, 4 * _THREADS)):
            yield from pool.map(call, some)
