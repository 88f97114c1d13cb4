"""What `verify --mend` found damaged in a job: outputs to be made anew, until a later round of it has taken them up.

    JOB/mend/20261126T200000Z-1f2e3d4c   some outputs, each with what it is made of: sealed and compressed

The log of a share that is done, and results, are never changed. So a mark stands beside them, wins over them, and
outlives the end of a round. The next `run` or `resume` plans what is marked like an input that changed, with outputs
that may be replaced whatever they hold, and removes the marks that it read once the plan is whole: a mark that came
meanwhile has another name.
"""

import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

import msgspec

from batchgray.errors import BatchgrayError
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.records import Count
from batchgray.spelling import Bytes
from batchgray.storage.base import Missing, Place
from batchgray.storage.sealing import SealedRecords, UnreadableRecord
from batchgray.texts import brief

_OUTPUTS = 10_000  # in an object
_LONGEST = 256 << 20


class DamagedMark(BatchgrayError):
    """{0} is damaged: {1}. Remove it, and have `batchgray verify --mend` look again."""


class ToMend(msgspec.Struct, frozen=True, kw_only=True):
    """An output to be made anew of `source`, in the job's input `input`, counted from 0."""

    input: Count
    source: str
    source_base64: Bytes = msgspec.UNSET
    output: str
    output_base64: Bytes = msgspec.UNSET


class _Marks(msgspec.Struct, frozen=True, kw_only=True):
    outputs: list[ToMend]


class Mark(NamedTuple):
    """One object of marks: its key, for `remove`, and what it marks."""

    key: str
    outputs: list[ToMend]


_RECORDS = SealedRecords(_Marks, _LONGEST)
_KEY = re.compile(r"[0-9A-Za-z-]+")


def mark(place: Place, head: JobHead, outputs: Iterable[ToMend]) -> int:
    """Mark outputs to be made anew. Returns how many. Raises PlaceError."""
    count, left = 0, iter(outputs)
    while some := list(islice(left, _OUTPUTS)):
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.urandom(4).hex()}"
        place.put_absent(f"{_folder(head)}{name}", _RECORDS.packed(_Marks(outputs=some)))
        count += len(some)
    return count


def marked(place: Place, head: JobHead) -> Iterator[Mark]:
    """What is marked by now; an output may be so more than once. Raises DamagedMark, PlaceError."""
    for entry in place.list(_folder(head)):
        if not _KEY.fullmatch(entry.key.removeprefix(_folder(head))):
            continue
        try:
            yield Mark(entry.key, _RECORDS.unpack(place.get(entry.key)).outputs)
        except Missing:  # taken up meanwhile
            continue
        except UnreadableRecord as error:
            raise DamagedMark(f"{place.name}{entry.key}", brief(str(error))) from None


def remove(place: Place, marks: Iterable[Mark]) -> None:
    """They are in the plan of a round. Raises PlaceError."""
    for each in marks:
        place.delete(each.key)


def _folder(head: JobHead) -> str:
    return f"{head.prefix}/mend/"
