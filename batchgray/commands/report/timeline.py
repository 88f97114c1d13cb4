"""Machines over time: which of them had shares of a job, and when. Pure: no I/O, no clock.

The times of each machine are of its own clock; they are drawn together for people to look at, and nothing follows from
it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batchgray.commands.job_view import Stay
from batchgray.commands.sessions import Converted, Session
from batchgray.manifest.records import Run

_ROWS = 40
_POINTS = 20  # a share's images over its time
_SHORT_MS = 1000


class Bar(NamedTuple):
    """A share on a machine: percent of the width, and how it ended."""

    x: float
    width: float
    ending: str
    share: str


@dataclass(kw_only=True)
class Row:
    """A machine. `images` are those of its shares whose figures are known."""

    owner: str
    start_ms: int
    end_ms: int
    bars: list[Bar]
    shares: int
    images: int
    ending: str


@dataclass(kw_only=True)
class Timeline:
    """The machines that came first, and how many more there were."""

    rows: list[Row]
    more: int
    start_ms: int
    end_ms: int


def timeline(stays: Sequence[Stay], most: int = _ROWS) -> Timeline | None:
    """A row for each machine, in the order in which they came; None where there was none."""
    if not stays:
        return None
    start, end = min(stay.start_ms for stay in stays), max(stay.end_ms for stay in stays)
    of: dict[str, list[Stay]] = {}
    for stay in sorted(stays, key=lambda stay: stay.start_ms):
        of.setdefault(stay.owner, []).append(stay)
    owners = sorted(of, key=lambda owner: of[owner][0].start_ms)
    scale = 100 / max(1, end - start)
    return Timeline(
        rows=[_row(owner, of[owner], start, scale) for owner in owners[:most]],
        more=max(0, len(owners) - most),
        start_ms=start,
        end_ms=end,
    )


def _row(owner: str, stays: Sequence[Stay], start: int, scale: float) -> Row:
    return Row(
        owner=owner,
        start_ms=stays[0].start_ms,
        end_ms=max(stay.end_ms for stay in stays),
        bars=[
            Bar((stay.start_ms - start) * scale, (stay.end_ms - stay.start_ms) * scale, stay.ending, stay.share)
            for stay in stays
        ],
        shares=len(stays),
        images=sum(stay.images for stay in stays),
        ending=stays[-1].ending,
    )


def busy_times(stays: Iterable[Stay], workers: int = 0) -> list[Session]:
    """The times in which any machine was at work, as sessions: so the charts are those of runs."""
    found: list[Session] = []
    for stay in sorted(stays, key=lambda stay: stay.start_ms):
        if not found or stay.start_ms > found[-1].end_ms + _SHORT_MS:
            run = Run(at=stay.began, workers=workers, found=None)
            found.append(
                Session(number=len(found) + 1, run=run, interruption=None, start_ms=stay.start_ms, end_ms=stay.start_ms)
            )
        found[-1].end_ms = max(found[-1].end_ms, stay.end_ms)
        found[-1].converted += _converted(stay)
    for session in found:
        session.converted.sort()
    return found


def _converted(stay: Stay) -> list[Converted]:
    """A share's images, spread over the time that it took."""
    points = min(_POINTS, stay.images)
    length = stay.end_ms - stay.start_ms
    return [
        Converted(
            stay.start_ms + length * (index + 1) // points,
            stay.pixels * (index + 1) // points - stay.pixels * index // points,
            stay.images * (index + 1) // points - stay.images * index // points,
        )
        for index in range(points)
    ]
