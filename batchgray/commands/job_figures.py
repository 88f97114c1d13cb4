"""What is told of a job, as records: figures of shares, machines that have some, and what became of each on a machine.

Pure: made of what logs, tallies and results tell, whoever has read them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from batchgray.manifest import results
from batchgray.manifest.records import Interruption
from batchgray.manifest.share_log import LogEntry
from batchgray.manifest.tally import DoneTally

ShareState = Literal["done", "open", "free", "waiting"]


@dataclass
class Holder:
    """A machine that has a share: who, since when, and its last sign of life, both by its own clock.

    `images`, `pixels` and `seconds` are what it did of the share since it took it. `alive` is whether a sign of life
    came while its log was looked at; None where that was not for long enough to tell.
    """

    share: str
    owner: str
    since: str
    last_sign: str
    images: int
    pixels: int
    seconds: float
    alive: bool | None = None


class Stay(NamedTuple):
    """A share on a machine: from when to when by its clock, how it ended, and what was done of it.

    `ending` is `open` where it has not ended, as far as is known, `lost` where another machine took the share over.
    """

    share: str
    owner: str
    since: str
    until: str
    ending: Literal["open", "free", "done", "lost"]
    images: int
    pixels: int

    @property
    def began(self) -> datetime:
        """1970 where its machine wrote what is no time."""
        return _moment(self.since)

    @property
    def start_ms(self) -> int:
        return int(1000 * self.began.timestamp())

    @property
    def end_ms(self) -> int:
        return max(self.start_ms, int(1000 * _moment(self.until).timestamp()))


@dataclass
class ShareFigures:
    """What a share comes to. Without a state it is none: what earlier rounds came to."""

    name: str
    state: ShareState | None
    counts: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    seconds: float = 0.0
    interruptions: list[Interruption] = field(default_factory=list)
    holder: Holder | None = None


def figures_of_tally(tally: DoneTally) -> ShareFigures:
    return ShareFigures(
        name=tally.share,
        state="done",
        counts=Counter(done=tally.done, failed=tally.failed),
        pixels=tally.pixels,
        source_bytes=tally.source_bytes,
        output_bytes=tally.output_bytes,
    )


def figures_of_results(totals: results.Totals, is_over: bool) -> ShareFigures:
    """What rounds that are over came to. A later round tries again whatever failed, and tells of it."""
    return ShareFigures(
        name="",
        state=None,
        counts=Counter(done=totals.done, failed=totals.failed if is_over else 0, gone=totals.gone),
        pixels=totals.pixels,
        source_bytes=totals.source_bytes,
        output_bytes=totals.output_bytes,
    )


def splits_in(log: Iterable[LogEntry]) -> list[list[int]]:
    return [entry.split for entry in log if entry.split]


def holder_of(name: str, entries: Sequence[LogEntry]) -> Holder:
    """What the present owner of a share did since it took it."""
    stay = stays_in(entries)[-1]
    done, pixels = work_of(stay)
    return Holder(
        share=name,
        owner=stay[-1].owner,
        since=stay[0].at,
        last_sign=stay[-1].at,
        images=done,
        pixels=pixels,
        seconds=seconds_between(stay[0].at, stay[-1].at),
    )


def work_of(entries: Iterable[LogEntry]) -> tuple[int, int]:
    """How many images were done, and of how many pixels."""
    done = {change.image: change for entry in entries for change in entry.changes if change.state == "done"}
    sides = ((change.width or 0, change.height or 0) for change in done.values())
    return len(done), sum(width * height for width, height in sides)


def stay_of(name: str, entries: Sequence[LogEntry], images: int, pixels: int, is_last: bool) -> Stay:
    first, last = entries[0], entries[-1]
    ending = last.kind if last.kind in ("free", "done") else "open" if is_last else "lost"
    return Stay(name, first.owner, first.at, last.at, ending, images, pixels)


def _moment(at: str) -> datetime:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def stays_in(entries: Iterable[LogEntry]) -> list[list[LogEntry]]:
    """The entries of each owner of a share, one after another: the times of one are of one clock."""
    stays: list[list[LogEntry]] = []
    for entry in entries:
        if not stays or stays[-1][-1].epoch != entry.epoch:
            stays.append([])
        stays[-1].append(entry)
    return stays


def seconds_between(first: str, last: str) -> float:
    """Of two times of one clock in ISO 8601; 0 where they are none, or the clock was set back."""
    return max(0.0, (_moment(last) - _moment(first)).total_seconds())


@dataclass
class Totals:
    """What all shares come to. `with_failures` are the names of those with failed images."""

    counts: Counter[str] = field(default_factory=Counter)
    shares: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    seconds: float = 0.0
    holders: list[Holder] = field(default_factory=list)
    interruptions: list[Interruption] = field(default_factory=list)
    with_failures: list[str] = field(default_factory=list)

    def add(self, share: ShareFigures) -> None:
        self.counts.update(share.counts)
        self.shares.update([share.state] if share.state else [])
        self.pixels += share.pixels
        self.source_bytes += share.source_bytes
        self.output_bytes += share.output_bytes
        self.seconds += share.seconds
        self.interruptions += share.interruptions
        self.holders += [share.holder] if share.holder else []
        self.with_failures += [share.name] if share.counts["failed"] else []


def totals(shares: Iterable[ShareFigures]) -> Totals:
    """Of the shares, one after another."""
    found = Totals()
    for share in shares:
        found.add(share)
    return found
