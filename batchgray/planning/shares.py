"""A list of any length as shares: some thousand images each, sealed, written once, sorted by name.

    R/plan/00000001   a share: a sealed line of JSON that says what it is, and its images; compressed
    R/plan/ranges     how the names are cut into ranges, which are listed side by side (see `ranges`)
    R/plan/00000002   ...
    R/plan/end        the listing is through: how many shares there are, and in which order their names are

The listing streams: a share is written as soon as it is full, and work on it can begin. The first is small. The names
that follow it are listed in one stream, until there are many: only then they are cut into ranges. Shares are numbered
as they are written; each belongs to one range, and those of a range are in the order of their names. A planner may be
interrupted; the next one begins in each range after the last name that its last share tells of. Where two plan at once,
a share is what the first of them put, and the other goes on from there.

Against the results of earlier rounds a listing is held as two sorted streams (see `merging`): then shares have only
what is new, changed or failed.
"""

import collections
import contextlib
import functools
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from batchgray.errors import BatchgrayError
from batchgray.manifest import mending
from batchgray.manifest.layers import LayerEnd, Layers
from batchgray.manifest.mending import Mark
from batchgray.manifest.records import Count
from batchgray.manifest.results import Order, Result, Totals, order_of, totals_of
from batchgray.options import Format
from batchgray.planning.merging import Input, Merge, Permit, Rules, Unwanted
from batchgray.planning.planned import PlannedImage, Share, with_names
from batchgray.planning.ranges import MANY_NAMES, Range, find_borders
from batchgray.storage.base import Entry, Missing, Place, Put
from batchgray.storage.keys import key_order
from batchgray.storage.sealing import SealedRecords, UnreadableRecord
from batchgray.storage.side_by_side import SideBySide
from batchgray.texts import brief

__all__ = ["DamagedPlan", "Input", "PlanEnd", "PlannedImage", "Planner", "Share"]

Record = TypeVar("Record", bound=msgspec.Struct)

SHARE_IMAGES = 5000
FIRST_NAMES = 1000  # that the first share tells of, which the first image waits for: a store lists them with one answer
FIRST_OF_MANY = 250  # images of the first share where other machines wait for the second
_LONGEST_SHARE = 256 << 20  # bytes when it is not compressed; a name has at most some thousand
_FIRST = 1  # the number of the first share


class DamagedPlan(BatchgrayError):
    """{0} is damaged: {1}. Restore it, or convert into another place."""


class PlanEnd(msgspec.Struct, frozen=True, kw_only=True):
    """All is listed. `order` has the numbers of the shares in the order of their names; there are no others.

    So many `images` the shares tell of, those that are noted included; `all_kept` are the totals of all others.
    `ignored` and `kept` tell of what follows the last share in each range (see `Share`).
    """

    shares: Count
    images: Count
    order: list[Count]
    ignored: dict[str, Count]
    kept: Totals
    all_kept: Totals


class _Ranges(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of names, for one input after another; all that the first shares do not tell of.

    With `only_failed` nothing is listed: the round is of what failed before, and with `and_gone` of what is gone, too.
    """

    ranges: list[Range]
    only_failed: bool = False
    and_gone: bool = False


class _Overtaken(Exception):
    """Another planner was sooner."""


_SHARES = SealedRecords(Share, _LONGEST_SHARE)
_RANGES = SealedRecords(_Ranges, _LONGEST_SHARE)
_ENDS = SealedRecords(PlanEnd, _LONGEST_SHARE)


class Planner:
    """Writes the shares of a round, and reads those that are there. `prefix` is what the round's keys begin with.

    `kind_of_unwanted` says of a key why it is not taken, in a word or two, None where it is an image to convert.
    `layers` are the results of earlier rounds; with `only_failed` a round that is not begun is of what failed in these
    alone, and of what is gone `and_gone`: nothing is listed, each image is looked at. What is marked is mended too, and
    the `marks` are removed once they are in the plan. `prune` and `permit` see `merging.Rules`. `pause` is called at
    least each second while shares are planned, and may raise.
    """

    def __init__(
        self,
        job: Place,
        prefix: str,
        inputs: Sequence[Input],
        format: Format,
        kind_of_unwanted: Unwanted,
        share_images: int = SHARE_IMAGES,
        layers: Layers | None = None,
        only_failed: bool = False,
        marks: Sequence[Mark] = (),
        prune: Callable[[Result], bool] = lambda gone: False,
        pause: Callable[[], None] = lambda: None,
        permit: Permit = lambda images: images,
        and_gone: bool = False,
        first_images: int = FIRST_NAMES,
    ) -> None:
        self._job, self._prefix, self._inputs = job, prefix, inputs
        self._marks, self._share_images, self._first_images = marks, share_images, first_images
        mend = {(each.input, each.source) for mark in marks for each in mark.outputs}
        self._rules = Rules(format, kind_of_unwanted, mend, prune, permit)
        self._layers, self._only_failed, self._pause = layers, only_failed, pause
        self._and_gone = and_gone
        self._ends: list[LayerEnd] | None = None  # those of the layers, once they are known
        self._end_seen: PlanEnd | None = None  # it never changes
        self._is_from_beginning = False

    def shares(self) -> Iterator[Share]:
        """All shares in their order, each as soon as it is written. Raises as `plan` does."""
        last = 0
        while self._end_key not in (keys := self._keys()):
            with contextlib.suppress(_Overtaken):
                for share in self._plan(keys, tell_all=True):
                    if share.number > last:
                        last = share.number
                        yield share
        yield from self._read_shares(keys, last)

    def plan(self) -> Iterator[Share]:
        """Write what is missing, and give it as it is written. Raises DamagedPlan, Collisions, PlaceError."""
        while self._end_key not in (keys := self._keys()):
            with contextlib.suppress(_Overtaken):
                yield from self._plan(keys)

    def share(self, number: int) -> Share:
        """One that is written. Raises Missing, DamagedPlan, PlaceError."""
        share = _read(self._job, self._key(number), _SHARES)
        return msgspec.structs.replace(share, images=[with_names(image) for image in share.images])

    def end(self) -> PlanEnd:
        """What is known when all is listed. Raises Missing where it is not, DamagedPlan, PlaceError."""
        if self._end_seen is None:
            self._end_seen = _read(self._job, self._end_key, _ENDS)
        return self._end_seen

    def ignored_at_the_end(self) -> dict[str, int]:
        """What was not taken of the names that no share tells of. Raises Missing where the listing is not through."""
        return self.end().ignored

    def written(self) -> Iterator[Share]:
        """Those that are there by now. Raises DamagedPlan, PlaceError."""
        yield from self._read_shares(self._keys())

    def _keys(self) -> list[str]:
        """Of what is there of the plan: one request tells of a thousand shares, and of what is not there."""
        return [entry.key for entry in self._job.list(f"{self._prefix}/plan/")]

    def _read_shares(self, keys: Sequence[str], after: int = 0) -> Iterator[Share]:
        """Those behind a number. Raises DamagedPlan, PlaceError."""
        shares = (key for key in keys if key.rpartition("/")[2].isdecimal())
        for number, key in itertools.islice(enumerate(shares, 1), after, None):
            if key != self._key(number):
                raise DamagedPlan(f"{self._job.name}{key}", f"share {number} is not there")
            yield self.share(number)

    def is_through(self) -> bool:
        """Whether all is listed. Raises DamagedPlan, PlaceError."""
        try:
            self.end()
        except Missing:
            return False
        return True

    def _plan(self, keys: Sequence[str], tell_all: bool = False) -> Iterator[Share]:
        """Go on from what is there, by its keys; with `tell_all` that is given too. Raises _Overtaken."""
        writing = _Writing(self._write)
        for share in self._read_shares(keys):
            writing.found(share)
            if tell_all:
                yield share
        self._is_from_beginning = not writing.last
        found = _read(self._job, self._ranges_key, _RANGES) if self._ranges_key in keys else None
        if found is None and self._only_failed and not writing.last:
            found = self._put_ranges(_Ranges(ranges=[], only_failed=True, and_gone=self._and_gone))
        if found is not None and found.only_failed:
            yield from self._plan_failed(writing, found.and_gone)
            return
        if found is None:
            if not writing.last:
                yield from self._plan_first(writing)
            yield from self._plan_stream(writing)
            found = self._cut_ranges(writing)
        ranges = found.ranges
        rest = [self._rest_of(index, each, writing) for index, each in enumerate(ranges)]
        yield from self._plan_side_by_side(rest, writing)
        self._end(writing, len(ranges))

    def _plan_side_by_side(self, ranges: Sequence[Range], writing: "_Writing") -> Iterator[Share]:
        merges: dict[int, Merge] = {}  # of the ranges that are listed now
        with contextlib.closing(SideBySide([functools.partial(self._list, each) for each in ranges])) as listing:
            for number, entries, is_end in listing.batches(self._pause):
                merge = merges.pop(number, None) or self._merge(ranges[number])
                for _ in merge.end() if is_end else merge.add(entries):
                    if merge.size >= self._share_images:
                        yield writing.write(merge, number)
                if not is_end:
                    merges[number] = merge
                elif merge.size:
                    yield writing.write(merge, number)
                if is_end:
                    writing.leave(merge)

    def _plan_failed(self, writing: "_Writing", and_gone: bool) -> Iterator[Share]:
        """Raises _Overtaken."""
        layers = self._layers
        assert layers is not None  # else nothing has failed
        taken_up = kept = Totals()
        for input, failed in itertools.groupby(self._looked_at(layers, and_gone), lambda each: each.input):
            through = key_order(writing.through.get(input, ""))
            merge = Merge(input, self._inputs[input], self._rules)
            for result in failed:
                taken_up += totals_of([result])
                if key_order(result.source) <= through:
                    continue
                self._pause()
                merge.retry(result)
                if merge.size >= self._share_images:
                    yield writing.write(merge, input)
            if merge.size:
                yield writing.write(merge, input)
            kept += merge.kept  # which no share tells of
        writing.kept = layers.totals() - taken_up + kept
        self._end(writing, len(self._inputs))

    def _looked_at(self, layers: Layers, and_gone: bool) -> Iterator[Result]:
        """What failed, is marked, or is gone: each once."""
        marked = (found for order in sorted(self._marked()) if (found := self._find(layers, order)) is not None)
        gone = (each for each in layers.read() if each.state == "gone") if and_gone else iter(())
        all_of_them = heapq.merge(layers.failures(), marked, gone, key=order_of)
        return (next(same) for _, same in itertools.groupby(all_of_them, order_of))

    def _marked(self) -> set[Order]:
        return {(input, key_order(source)) for input, source in self._rules.mend}

    def _find(self, layers: Layers, order: Order) -> Result | None:
        """What earlier rounds know of one image."""
        input, name = order
        later = layers.read((input, name[:-1]))
        return next((each for each in later if order_of(each) >= order), None)

    def _end(self, writing: "_Writing", ranges: int) -> None:
        """All is listed."""
        end = PlanEnd(
            shares=writing.last,
            images=writing.images,
            order=writing.order(ranges),
            ignored=dict(writing.ignored),
            kept=writing.kept,
            all_kept=writing.kept + writing.kept_by_shares,
        )
        self._job.put_absent(self._end_key, _ENDS.packed(end))
        if self._is_from_beginning:  # else a mark may have come when its image was planned already
            mending.remove(self._job, self._marks)

    def _plan_first(self, writing: "_Writing") -> Iterator[Share]:
        """A small share of the first names that are listed, so that work begins while it is found how to go on."""
        whole = Range(input=0)
        merge = self._merge(whole)
        names = self._list(whole)
        for _ in merge.add(itertools.islice(names, FIRST_NAMES)):
            if merge.size >= min(self._first_images, self._share_images):
                break
        else:
            if next(names, None) is None:
                collections.deque(merge.end(), maxlen=0)
        if merge.size:
            yield writing.write(merge, 0)

    def _plan_stream(self, writing: "_Writing") -> Iterator[Share]:
        """Full shares of the names that follow, and of all that is left where these are not many.

        What many leave for the next share is listed again, with the range that it is in.
        """
        rest = Range(input=0, after=writing.through.get(0, ""))
        merge, listed = self._merge(rest), 0
        with contextlib.closing(SideBySide([lambda: itertools.islice(self._list(rest), MANY_NAMES)])) as listing:
            for _, entries, is_end in listing.batches(self._pause):
                listed += len(entries)
                if is_end and listed >= MANY_NAMES:
                    return
                for _ in merge.end() if is_end else merge.add(entries):
                    if merge.size >= self._share_images:
                        yield writing.write(merge, 0)
        if merge.size:
            yield writing.write(merge, 0)

    def _cut_ranges(self, writing: "_Writing") -> _Ranges:
        """How all is cut that follows the first shares. The first range is theirs."""
        ranges = []
        for index, (place, *_) in enumerate(self._inputs):
            whole = Range(input=index, after=writing.through.get(0, "") if index == 0 else "")
            ranges += whole.cut(find_borders(place, whole.after, pause=self._pause))
        return self._put_ranges(_Ranges(ranges=ranges))

    def _put_ranges(self, ranges: _Ranges) -> _Ranges:
        """Returns those that are there now."""
        self._job.put_absent(self._ranges_key, _RANGES.packed(ranges))
        return _read(self._job, self._ranges_key, _RANGES)

    def _rest_of(self, index: int, whole: Range, writing: "_Writing") -> Range:
        """What of a range no share tells of.

        Another planner may have put one more of the first shares before it learned of the ranges. All of these belong
        to the first range, wherever they end, and came before the shares of all others.
        """
        first = writing.through.get(0, "") if whole.input == 0 else ""
        after = max(whole.after, writing.through.get(index, ""), first, key=key_order)
        return msgspec.structs.replace(whole, after=after)

    def _list(self, each: Range) -> Iterator[Entry]:
        until = key_order(each.until)
        for entry in self._inputs[each.input].place.list(after=each.after):
            if until and key_order(entry.key) > until:
                return
            yield entry

    def _merge(self, each: Range) -> Merge:
        earlier = functools.partial(self._earlier, each.input)
        return Merge(each.input, self._inputs[each.input], self._rules, earlier, each.after, each.until)

    def _earlier(self, input: int, after: str) -> Iterator[Result]:
        """What earlier rounds know of an input, after a name."""
        if self._layers is None:
            return iter(())
        if self._ends is None:
            self._ends = self._layers.ends()
        results = self._layers.read((input, key_order(after)), self._ends)
        return itertools.takewhile(lambda result: result.input == input, results)

    def _write(self, share: Share) -> None:
        """Raises _Overtaken, PlaceError."""
        if self._job.put_absent(self._key(share.number), _SHARES.packed(share)) is Put.OTHER:
            raise _Overtaken

    @property
    def _ranges_key(self) -> str:
        return f"{self._prefix}/plan/ranges"

    @property
    def _end_key(self) -> str:
        return f"{self._prefix}/plan/end"

    def _key(self, number: int) -> str:
        return f"{self._prefix}/plan/{number:08d}"


class _Writing:
    """How far a planner is: the last share's number, and up to which name the shares of each range tell.

    `ignored` and `kept` are what no share tells of.
    """

    def __init__(self, write: Callable[[Share], None]) -> None:
        self.last = self.images = 0
        self.through: dict[int, str] = {}
        self.ignored: Counter[str] = Counter()
        self.kept = Totals()
        self.kept_by_shares = Totals()
        self._write = write
        self._numbers: dict[int, list[int]] = {}

    def write(self, merge: Merge, range: int) -> Share:
        """Write what is to be the next share. Raises _Overtaken, PlaceError."""
        share = merge.take(self.last + 1, range)
        self._write(share)
        self.found(share)
        return share

    def found(self, share: Share) -> None:
        """It is written."""
        self.last = share.number
        self.images += len(share.images) + len(share.noted)
        self.kept_by_shares += share.kept
        self.through[share.range] = share.through
        self._numbers.setdefault(share.range, []).append(share.number)

    def leave(self, merge: Merge) -> None:
        """All that follows the last share of a range."""
        self.ignored.update(merge.ignored)
        self.kept += merge.kept

    def order(self, ranges: int) -> list[int]:
        """The shares in the order of their names."""
        return [number for index in range(ranges) for number in self._numbers.get(index, [])]


def _read(place: Place, key: str, records: SealedRecords[Record]) -> Record:
    data = place.get(key)
    try:
        return records.unpack(data)
    except UnreadableRecord as error:
        raise DamagedPlan(f"{place.name}{key}", brief(str(error))) from None
