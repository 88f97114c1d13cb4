"""What became of a job's images, as records that are kept once a round is over: sorted by input and name."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from batchgray.manifest.records import Count, Milliseconds, Nanoseconds, Side
from batchgray.records import InputVersion
from batchgray.spelling import Bytes
from batchgray.storage.keys import key_order

ResultState = Literal["done", "failed", "gone", "pruned"]
Order = tuple[int, bytes]


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
