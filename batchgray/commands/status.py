"""What a manifest says, in figures and in words."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec

from batchgray import program, quantities, texts
from batchgray.commands import sessions
from batchgray.errors import shown
from batchgray.events import Reason
from batchgray.manifest import lock, outcome
from batchgray.manifest.records import ImageState, Interruption, Manifest, RunState
from batchgray.manifest.store import load_manifest
from batchgray.progress import wording
from batchgray.records import LeftOutKind
from batchgray.spelling import Bytes


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    done: int
    partial: int
    pending: int
    failed: int
    gone: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed image. Several input folders may have the same `source`; `path` is in full."""

    source: str
    source_base64: Bytes = msgspec.UNSET
    path: str
    path_base64: Bytes = msgspec.UNSET
    error: str


class Died(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ended without a word: when it began, and the last that is known of it, in ISO 8601."""

    run: int
    began: str
    last_known: str


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """A job's shares: done ones have nothing left to do, `open` ones a machine has, `free` ones were given back."""

    total: int
    done: int
    open: int
    free: int
    waiting: int


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that has a share of a job: since when, its last sign of life, and what it did of the share.

    Times are by its own clock. `alive` is whether a sign of life came while its log was looked at; null where that
    was not for long enough to tell.
    """

    share: str
    owner: str
    since: str
    last_sign: str
    alive: bool | None
    images: int
    images_per_second: float | None


class JobFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a job has and a manifest has not. `listed` says whether its INPUTs are listed to the end.

    Rates are those of the machines that may be alive, since they took their shares; null where there are none.
    """

    listed: bool
    shares: Shares
    machines: list[Machine]
    images_per_second: float | None
    pixels_per_second: float | None
    seconds_left: float | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is "running" only while a process owns the manifest; a run that died without a word is "interrupted".

    So it is with a job while a machine that may be alive has a share. `job` is null of a manifest.

    `last_run` tells the two apart; `died` are the runs of this manifest that ended so, whichever came after them.

    Pixels and bytes are of the images that are done, `seconds` of all runs; `resume` is the command that goes on,
    where there is work left and no process works on it.
    """

    state: RunState
    counts: Counts
    last_run: sessions.Ending | None
    interruptions: list[Interruption]
    died: list[Died]
    left_out: list[LeftOutKind]
    failures: list[Failure]
    reasons: list[Reason]
    pixels: int
    source_bytes: int
    output_bytes: int
    seconds: float
    manifest: str
    manifest_base64: Bytes = msgspec.UNSET
    resume: str | None
    job: JobFigures | None = None


def status(path: Path) -> Status:
    """Read a manifest and its journal. Raises BatchgrayError."""
    return status_of(*load(path), path)


def load(path: Path) -> tuple[Manifest, bool]:
    """The manifest, and whether a process is at work on it. Raises BatchgrayError."""
    document = load_manifest(path)
    running = lock.is_running(path, document.flight_folder(path))
    if document.state == "running" and not running:
        document = load_manifest(path)  # it may have ended since
    return document, running


def status_of(document: Manifest, running: bool, path: Path) -> Status:
    """What `load` found at `path`, in figures."""
    figures = outcome.figures(document.images)
    state = "interrupted" if document.state == "running" and not running else document.state
    runs = sessions.sessions(document, running, time.time_ns() // 1_000_000)
    path = path.absolute()
    return Status(
        state=state,
        counts=Counts(
            total=len(document.images),
            **{state: figures.counts[state] for state in get_args(ImageState)},
        ),
        last_run=runs[-1].ending if runs else None,
        interruptions=document.interruptions,
        died=[
            Died(run=run.number - 1, began=_iso(run.start_ms), last_known=_iso(run.end_ms))
            for run in runs
            if run.ending == "died"
        ],
        left_out=left_out_of(document),
        failures=[
            Failure(
                source=image.source,
                path=os.path.join(document.input_roots[image.root], image.source),
                error=image.error or "",
            )
            for image in document.images
            if image.state == "failed"
        ],
        reasons=outcome.reasons(document),
        pixels=figures.pixels,
        source_bytes=figures.source_bytes,
        output_bytes=figures.output_bytes,
        seconds=sum(run.seconds for run in runs),
        manifest=str(path),
        resume=outcome.resume_command(str(path)) if state == "interrupted" else None,
    )


def left_out_of(document: Manifest) -> list[LeftOutKind]:
    """What the last walk left out; older manifests have no names."""
    if document.left_out:
        return document.left_out
    kinds = sorted(document.ignored.items(), key=lambda item: -item[1])
    return [LeftOutKind(kind=kind, count=count, sources=[]) for kind, count in kinds]


def status_lines(found: Status) -> list[str]:
    """For people."""
    counts = found.counts
    lines = [
        f"{state_in_words(found)}: {counts.done:,} of {quantities.images(counts.total)} done, "
        f"{counts.partial:,} partial, {counts.pending:,} pending, {counts.failed:,} failed"
        f"{f', {counts.gone:,} gone' if counts.gone else ''}"
        f"{'; not all is listed yet' if found.job and not found.job.listed else ''}"
    ]
    if counts.done:
        took = "" if found.job else f" in {quantities.duration(found.seconds)}"
        lines.append(
            f"done so far: {quantities.megapixels(found.pixels)}{took}, "
            f"{quantities.size(found.source_bytes)} -> {quantities.size(found.output_bytes)}"
        )
    if found.job:
        lines += _job_lines(found.job)
    lines += _ending_lines(found)
    if found.left_out:
        lines.append("left out when the input folders were last walked:")
        lines += texts.first_lines([f"  {wording.left_out_kind(kind)}" for kind in found.left_out], " kinds")
    lines += _failure_lines(found)
    if found.resume:
        lines.append(f"To go on: {shown(found.resume)}")
    elif counts.failed and found.state != "running":
        lines.append(wording.trying_again(found.manifest))
    return lines


def state_in_words(found: Status) -> str:
    """A run that died, or that finished and whose outputs were found damaged since, was not interrupted."""
    if found.state == "interrupted" and found.last_run == "died":
        return "died"
    if found.state == "interrupted" and found.last_run == "finished":
        return "incomplete"
    return found.state.replace("_", " ")


def _failure_lines(found: Status) -> list[str]:
    """By their reasons, where all failures are known; else the first of them."""
    told = sum(reason.count for reason in found.reasons)
    if told == found.counts.failed:
        return wording.reason_lines(found.reasons)
    first = [f"  {shown(each.path)}: {shown(each.error)}" for each in found.failures[: texts.LINES]]
    more = found.counts.failed - len(first)
    asking = program.command("status", "--json", outcome.quoted(found.manifest))
    return [f"Failed: {quantities.images(found.counts.failed)}", *first, f"  ... and {more:,} more: {shown(asking)}"]


def _job_lines(job: JobFigures) -> list[str]:
    """Shares, machines, and how long it will take."""
    shares = job.shares
    states = [(shares.done, "done"), (shares.open, "taken"), (shares.free, "given back"), (shares.waiting, "not begun")]
    told = ", ".join(f"{count:,} {word}" for count, word in states if count)
    lines = [f"shares: {told}"] if told else []
    lines += texts.first_lines([_machine_line(machine) for machine in job.machines], " machines, in the JSON")
    if job.images_per_second:
        rate = quantities.rate(job.pixels_per_second or 0.0, 1, 1.0)
        left = "" if job.seconds_left is None else f", {quantities.rounded_duration(job.seconds_left)} left"
        lines.append(f"now: {rate}, {job.images_per_second:,.1f} images/s{left}")
    return lines


def _machine_line(machine: Machine) -> str:
    what = f"share {machine.share.lstrip('0')}" if machine.share[:1].isdigit() else f"the {machine.share}"
    name = shown(f"{machine.owner}, {what}")
    if machine.alive is False:
        return f"  {name}: died after {shown(machine.last_sign)} without a word: a crash, a kill or a power cut"
    doubt = "" if machine.alive else ", its last sign of life"
    return f"  {name}: {quantities.images(machine.images)} by {shown(machine.last_sign)}{doubt}"


def _ending_lines(found: Status) -> list[str]:
    """How runs ended before their work did, in the order of the runs."""
    told: list[tuple[int, str]] = []
    for item in found.interruptions:
        line = f"interrupted {shown(item.at)} by {item.source} {shown(item.event_id or '')}".rstrip()
        told.append((-1 if item.run is None else item.run, line))
    for died in found.died:
        line = f"died after {died.last_known} without a word: a crash, a kill or a power cut"
        told.append((died.run, line))
    lines = [line for _, line in sorted(told, key=lambda item: item[0])]
    earlier = len(lines) - texts.LINES
    return [f"... {earlier:,} earlier ones are in the manifest", *lines[earlier:]] if earlier > 0 else lines


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
