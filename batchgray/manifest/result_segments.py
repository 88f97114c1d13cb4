"""A segment of results: compressed lines of a thousand images each, kept by columns.

So it is a third smaller than with a line for each image, and read in half the time; it is made and read piece by piece.
"""

import itertools
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from batchgray.manifest.records import Count, Milliseconds, Nanoseconds, Side
from batchgray.manifest.results import Order, Result, ResultState, order_of
from batchgray.spelling import ListBytes
from batchgray.storage.keys import key_order
from batchgray.storage.sealing import Altered, SealedRecords, TooLong, Torn, Undecodable

Pause = Callable[[], None]

LINE_IMAGES = 1000
READ_BYTES = 1 << 18
_LONGEST_LINE = 64 << 20  # bytes; names have at most some thousand


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


_LINES = SealedRecords(_Lines, _LONGEST_LINE)
_PLAIN = [name for name in _Lines.__struct_fields__ if name in Result.__struct_fields__ and "source" not in name]


class Span(NamedTuple):
    """From which image a segment tells, to which."""

    input: int
    source: str
    last: Order


class Packed(NamedTuple):
    data: bytes
    span: Span


def packed(results: Iterator[Result], most: int, pause: Pause) -> Packed | None:
    """A segment of the next results, so many at most; None where there are none."""
    deflate, pieces = zlib.compressobj(6), []
    ahead = list(itertools.islice(results, min(most, LINE_IMAGES)))
    if not ahead:
        return None
    first, count = ahead[0], 0
    while ahead:
        pause()
        some, count = ahead, count + len(ahead)
        ahead = list(itertools.islice(results, min(most - count, LINE_IMAGES)))
        pieces.append(deflate.compress(_LINES.line(_columns(some, is_last=not ahead))))
    data = b"".join([*pieces, deflate.flush()])
    return Packed(data, Span(first.input, first.source, order_of(some[-1])))


def unpacked(pieces: Iterable[bytes], after: Order | None = None) -> Iterator[Result]:
    """The results of a segment whose data comes in pieces, those after a name only. Raises UnreadableRecord."""
    for line in _lines(pieces):
        lines = _LINES.decode_line(line)
        yield from _rows(lines, after)
        if lines.is_last:
            return
    raise Torn("it is not whole")


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
                rest += inflate.decompress(piece, READ_BYTES)
            except zlib.error:
                raise Altered("it is not as it was written") from None
            *lines, rest = rest.split(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise TooLong("a line of it is longer than any that batchgray writes")
            yield from lines
            piece = inflate.unconsumed_tail
