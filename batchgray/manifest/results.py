"""Results: what became of a job's images, kept for good once a round is over, in the order of their names.

    JOB/results/0002-000001   a segment of the layer that round 2 left: some 100,000 images, sealed and compressed
    JOB/results/0002-failed-000001   its failures once more, so that those who ask for them read no more than these
    JOB/results/0002-end      the layer is whole: where its segments begin, and the totals of the job since this round

A layer says what was new or changed in its round. All layers are read as one stream in which the later round wins; none
of them is ever held in memory. So that there are never many, a new layer takes in those before it that are no larger
than itself twice over: its end says from which round on it tells.

What is written is made of what stands fast (plan and logs of a round whose shares are done), so whoever writes a layer
writes the same; one that was interrupted is gone on with behind its last segment. In a segment images are kept by
columns, a thousand to a line: so it is a third smaller than a line an image, and read in half the time.
"""

import bisect
import heapq
import itertools
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from batchgray.errors import BatchgrayError
from batchgray.manifest.records import Count, Milliseconds, Nanoseconds, Side
from batchgray.records import InputVersion
from batchgray.spelling import Bytes, ListBytes
from batchgray.storage.base import Place, Put
from batchgray.storage.keys import key_order
from batchgray.storage.sealing import Altered, SealedRecords, TooLong, Torn, Undecodable, UnreadableRecord
from batchgray.texts import brief

ResultState = Literal["done", "failed", "gone", "pruned"]
Pause = Callable[[], None]

SEGMENT_IMAGES = 100_000
_LINE_IMAGES = 1000
_LONGEST_LINE = 64 << 20  # bytes; names have at most some thousand
_READ_BYTES = 1 << 18
_TIMES_LARGER = 2


class DamagedResults(BatchgrayError):
    """{0} is damaged: {1}. Restore it, or convert into another place."""


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one image: `source` below the job's input of this number, `output` below the output place.

    `checksum`, `output_size` and `done_at_ms` tell of the output that was made of it, if one was. An image whose input
    is not there any more is gone; `was_done` says that it is done again when its input comes back as it was. One that
    is pruned is as if it had never been.
    """

    input: Count
    source: str
    source_base64: Bytes = msgspec.UNSET
    output: str
    output_base64: Bytes = msgspec.UNSET
    state: ResultState
    size: Count
    mtime_ns: Nanoseconds
    etag: str = ""
    width: Side | None = None
    height: Side | None = None
    output_size: Count | None = None
    checksum: str | None = None
    done_at_ms: Milliseconds | None = None
    error: str | None = None
    note: str | None = None
    was_done: bool = False

    @property
    def version(self) -> InputVersion:
        """Which version of the input it tells of."""
        return InputVersion(self.size, self.mtime_ns, self.etag)

    @property
    def finished(self) -> bool:
        """Whether its output was made, also where its input is gone since."""
        return self.state == "done" or self.was_done


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How many images are in each state; pixels and bytes of those that are done."""

    done: Count = 0
    failed: Count = 0
    gone: Count = 0
    pixels: Count = 0
    source_bytes: Count = 0
    output_bytes: Count = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(**{name: getattr(self, name) - getattr(other, name) for name in self.__struct_fields__})

    @property
    def images(self) -> int:
        return self.done + self.failed + self.gone


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first image of a segment."""

    input: Count
    source: str
    source_base64: Bytes = msgspec.UNSET

    @property
    def order(self) -> "Order":
        return self.input, key_order(self.source)


class LayerEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is whole: it tells of the rounds from `first` on. `totals` are of the whole job since it."""

    round: Count
    first: Count
    images: Count
    segments: list[Start]
    failed_segments: Count
    totals: Totals


class _Lines(msgspec.Struct, frozen=True, kw_only=True):
    """Some images by columns; an output is what stands `before` and `after` its source's name without the suffix."""

    input: list[Count]
    source: list[str]
    source_base64: ListBytes = msgspec.UNSET
    before: list[str]
    before_base64: ListBytes = msgspec.UNSET
    after: list[str]
    after_base64: ListBytes = msgspec.UNSET
    state: list[ResultState]
    size: list[Count]
    mtime_ns: list[Nanoseconds]
    etag: list[str]
    width: list[Side | None]
    height: list[Side | None]
    output_size: list[Count | None]
    checksum: list[str | None]
    done_at_ms: list[Milliseconds | None]
    error: list[str | None]
    note: list[str | None]
    was_done: list[bool]
    is_last: bool


Order = tuple[int, bytes]

_LINES = SealedRecords(_Lines, _LONGEST_LINE)
_ENDS = SealedRecords(LayerEnd, 256 << 20)
_PLAIN = [name for name in _Lines.__struct_fields__ if name in Result.__struct_fields__ and "source" not in name]


def order_of(result: Result) -> Order:
    """What results are sorted by: the input's number, then the name's bytes."""
    return result.input, key_order(result.source)


def totals_of(results: Iterable[Result]) -> Totals:
    """What some of them come to."""
    counts = {"done": 0, "failed": 0, "gone": 0, "pruned": 0}
    pixels = source_bytes = output_bytes = 0
    for result in results:
        counts[result.state] += 1
        if result.state == "done":
            pixels += (result.width or 0) * (result.height or 0)
            source_bytes += result.size
            output_bytes += result.output_size or 0
    del counts["pruned"]
    return Totals(**counts, pixels=pixels, source_bytes=source_bytes, output_bytes=output_bytes)


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
        while segment := _packed(waiting, self._segment_images, pause):
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

    def _span(self, key: str) -> "_Span":
        results = self._segment(key)
        first = next(results)
        last = deque(results, maxlen=1)
        return _Span(first.input, first.source, order_of(last[0] if last else first))

    def _write_failed(self, round: int, segments: int, pause: Pause) -> int:
        found = (result for number in range(1, segments + 1) for result in self._segment(self._key(round, number)))
        failed = (result for result in found if result.state == "failed")
        count = 0
        while segment := _packed(failed, self._segment_images, pause):
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
            for line in _lines(self._pieces(key)):
                lines = _LINES.decode_line(line)
                yield from _rows(lines, after)
                if lines.is_last:
                    return
            raise Torn("it is not whole")
        except UnreadableRecord as error:
            raise DamagedResults(f"{self._place.name}{key}", brief(str(error))) from None

    def _pieces(self, key: str) -> Iterator[bytes]:
        for start in itertools.count(0, _READ_BYTES):
            piece = self._place.get(key, start=start, end=start + _READ_BYTES)
            yield piece
            if len(piece) < _READ_BYTES:
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


class _Span(NamedTuple):
    """From which image a segment tells, to which."""

    input: int
    source: str
    last: Order


class _Packed(NamedTuple):
    data: bytes
    span: _Span


class _Counted:
    """Passes results on, and adds them up."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.count = 0
        self.totals = Totals()
        self._results = results

    def __iter__(self) -> Iterator[Result]:
        results = iter(self._results)
        while some := list(itertools.islice(results, _LINE_IMAGES)):
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


def _packed(results: Iterator[Result], most: int, pause: Pause) -> _Packed | None:
    """A segment of the next results, so many at most; None where there are none."""
    deflate, pieces = zlib.compressobj(6), []
    ahead = list(itertools.islice(results, min(most, _LINE_IMAGES)))
    if not ahead:
        return None
    first, count = ahead[0], 0
    while ahead:
        pause()
        some, count = ahead, count + len(ahead)
        ahead = list(itertools.islice(results, min(most - count, _LINE_IMAGES)))
        pieces.append(deflate.compress(_LINES.line(_columns(some, is_last=not ahead))))
    data = b"".join([*pieces, deflate.flush()])
    return _Packed(data, _Span(first.input, first.source, order_of(some[-1])))


def _columns(results: Sequence[Result], is_last: bool) -> _Lines:
    names = [_divided(result) for result in results]
    plain = {name: [getattr(result, name) for result in results] for name in _PLAIN}
    return _Lines(
        source=[result.source for result in results],
        before=[before for before, _ in names],
        after=[after for _, after in names],
        is_last=is_last,
        **plain,
    )


def _rows(lines: _Lines, after: Order | None) -> Iterator[Result]:
    """Those after a name. Raises Undecodable."""
    try:
        begin = 0
        if after is not None:
            begin = sum(order <= after for order in zip(lines.input, map(key_order, lines.source), strict=True))
        columns = [getattr(lines, name)[begin:] for name in ("source", "before", "after", *_PLAIN)]
        for source, before, rest, *values in zip(*columns, strict=True):
            output = before + os.path.splitext(source)[0] + rest if rest else before
            yield Result(source=source, output=output, **dict(zip(_PLAIN, values, strict=True)))
    except ValueError:
        raise Undecodable("its columns are not of one length") from None


def _divided(result: Result) -> tuple[str, str]:
    """What stands before and after the source's name in the output's; where it is not in there, all stands before."""
    before, stem, after = result.output.partition(os.path.splitext(result.source)[0])
    return (before, after) if stem and after else (result.output, "")


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of what is compressed, each when it is whole. Raises UnreadableRecord."""
    inflate, rest = zlib.decompressobj(), b""
    for piece in pieces:
        while piece:
            try:
                rest += inflate.decompress(piece, _READ_BYTES)
            except zlib.error:
                raise Altered("it is not as it was written") from None
            *lines, rest = rest.split(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise TooLong("a line of it is longer than any that batchgray writes")
            yield from lines
            piece = inflate.unconsumed_tail


def _start_of(span: _Span) -> Start:
    return Start(input=span.input, source=span.source)
