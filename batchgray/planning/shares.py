"""A list of any length as shares: some thousand images each, sealed, written once, in the order of their names.

    JOB/plan/00000001   a share: a sealed line of JSON that says what it is, then an image a line; compressed
    ...
    JOB/plan/end        how many there are: the listing is through

The listing streams: a share is written as soon as it is full, and work on it can begin. The rule of output names needs
no more than neighbours, as names that are equal but for the suffix follow each other in the order of names. A planner
may be interrupted; the next one begins after the last name of the last share. Where two plan at once, a share is what
the first of them put.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

import msgspec

from batchgray.errors import BatchgrayError
from batchgray.manifest.records import Count, Nanoseconds
from batchgray.options import Format
from batchgray.planning.discovery import Found, assign_outputs
from batchgray.records import InputVersion
from batchgray.spelling import is_utf8
from batchgray.storage.base import Entry, Missing, Place, Put
from batchgray.storage.sealing import SealedRecords, UnreadableRecord
from batchgray.texts import brief

Record = TypeVar("Record", bound=msgspec.Struct)

SHARE_IMAGES = 5000
_LONGEST_SHARE = 256 << 20  # bytes when it is not compressed; a name has at most some thousand


class DamagedPlan(BatchgrayError):
    """{0} is damaged: {1}. Restore it, or convert into another place."""


class PlannedImage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One image of a share: `source` below the share's input, `output` below the output place.

    `names` has both as bytes, with a zero byte between, where they are not UTF-8, as a folder's may not be.
    """

    source: str
    output: str
    size: Count
    mtime_ns: Nanoseconds
    etag: str = ""
    names: bytes = b""

    @property
    def version(self) -> InputVersion:
        """Which version of the input was planned."""
        return InputVersion(self.size, self.mtime_ns, self.etag)


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """So many images of one input: `input` counts the job's inputs from 0, `number` its shares from 1.

    `ignored` counts by type what was not taken of the names up to its last one, since the share before.
    """

    number: Count
    input: Count
    ignored: dict[str, Count]
    images: list[PlannedImage]


class _PlanEnd(msgspec.Struct, frozen=True, kw_only=True):
    shares: Count
    ignored: dict[str, Count]


class Input(NamedTuple):
    """Where images are listed, and the folder below the output place that mirrors it: "", or `name/`."""

    place: Place
    mirrored: str


class _Wanted(NamedTuple):
    entry: Entry
    left_out: Counter[str]  # the kinds of what stands before it and is not taken


_SHARES = SealedRecords(Share, _LONGEST_SHARE)
_ENDS = SealedRecords(_PlanEnd, _LONGEST_SHARE)


class Planner:
    """Writes a job's shares, and reads those that are there.

    `kind_of_unwanted` says of a key why it is not taken, in a word or two, None where it is an image to convert.
    """

    def __init__(
        self,
        job: Place,
        prefix: str,
        inputs: Sequence[Input],
        format: Format,
        kind_of_unwanted: Callable[[str], str | None],
        share_images: int = SHARE_IMAGES,
    ) -> None:
        self._job, self._prefix, self._inputs, self._format = job, prefix, inputs, format
        self._kind_of_unwanted, self._share_images = kind_of_unwanted, share_images

    def shares(self) -> Iterator[Share]:
        """All shares in their order, each as soon as it is written. Raises DamagedPlan, Collisions, StorageError."""
        last: Share | None = None
        for last in self.written():
            yield last
        if self.is_through():
            return
        number, begin, after = 1, 0, ""
        if last is not None:
            number, begin, after = last.number + 1, last.input, last.images[-1].source
        ignored: Counter[str] = Counter()
        for index in range(begin, len(self._inputs)):
            listed = self._inputs[index].place.list(after=after if index == begin else "")
            for images, left_out in self._cut(index, self._wanted(listed, ignored)):
                share = self._write(Share(number=number, input=index, ignored=dict(left_out), images=images))
                number += 1
                yield share
        self._put_end(number - 1, ignored)

    def share(self, number: int) -> Share:
        """One that is written. Raises Missing, DamagedPlan, StorageError."""
        share = _read(self._job, self._key(number), _SHARES)
        return msgspec.structs.replace(share, images=[_with_names(image) for image in share.images])

    def ignored_at_the_end(self) -> dict[str, int]:
        """What was not taken of the names after the last share's. Raises Missing where the listing is not through."""
        return _read(self._job, self._end_key, _ENDS).ignored

    def written(self) -> Iterator[Share]:
        """Those that are there by now. Raises DamagedPlan, StorageError."""
        for number, entry in enumerate(self._job.list(f"{self._prefix}/plan/0"), 1):
            if entry.key != self._key(number):
                raise DamagedPlan(f"{self._job.name}{entry.key}", f"share {number} is not there")
            yield self.share(number)

    def is_through(self) -> bool:
        """Whether all is listed. Raises DamagedPlan, StorageError."""
        try:
            self.ignored_at_the_end()
        except Missing:
            return False
        return True

    def _put_end(self, shares: int, ignored: Counter[str]) -> None:
        self._job.put(self._end_key, _ENDS.packed(_PlanEnd(shares=shares, ignored=dict(ignored))))

    def _write(self, share: Share) -> Share:
        key = self._key(share.number)
        if self._job.put_absent(key, _SHARES.packed(share)) is Put.OTHER:
            return self.share(share.number)
        return share

    def _cut(self, index: int, wanted: Iterable[_Wanted]) -> Iterator[tuple[list[PlannedImage], Counter[str]]]:
        images: list[PlannedImage] = []
        left_out: Counter[str] = Counter()
        for _, neighbours in groupby(wanted, lambda each: _stem(each.entry.key)):
            together = list(neighbours)
            images += self._planned(index, [each.entry for each in together])
            for each in together:
                left_out.update(each.left_out)
            if len(images) >= self._share_images:
                yield images, left_out
                images, left_out = [], Counter()
        if images:
            yield images, left_out

    def _wanted(self, listed: Iterable[Entry], ignored: Counter[str]) -> Iterator[_Wanted]:
        """The images; `ignored` counts what is left out since the last of them."""
        for entry in listed:
            kind = self._kind_of_unwanted(entry.key)
            if kind is None:
                yield _Wanted(entry, Counter(ignored))
                ignored.clear()
            else:
                ignored[kind] += 1

    def _planned(self, index: int, neighbours: list[Entry]) -> Iterator[PlannedImage]:
        place, mirrored = self._inputs[index]
        found = [
            Found(place.name, entry.key, mirrored + entry.key, entry.version.size, entry.version.mtime_ns)
            for entry in neighbours
        ]
        for entry, output in zip(neighbours, assign_outputs(found, self._format), strict=True):
            version = entry.version
            names = b"" if is_utf8(entry.key) else os.fsencode(f"{entry.key}\0{output}")
            yield PlannedImage(entry.key, output, version.size, version.mtime_ns, version.etag, names)

    @property
    def _end_key(self) -> str:
        return f"{self._prefix}/plan/end"

    def _key(self, number: int) -> str:
        return f"{self._prefix}/plan/{number:08d}"


def _with_names(image: PlannedImage) -> PlannedImage:
    """An image that was read: where its names are not UTF-8, they were spelled for people."""
    if not image.names:
        return image
    source, output = map(os.fsdecode, image.names.split(b"\0"))
    return msgspec.structs.replace(image, source=source, output=output)


def _stem(key: str) -> str:
    """What names have in common that could come out as the same: all up to the first dot of the last part."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _read(place: Place, key: str, records: SealedRecords[Record]) -> Record:
    data = place.get(key)
    try:
        return records.unpack(data)
    except UnreadableRecord as error:
        raise DamagedPlan(f"{place.name}{key}", brief(str(error))) from None
