"""What a manifest says, in figures and in words."""

import shlex
from collections import Counter
from pathlib import Path

import msgspec

from batchgray import manifest
from batchgray.errors import shown
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
    """`state` is "running" only while a process owns the manifest; a run that died without a word is "interrupted"."""

    state: RunState
    counts: Counts
    interruptions: list[Interruption]
    failures: list[Failure]


def status(path: Path) -> Status:
    """Read a manifest and its journal. Raises BatchgrayError."""
    return status_of(*load(path))


def load(path: Path) -> tuple[Manifest, bool]:
    """The manifest, and whether a process is at work on it. Raises BatchgrayError."""
    document = manifest.load(path)
    running = manifest.is_running(path)
    if document.state == "running" and not running:
        document = manifest.load(path)  # it may have ended since
    return document, running


def status_of(document: Manifest, running: bool) -> Status:
    """What `load` found, in figures."""
    states = Counter(image.state for image in document.images)
    return Status(
        state="interrupted" if document.state == "running" and not running else document.state,
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
    )


def status_lines(found: Status, path: Path) -> list[str]:
    """For people."""
    counts = found.counts
    lines = [
        f"{found.state.replace('_', ' ')}: {counts.done} of {counts.total} images done, {counts.partial} begun, "
        f"{counts.pending} not begun, {counts.failed} failed"
    ]
    lines += [
        f"interrupted {shown(interruption.at)} by {interruption.source} {shown(interruption.event_id or '')}".rstrip()
        for interruption in found.interruptions[-_LISTED:]
    ]
    lines += [f"failed: {shown(failure.source)}: {shown(failure.error)}" for failure in found.failures[:_LISTED]]
    if len(found.failures) > _LISTED:
        lines.append(f"... and {len(found.failures) - _LISTED} more; --json lists all")
    if found.state == "interrupted":
        lines.append(f"to go on: batchgray resume {shown(shlex.quote(str(path)))}")
    return lines
