"""Tallies of a job's shares: empty objects whose names carry figures, so that one LIST tells of a thousand shares.

    ROUND/tally/done/00000001.4990.10.59880000.15360000.4915200.61
    ROUND/tally/planned/00000001.5000.15400000

They are hints, never the truth: put after the fact, and one that is missing (its machine died in between) is made up
for by whoever reads plan and log of the share itself. A share that was split off another is called `00000001-1`, as
its log is.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from batchgray.storage.base import Place

_Tally = TypeVar("_Tally", "PlannedShare", "DoneShare")


class PlannedShare(NamedTuple):
    """A share that was put into the plan: its images, and the bytes of their inputs."""

    share: str
    images: int
    source_bytes: int


class DoneShare(NamedTuple):
    """A share with nothing left to do: its images by their state, what those that are done came to, how long it took.

    `seconds` are those in which it had an owner, each by its own clock.
    """

    share: str
    done: int
    failed: int
    pixels: int
    source_bytes: int
    output_bytes: int
    seconds: int


def put_planned(place: Place, round_prefix: str, tally: PlannedShare) -> None:
    """`round_prefix` is what the keys of all of the round's begin with. Raises PlaceError."""
    place.put(_key(round_prefix, "planned", tally), b"")


def put_done(place: Place, round_prefix: str, tally: DoneShare) -> None:
    """As `put_planned`."""
    place.put(_key(round_prefix, "done", tally), b"")


def planned(place: Place, round_prefix: str) -> Iterator[PlannedShare]:
    """In the order of the shares' names. Raises PlaceError."""
    return _read(place, _folder(round_prefix, "planned"), PlannedShare)


def done(place: Place, round_prefix: str) -> Iterator[DoneShare]:
    """In the order of the shares' names. Raises PlaceError."""
    return _read(place, _folder(round_prefix, "done"), DoneShare)


def _folder(round_prefix: str, kind: str) -> str:
    return f"{round_prefix}/tally/{kind}/"


def _key(round_prefix: str, kind: str, tally: tuple[str | int, ...]) -> str:
    return _folder(round_prefix, kind) + ".".join(map(str, tally))


def _read(place: Place, folder: str, kind: type[_Tally]) -> Iterator[_Tally]:
    """What is none is passed over, and so is a second of the same share: each is a hint alone."""
    last = ""
    for entry in place.list(folder):
        share, *figures = entry.key.removeprefix(folder).split(".")
        if share == last or len(figures) + 1 != len(kind._fields) or not all(map(_is_count, figures)):
            continue
        last = share
        yield kind(share, *map(int, figures))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
