"""The figures of the report's two charts, from the runs of a manifest. Pure: no I/O, no clock.

The charts' time is working time: pauses between runs, which may be days, are bands of one width. Coordinates are
percent of the plot, x from the left and y from the bottom.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from math import ceil
from typing import NamedTuple

from batchgray import quantities
from batchgray.commands.sessions import Converted, Ending, Session

_POINTS = 500
_BINS = 90
_BIN_MS = 1000
_PAUSE_WIDTH = 2.5  # percent of the plot, while there are few
_PAUSES_WIDTH = 30.0  # of all together
_LABELS_APART = 34.0
_TICKS = 5
_SECONDS = (1, 2, 5, 10, 15, 30)
_STEPS = (*_SECONDS, *(60 * n for n in _SECONDS), *(3600 * n for n in (1, 2, 3, 6, 12)))
_DAY = 86400


class Tick(NamedTuple):
    at: float
    label: str


class Pause(NamedTuple):
    """The band between two runs. `label` is "" where there is no room for it."""

    x: float
    width: float
    label: str


class Stop(NamedTuple):
    """The moment that a run ended before its work did."""

    x: float
    ending: Ending


class Bar(NamedTuple):
    x: float
    width: float
    height: float


@dataclass(kw_only=True)
class Charts:
    """`line` are the corners of images done over time; `bars` are megapixels a second."""

    line: list[tuple[float, float]]
    bars: list[Bar]
    pauses: list[Pause]
    stops: list[Stop]
    times: list[Tick]
    counts: list[Tick]
    rates: list[Tick]


def charts(found: Sequence[Session], total: int, before: int) -> Charts:
    """Draw the sessions, at least one. `before` images of `total` were done at a time that is not known."""
    axis = _Axis(found)
    counts = _count_ticks(max(1, total))
    rates = [
        (session, first, last, sum(item.pixels for item in items) / 1e3 / (last - first))
        for session in found
        for first, last, items in _bins(session, axis.working_ms)
    ]
    highest = _ticks(max((rate for *_, rate in rates), default=0.0))
    return Charts(
        line=[(x, 100 * done / counts[-1]) for x, done in _line(found, axis, before)],
        bars=[
            Bar(axis.x(session, first), axis.x(session, last) - axis.x(session, first), 100 * rate / highest[-1])
            for session, first, last, rate in rates
            if rate
        ],
        pauses=_pauses(found, axis),
        stops=[
            Stop(axis.x(session, session.end_ms), session.ending)
            for session in found
            if session.ending in ("interrupted", "died")
        ],
        times=_time_ticks(axis),
        counts=[Tick(100 * done / counts[-1], f"{done:,.0f}") for done in counts],
        rates=[Tick(100 * rate / highest[-1], f"{rate:,g}") for rate in highest],
    )


class _Axis:
    """Where a moment of a session stands."""

    def __init__(self, found: Sequence[Session]) -> None:
        lengths = [session.end_ms - session.start_ms for session in found]
        self._before = [0, *accumulate(lengths)]
        self.working_ms = max(1, self._before[-1])
        self.pause = min(_PAUSE_WIDTH, _PAUSES_WIDTH / max(1, len(found) - 1))
        self._scale = (100 - self.pause * (len(found) - 1)) / self.working_ms

    def x(self, session: Session, at_ms: int) -> float:
        index = session.number - 1
        inside = min(max(0, at_ms - session.start_ms), session.end_ms - session.start_ms)
        return (self._before[index] + inside) * self._scale + self.pause * index

    def x_of_work(self, worked_ms: int) -> float:
        index = max(0, bisect_right(self._before, worked_ms, hi=len(self._before) - 1) - 1)
        return worked_ms * self._scale + self.pause * index


def _line(found: Sequence[Session], axis: _Axis, before: int) -> list[tuple[float, int]]:
    """Corners of the line: every session's ends, and evenly chosen images between."""
    step = max(1, sum(len(session.converted) for session in found) // _POINTS)
    corners, done = [], before
    for session in found:
        corners.append((axis.x(session, session.start_ms), done))
        until = list(accumulate((item.images for item in session.converted), initial=done))
        for index in range(step - 1, len(session.converted), step):
            corners.append((axis.x(session, session.converted[index].at_ms), until[index + 1]))
        done = until[-1]
        corners.append((axis.x(session, session.end_ms), done))
    return corners


def _bins(session: Session, working_ms: int) -> list[tuple[int, int, list[Converted]]]:
    """A session cut into pieces of equal length, with the images that were done in each, its end included."""
    length = session.end_ms - session.start_ms
    if not length:
        return []
    wanted = max(1, min(length // _BIN_MS, _BINS * length // working_ms))
    edges = [session.start_ms + length * index // wanted for index in range(wanted + 1)]
    pieces: list[list[Converted]] = [[] for _ in range(wanted)]
    for item in session.converted:
        pieces[min(max(0, bisect_left(edges, item.at_ms) - 1), wanted - 1)].append(item)
    return [(first, last, items) for (first, last), items in zip(pairwise(edges), pieces, strict=True)]


def _pauses(found: Sequence[Session], axis: _Axis) -> list[Pause]:
    pauses, free_from = [], 0.0
    for session, after in pairwise(found):
        x = axis.x(session, session.end_ms)
        middle, label = x + axis.pause / 2, ""
        if free_from <= middle <= 100 - _LABELS_APART / 2:
            label, free_from = (
                quantities.rounded_duration((after.start_ms - session.end_ms) / 1000),
                middle + _LABELS_APART,
            )
        pauses.append(Pause(x, axis.pause, label))
    return pauses


def _time_ticks(axis: _Axis) -> list[Tick]:
    seconds = axis.working_ms / 1000
    days = int(-(-seconds // (_TICKS * _DAY))) * _DAY
    step = next((step for step in _STEPS if seconds / step <= _TICKS), days)
    return [Tick(axis.x_of_work(at * 1000), quantities.rounded_duration(at)) for at in range(0, int(seconds) + 1, step)]


def _ticks(highest: float, least: float = 0.1) -> list[float]:
    """From 0, in steps of 1, 2 or 5 times a power of ten and of `least` or more, to `highest` or just above it."""
    step = next(
        step
        for power in count(-1)
        for n in (1, 2, 5)
        if (step := n * 10.0**power) >= least and highest / step <= _TICKS
    )
    return [step * index for index in range(max(1, ceil(highest / step)) + 1)]


def _count_ticks(total: int) -> list[float]:
    """The highest is the total itself."""
    return [*(at for at in _ticks(total, 1) if at < 0.93 * total), total]
