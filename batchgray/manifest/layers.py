"""Layers of results: what became of a job's images, kept for good once a round is over, in the order of their names.

    JOB/results/0002-000001   a segment of the layer that round 2 left: some 100,000 images, sealed and compressed
    JOB/results/0002-failed-000001   its failures once more, so that those who ask for them read no more than these
    JOB/results/0002-end      the layer is whole: where its segments begin, and the totals of the job since this round

A layer says what was new or changed in its round. All layers are read as one stream in which the later round wins; none
of them is ever held in memory. So that there are never many, a new layer takes in those before it that are no larger
than itself twice over: its end says from which round on it tells.

What is written is made of what stands fast (plan and logs of a round whose shares are done), so whoever writes a layer
writes the same; one that was interrupted is gone on with behind its last segment.
"""

import bisect
import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from batchgray.errors import BatchgrayError
from batchgray.manifest.records import Count
from batchgray.manifest.result_segments import LINE_IMAGES, READ_BYTES, Pause, Span, packed, unpacked
from batchgray.manifest.results import Order, Result, Totals, order_of, totals_of
from batchgray.spelling import Bytes
from batchgray.storage.base import Place, Put
from batchgray.storage.keys import key_order
from batchgray.storage.sealing import SealedRecords, UnreadableRecord
from batchgray.texts import brief

SEGMENT_IMAGES = 100_000
_TIMES_LARGER = 2


class DamagedResults(BatchgrayError):
    """{0} is damaged: {1}. Restore it, or convert into another place."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first image of a segment."""

    input: Count
    source: str
    source_base64: Bytes = msgspec.UNSET

    @property
    def order(self) -> Order:
        return self.input, key_order(self.source)


class LayerEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is whole: it tells of the rounds from `first` on. `totals` are of the whole job since it."""

    round: Count
    first: Count
    images: Count
    segments: list[Start]
    failed_segments: Count
    totals: Totals


_ENDS = SealedRecords(LayerEnd, 256 << 20)


class Layers:
    """The results of a job's rounds, as far as they are over. `job` is what the keys of all that is its own begin with.

    Every method raises DamagedResults and PlaceError.
    """

    def __init__(self, place: Place, job: str, segment_images: int = SEGMENT_IMAGES) -> None:
        self._place, self._prefix, self._segment_images = place, f"{job}/results/", segment_images

    def ends(self) -> list[LayerEnd]:
        """The layers that count, the latest first."""
        ends: list[LayerEnd] = []
        keys = [entry.key for entry in self._place.list(self._prefix) if entry.key.endswith("-end")]
        for key in reversed(keys):
            if not ends or self._round_of(key) < ends[-1].first:
                ends.append(self._end(key))
        return ends

    def totals(self) -> Totals:
        """Of the whole job, since the last round that is over."""
        ends = self.ends()
        return ends[0].totals if ends else Totals()

    def read(self, after: Order | None = None, ends: Sequence[LayerEnd] | None = None) -> Iterator[Result]:
        """The images of all layers in their order, those after `after` only; of each what the last round says.

        Those that are pruned are left out. `ends` are those of the layers, where they are known.
        """
        streams = [self._read(end, after) for end in (self.ends() if ends is None else ends)]
        return (result for result in _latest(streams) if result.state != "pruned")

    def failures(self) -> Iterator[Result]:
        """The failed images in their order. The last layer has all of them, as every round tries again what failed."""
        for end in self.ends()[:1]:
            for number in range(1, end.failed_segments + 1):
                yield from self._segment(self._failed_key(end.round, number))

    def write(
        self, round: int, images: int, results: Iterable[Result], kept: Totals, pause: Pause = lambda: None
    ) -> LayerEnd:
        """Write the layer of a round of so many images: what became of them, in their order.

        `kept` are the totals of all that the round had nothing to do with. Where the layer is whole already, nothing is
        done; where it is begun, it is gone on with. `pause` is called now and then, and may raise.
        """
        ends = self.ends()
        if ends and ends[0].round >= round:
            return ends[0]
        taken_in = _taken_in(ends, images)
        first = taken_in[-1].first if taken_in else round
        own = _Counted(results)
        merged = _latest([iter(own), *(self._read(end) for end in taken_in)])
        whole = _Counted(result for result in merged if first > 1 or result.state != "pruned")
        starts = self._write_segments(round, whole, pause)
        end = LayerEnd(
            round=round,
            first=first,
            images=whole.count,
            segments=starts,
            failed_segments=self._write_failed(round, len(starts), pause),
            totals=own.totals + kept,
        )
        self._place.put_absent(self._end_key(round), _ENDS.packed(end))
        return self._end(self._end_key(round))

    def sweep(self) -> None:
        """Remove the layers that later ones took in, and what was begun of them. For whoever has written the last."""
        ends = self.ends()
        rounds = {end.round for end in ends}
        for entry in [*self._place.list(self._prefix)] if ends else ():
            round = self._round_of(entry.key)
            if round < ends[0].round and round not in rounds:
                self._place.delete(entry.key)

    def _write_segments(self, round: int, results: Iterable[Result], pause: Pause) -> list[Start]:
        """Those that are not there yet, of them and of the others where they begin."""
        starts, last = self._begun(round)
        waiting = (result for result in results if last is None or order_of(result) > last)
        while segment := packed(waiting, self._segment_images, pause):
            key = self._key(round, len(starts) + 1)
            if self._place.put_absent(key, segment.data) is Put.OTHER and self._span(key) != segment.span:
                raise DamagedResults(f"{self._place.name}{key}", "it tells of other images than the plan")
            starts.append(_start_of(segment.span))
        return starts

    def _begun(self, round: int) -> tuple[list[Start], Order | None]:
        """Where the segments of a layer that is begun begin, and the last image that they tell of."""
        starts: list[Start] = []
        last = None
        for entry in self._place.list(f"{self._prefix}{round:04d}-0"):
            span = self._span(entry.key)
            starts.append(_start_of(span))
            last = span.last
        return starts, last

    def _span(self, key: str) -> Span:
        results = self._segment(key)
        first = next(results)
        last = deque(results, maxlen=1)
        return Span(first.input, first.source, order_of(last[0] if last else first))

    def _write_failed(self, round: int, segments: int, pause: Pause) -> int:
        found = (result for number in range(1, segments + 1) for result in self._segment(self._key(round, number)))
        failed = (result for result in found if result.state == "failed")
        count = 0
        while segment := packed(failed, self._segment_images, pause):
            count += 1
            self._place.put_absent(self._failed_key(round, count), segment.data)
        return count

    def _read(self, end: LayerEnd, after: Order | None = None) -> Iterator[Result]:
        """One layer. Only the segments that may hold what is wanted are read."""
        begin = 1
        if after is not None:
            begin = max(1, bisect.bisect_right(end.segments, after, key=lambda start: start.order))
        for number in range(begin, len(end.segments) + 1):
            yield from self._segment(self._key(end.round, number), after)

    def _segment(self, key: str, after: Order | None = None) -> Iterator[Result]:
        """Read piece by piece, so that it is never whole in memory."""
        try:
            yield from unpacked(self._pieces(key), after)
        except UnreadableRecord as error:
            raise DamagedResults(f"{self._place.name}{key}", brief(str(error))) from None

    def _pieces(self, key: str) -> Iterator[bytes]:
        for start in itertools.count(0, READ_BYTES):
            piece = self._place.get(key, start=start, end=start + READ_BYTES)
            yield piece
            if len(piece) < READ_BYTES:
                return

    def _end(self, key: str) -> LayerEnd:
        try:
            return _ENDS.unpack(self._place.get(key))
        except UnreadableRecord as error:
            raise DamagedResults(f"{self._place.name}{key}", brief(str(error))) from None

    def _round_of(self, key: str) -> int:
        number = key[len(self._prefix) :].partition("-")[0]
        return int(number) if number.isdecimal() else 0

    def _end_key(self, round: int) -> str:
        return f"{self._prefix}{round:04d}-end"

    def _key(self, round: int, number: int) -> str:
        return f"{self._prefix}{round:04d}-{number:06d}"

    def _failed_key(self, round: int, number: int) -> str:
        return f"{self._prefix}{round:04d}-failed-{number:06d}"


class _Counted:
    """Passes results on, and adds them up."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.count = 0
        self.totals = Totals()
        self._results = results

    def __iter__(self) -> Iterator[Result]:
        results = iter(self._results)
        while some := list(itertools.islice(results, LINE_IMAGES)):
            self.count += len(some)
            self.totals += totals_of(some)
            yield from some


def _taken_in(ends: Sequence[LayerEnd], images: int) -> list[LayerEnd]:
    """The layers that one of so many images takes in, the latest first."""
    found: list[LayerEnd] = []
    for end in ends:
        if end.images > _TIMES_LARGER * images:
            break
        found.append(end)
        images += end.images
    return found


def _latest(streams: Sequence[Iterator[Result]]) -> Iterator[Result]:
    """Sorted streams as one; of an image that several tell of, what the first of them says."""
    last = None
    for result in heapq.merge(*streams, key=order_of):  # of equal ones it gives those of the first stream first
        order = order_of(result)
        if order != last:
            last = order
            yield result


def _start_of(span: Span) -> Start:
    return Start(input=span.input, source=span.source)
