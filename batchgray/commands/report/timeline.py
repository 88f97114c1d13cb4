"""Machines over time: which of them had shares of a job, and when. Pure: no I/O, no clock.

The times of each machine are of its own clock; they are drawn together for people to look at, and nothing follows from
it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from batchgray.commands.job_figures import Stay
from batchgray.commands.sessions import Converted, Session
from batchgray.manifest.records import Run

_ROWS = 40
_POINTS = 20  # a share's images over its time
_SHORT_MS = 1000
_PAUSE_MS = 60_000
_STEPS = 20_000


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


def busy_times(stays: Iterable[Stay]) -> list[Session]:
    """The times in which any machine was at work, as sessions: so the charts are those of runs."""
    found: list[Session] = []
    for stay in sorted(stays, key=lambda stay: stay.start_ms):
        if not found or stay.start_ms > found[-1].end_ms + _SHORT_MS:
            found.append(_session(len(found) + 1, stay.start_ms))
        found[-1].end_ms = max(found[-1].end_ms, stay.end_ms)
        found[-1].converted += _converted(stay)
    for session in found:
        session.converted.sort()
    return found


def times_of(finished: Iterable[tuple[int, int]]) -> list[Session]:
    """The same from the time of each image, in milliseconds since 1970, and its pixels: pauses are what is long.

    Images are taken together by steps of time, which double as often as memory asks for it.
    """
    step, work = _SHORT_MS, dict[int, tuple[int, int]]()
    for at_ms, pixels in finished:
        _add(work, at_ms // step, 1, pixels)
        if len(work) > _STEPS:
            step, work = 2 * step, _coarser(work)
    found: list[Session] = []
    for at in sorted(work):
        if not found or at * step > found[-1].end_ms + max(step, _PAUSE_MS):
            found.append(_session(len(found) + 1, at * step))
        found[-1].end_ms = (at + 1) * step
        images, pixels = work[at]
        found[-1].converted.append(Converted((at + 1) * step, pixels, images))
    return found


def _coarser(work: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for at, (images, pixels) in work.items():
        _add(found, at // 2, images, pixels)
    return found


def _add(work: dict[int, tuple[int, int]], at: int, images: int, pixels: int) -> None:
    before = work.get(at, (0, 0))
    work[at] = before[0] + images, before[1] + pixels


def _session(number: int, start_ms: int) -> Session:
    run = Run(at=datetime.fromtimestamp(start_ms / 1000, UTC), workers=0, found=None)
    return Session(number=number, run=run, interruption=None, start_ms=start_ms, end_ms=start_ms)


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
