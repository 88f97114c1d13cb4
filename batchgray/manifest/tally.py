"""Tallies: empty objects whose names carry figures of a share, so that one LIST tells of a thousand shares.

    R/tally/planned/00000001.5000.123456789            images, bytes
    R/tally/split/00000001-1.200.3456789               the same of what was split off
    R/tally/taken/00000001                             a machine has taken it, at one time or another
    R/tally/done/00000001.4799.1.PIXELS.IN.OUT.1       done, failed, pixels, bytes in and out, how often it was split

They are put after the fact, and are hints: the truth is in the plan and the logs, and one that is missing is made up
for by whoever reads these.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from batchgray.manifest.job_round import Round
from batchgray.storage.base import Place


class PlannedTally(NamedTuple):
    """How many images a share has, and of how many bytes."""

    share: str
    images: int
    size: int


class TakenTally(NamedTuple):
    """A share's log has an entry."""

    share: str


class DoneTally(NamedTuple):
    """What became of a share's images; `pixels` and bytes are of those that are done. `splits` were split off."""

    share: str
    done: int
    failed: int
    pixels: int
    source_bytes: int
    output_bytes: int
    splits: int


Tally = TypeVar("Tally", PlannedTally, TakenTally, DoneTally)


def put_planned(place: Place, round: Round, tally: PlannedTally) -> None:
    """Of a share of the plan, or of one that was split off. Raises PlaceError."""
    _put(place, round, "split" if "-" in tally.share else "planned", tally)


def put_taken(place: Place, round: Round, share: str) -> None:
    """Raises PlaceError."""
    _put(place, round, "taken", TakenTally(share))


def put_done(place: Place, round: Round, tally: DoneTally) -> None:
    """Raises PlaceError."""
    _put(place, round, "done", tally)


def planned(place: Place, round: Round) -> Iterator[PlannedTally]:
    """Raises PlaceError, as all that follow."""
    return _listed(place, round, "planned", PlannedTally)


def split(place: Place, round: Round, known: set[str] | None = None) -> Iterator[PlannedTally]:
    """Those whose keys are not in `known`, which they are added to."""
    return _listed(place, round, "split", PlannedTally, known)


def taken(place: Place, round: Round, known: set[str] | None = None) -> Iterator[TakenTally]:
    """The same."""
    return _listed(place, round, "taken", TakenTally, known)


def done(place: Place, round: Round, known: set[str] | None = None) -> Iterator[DoneTally]:
    """The same."""
    return _listed(place, round, "done", DoneTally, known)


def _put(place: Place, round: Round, kind: str, tally: PlannedTally | TakenTally | DoneTally) -> None:
    place.put_absent(f"{round.tally}/{kind}/{'.'.join(map(str, tally))}", b"")


def _listed(place: Place, round: Round, kind: str, form: type[Tally], known: set[str] | None = None) -> Iterator[Tally]:
    """What is no such name, whoever made it, is passed over."""
    known = set() if known is None else known
    for entry in place.list(f"{round.tally}/{kind}/"):
        if entry.key in known:
            continue
        known.add(entry.key)
        share, *figures = entry.key.rpartition("/")[2].split(".")
        numbers = share.split("-") + figures
        if len(figures) + 1 == len(form._fields) and all(map(str.isdecimal, numbers)):
            yield form(share, *map(int, figures))
