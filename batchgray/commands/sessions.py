"""What a manifest tells of its runs over time: when each was at work, what it made, how it ended. Pure: no clock."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Literal, NamedTuple

from batchgray.manifest.records import Image, Interruption, Manifest, Run

Ending = Literal["running", "interrupted", "died", "finished"]

_LAST_MS = 253_402_300_799_000  # the last second of the year 9999


class Converted(NamedTuple):
    """An image that is done, or several: when, and of how many pixels together."""

    at_ms: int
    pixels: int
    images: int = 1


@dataclass(kw_only=True)
class Session:
    """A run with the images that are done since, and how it ended. `number` counts from 1."""

    number: int
    run: Run
    interruption: Interruption | None
    start_ms: int
    end_ms: int
    ending: Ending = "finished"
    converted: list[Converted] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return (self.end_ms - self.start_ms) / 1000 if self.run.seconds is None else self.run.seconds

    @property
    def images(self) -> int:
        return sum(item.images for item in self.converted)

    @property
    def pixels(self) -> int:
        return sum(item.pixels for item in self.converted)


def sessions(document: Manifest, running: bool, now_ms: int) -> list[Session]:
    """The runs in their order; `running` says whether the last one still is."""
    # Two machines' clocks may differ: a run begins no earlier than the one before it.
    starts = list(accumulate((_since_1970(run.at) for run in document.runs), max))
    interruptions = {item.run: item for item in document.interruptions}
    found = [
        Session(number=index + 1, run=run, interruption=interruptions.get(index), start_ms=start, end_ms=start)
        for index, (run, start) in enumerate(zip(document.runs, starts, strict=True))
    ]
    for item in sorted(_converted(document.images) if found else []):
        found[max(0, bisect_right(starts, item.at_ms) - 1)].converted.append(item)
    followers: list[Session | None] = [*found[1:], None] if found else []
    for session, after in zip(found, followers, strict=True):
        left = document.state if after is None else after.run.found
        if session.interruption is not None:
            session.ending = "interrupted"
        elif left == "running":  # no word of an end: it still runs, or had no time to say why
            session.ending = "running" if after is None and running else "died"
        _set_span(session, now_ms)
        if after is not None:
            session.end_ms = min(session.end_ms, max(session.start_ms, after.start_ms))
    return found


def _set_span(session: Session, now_ms: int) -> None:
    """From its start to its end, or to the last that is known of it."""
    moments = [session.start_ms, *(item.at_ms for item in session.converted)]
    session.start_ms = min(moments)
    if session.interruption is not None:
        moments.append(_milliseconds(session.interruption.at))
    if session.run.seconds is not None:
        moments.append(session.start_ms + round(1000 * session.run.seconds))
    if session.ending == "running":
        moments.append(now_ms)
    session.end_ms = max(moments)


def _converted(images: Sequence[Image]) -> list[Converted]:
    return [
        Converted(image.done_at_ms, image.pixels) for image in images if image.finished and image.done_at_ms is not None
    ]


def _milliseconds(at: str) -> int:
    """From ISO 8601; 0 where a stranger wrote something else."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return 0
    return _since_1970(moment.replace(tzinfo=moment.tzinfo or UTC))


def _since_1970(moment: datetime) -> int:
    """Milliseconds; the nearest moment of which every zone has a date, where a stranger wrote another."""
    return min(max(0, int(moment.timestamp() * 1000)), _LAST_MS)
