"""What the head, the plan and the logs of a job tell, in figures and in words."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

from batchgray import quantities, texts
from batchgray.commands.status import Counts
from batchgray.errors import PlaceUnusable, shown
from batchgray.events import Reason
from batchgray.manifest import job_head, job_round, outcome
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.records import Image, Interruption, Manifest
from batchgray.manifest.results import Layers, Result
from batchgray.manifest.share_log import STALE_SECONDS, LogEntry, ShareLog
from batchgray.planning.job_inputs import full_name
from batchgray.planning.replay import manifest_for, replayed
from batchgray.planning.shares import Planner
from batchgray.progress import wording
from batchgray.spelling import Bytes
from batchgray.storage.base import Place, PlaceError
from batchgray.storage.urls import StoreOptions, open_place


class JobFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed image: its key in `input`."""

    source: str
    source_base64: Bytes = msgspec.UNSET
    input: str
    input_base64: Bytes = msgspec.UNSET
    error: str


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The process that has a share, and its last sign of life by its own clock. It may have died since."""

    share: int
    owner: str
    last_sign: str


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is "running" where a share is held: only a run can find out whether its holder is alive.

    `listed` says whether all is listed; `counts` are of the shares that there are by now. `shares` counts these,
    `shares_done` those with nothing left to do.
    """

    state: Literal["running", "interrupted", "complete", "complete_with_failures"]
    listed: bool
    counts: Counts
    shares: int
    shares_done: int
    holders: list[Holder]
    interruptions: list[Interruption]
    failures: list[JobFailure]
    reasons: list[Reason]
    pixels: int
    source_bytes: int
    output_bytes: int
    manifest: str
    manifest_base64: Bytes = msgspec.UNSET
    resume: str | None


def job_status(name: str, stores: StoreOptions) -> JobStatus:
    """Read what lies in the place of this name. Raises BatchgrayError."""
    try:
        place = open_place(full_name(name), stores)
        try:
            return _read(place)
        finally:
            place.close()
    except PlaceError as error:
        raise PlaceUnusable(name, str(error)) from None


def _read(place: Place) -> JobStatus:
    head = job_head.read(place)
    tally = _Tally(head)
    round = job_round.current(place, head.prefix)
    planner = Planner(place, round.prefix, (), head.options.format, lambda _: None)
    listed = planner.is_through()
    if round.number > 1:
        tally.add_results(Layers(place, head.prefix).read())
        listed = True
    for share in planner.written():
        name = round.log(job_round.name_of(share.number))
        log = ShareLog(place, name, "", round.finished)
        entries = log.catch_up()
        tally.add(share.number, log, entries, replayed(head, share, entries, name))
    return tally.status(job_head.name_in(place), listed)


class _Tally:
    """What the shares come to, one after another."""

    def __init__(self, head: JobHead) -> None:
        self._head = head
        self._counts: Counter[str] = Counter()
        self._figures: Counter[str] = Counter()
        self._interruptions: list[Interruption] = []
        self._failed: list[Image] = []
        self._holders: list[Holder] = []

    def add_results(self, results: Iterable[Result]) -> None:
        for result in results:
            self._counts[result.state] += 1
            if result.state == "done":
                self._figures.update(pixels=(result.width or 0) * (result.height or 0))
                self._figures.update(source_bytes=result.size, output_bytes=result.output_size or 0)
            elif result.state == "failed":
                image = Image(root=result.input, source=result.source, output=result.output, size=0, mtime_ns=0)
                image.state, image.error = "failed", result.error
                self._failed.append(image)

    def add(self, number: int, log: ShareLog, entries: list[LogEntry], manifest: Manifest) -> None:
        figures = outcome.figures(manifest.images)
        self._counts.update(figures.counts)
        self._figures.update(shares=1, done=int(log.state == "done"), pixels=figures.pixels)
        self._figures.update(source_bytes=figures.source_bytes, output_bytes=figures.output_bytes)
        self._interruptions += [entry.interruption for entry in entries if entry.interruption]
        self._failed += [image for image in manifest.images if image.state == "failed"]
        if log.state in ("open", "renew"):
            self._holders.append(Holder(share=number, owner=log.owner, last_sign=entries[-1].at))

    def status(self, name: str, listed: bool) -> JobStatus:
        counts, figures = self._counts, self._figures
        left = counts["pending"] + counts["partial"] > 0 or not listed
        finished: Literal["complete", "complete_with_failures"] = (
            "complete_with_failures" if self._failed else "complete"
        )
        unfinished: Literal["running", "interrupted"] = "running" if self._holders else "interrupted"
        return JobStatus(
            state=unfinished if left or self._holders else finished,
            listed=listed,
            counts=Counts(
                total=counts.total(),
                done=counts["done"],
                partial=counts["partial"],
                pending=counts["pending"],
                failed=counts["failed"],
                gone=0,
            ),
            shares=figures["shares"],
            shares_done=figures["done"],
            holders=self._holders,
            interruptions=self._interruptions,
            failures=[
                JobFailure(source=image.source, input=self._head.inputs[image.root], error=image.error or "")
                for image in self._failed
            ],
            reasons=outcome.reasons(manifest_for(self._head, self._failed)),
            pixels=figures["pixels"],
            source_bytes=figures["source_bytes"],
            output_bytes=figures["output_bytes"],
            manifest=name,
            resume=outcome.resume_command(name) if left else None,
        )


def job_status_lines(found: JobStatus) -> list[str]:
    """For people."""
    counts = found.counts
    lines = [
        f"{found.state.replace('_', ' ')}: {counts.done:,} of {quantities.images(counts.total)} done, "
        f"{counts.partial:,} partial, {counts.pending:,} pending, {counts.failed:,} failed"
        f"{'' if found.listed else '; not all is listed yet'}"
    ]
    if counts.done:
        sizes = f"{quantities.size(found.source_bytes)} -> {quantities.size(found.output_bytes)}"
        lines.append(f"done so far: {found.pixels / 1e6:,.0f} MP, {sizes}")
    for holder in found.holders:
        lines.append(f"held by {shown(holder.owner)}; last sign of life {shown(holder.last_sign)}")
    if found.holders:
        lines.append(f"Whoever gives none for {STALE_SECONDS:.0f} s is taken for dead, and `resume` goes on.")
    told = [
        f"interrupted {shown(item.at)} by {item.source} {shown(item.event_id or '')}".rstrip()
        for item in found.interruptions
    ]
    lines += told[-texts.LINES :]
    lines += wording.reason_lines(found.reasons)
    if found.resume:
        lines.append(f"To go on: {shown(found.resume)}")
    elif counts.failed:
        lines.append(wording.trying_again(found.manifest))
    return lines
