"""What a manifest says, in figures and in words."""

import time
from collections import Counter
from pathlib import Path

import msgspec

from batchgray import locks, manifest, outcome, timeline, words
from batchgray.errors import shown
from batchgray.events import Reason
from batchgray.manifest import Interruption, Manifest, RunState

_LISTED = 20


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    done: int
    partial: int
    pending: int
    failed: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    error: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is "running" only while a process owns the manifest; a run that died without a word is "interrupted".

    Pixels and bytes are of the images that are done, `seconds` of all runs; `resume` is the command that goes on,
    where there is work left and nobody is at it.
    """

    state: RunState
    counts: Counts
    interruptions: list[Interruption]
    failures: list[Failure]
    reasons: list[Reason]
    pixels: int
    source_bytes: int
    output_bytes: int
    seconds: float
    manifest: str
    resume: str | None


def status(path: Path) -> Status:
    """Read a manifest and its journal. Raises BatchgrayError."""
    return status_of(*load(path), path)


def load(path: Path) -> tuple[Manifest, bool]:
    """The manifest, and whether a process is at work on it. Raises BatchgrayError."""
    document = manifest.load(path)
    running = locks.is_running(path, document.flight_folder(path))
    if document.state == "running" and not running:
        document = manifest.load(path)  # it may have ended since
    return document, running


def status_of(document: Manifest, running: bool, path: Path) -> Status:
    """What `load` found at `path`, in figures."""
    states = Counter(image.state for image in document.images)
    state = "interrupted" if document.state == "running" and not running else document.state
    done = [image for image in document.images if image.state == "done"]
    path = path.absolute()
    return Status(
        state=state,
        counts=Counts(
            total=len(document.images),
            done=states["done"],
            partial=states["partial"],
            pending=states["pending"],
            failed=states["failed"],
        ),
        interruptions=document.interruptions,
        failures=[
            Failure(source=image.source, error=image.error or "")
            for image in document.images
            if image.state == "failed"
        ],
        reasons=outcome.reasons(document),
        pixels=sum((image.width or 0) * (image.height or 0) for image in done),
        source_bytes=sum(image.size for image in done),
        output_bytes=sum(image.output_size or 0 for image in done),
        seconds=sum(run.seconds for run in timeline.sessions(document, running, time.time_ns() // 1_000_000)),
        manifest=str(path),
        resume=outcome.resume_command(path) if state == "interrupted" else None,
    )


def status_lines(found: Status) -> list[str]:
    """For people."""
    counts = found.counts
    lines = [
        f"{found.state.replace('_', ' ')}: {counts.done:,} of {words.images(counts.total)} done, "
        f"{counts.partial:,} begun, {counts.pending:,} not begun, {counts.failed:,} failed"
    ]
    if counts.done:
        lines.append(
            f"done so far: {found.pixels / 1e6:,.0f} MP in {words.duration(found.seconds)}, "
            f"{words.size(found.source_bytes)} -> {words.size(found.output_bytes)}"
        )
    lines += [
        f"interrupted {shown(interruption.at)} by {interruption.source} {shown(interruption.event_id or '')}".rstrip()
        for interruption in found.interruptions[-_LISTED:]
    ]
    lines += words.reason_lines(found.reasons)
    if found.resume:
        lines.append(f"To go on: {shown(found.resume)}")
    elif counts.failed:
        lines.append(words.trying_again(found.manifest))
    return lines
