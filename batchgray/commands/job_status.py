"""What the tallies, plan and logs of a job tell, in the figures that `status` has for every manifest."""

from collections.abc import Iterator
from itertools import islice

import msgspec

from batchgray.commands import sessions
from batchgray.commands.job_figures import Holder, Totals, totals
from batchgray.commands.job_view import JobView, steadily, viewing
from batchgray.commands.status import Counts, Failure, JobFigures, Machine, Shares, Status
from batchgray.manifest import outcome
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.records import Image, RunState
from batchgray.planning.replay import manifest_for
from batchgray.storage.urls import StoreOptions

_FAILURES = 1000  # that a person is told of, at most
_SHARES_READ = 8  # for them


def job_status(name: str, stores: StoreOptions) -> Status:
    """Of the job in the place of this name, for people: of many failures only the first. Raises BatchgrayError."""
    with viewing(name, stores) as view:
        return steadily(view, first_status)


def first_status(view: JobView, look: bool = True) -> Status:
    """The same; without `look` it is not found out which machines are alive. Raises BatchgrayError, PlaceError."""
    found = _totals(view)
    failed = list(islice(view.failures(found.with_failures[:_SHARES_READ]), _FAILURES))
    reasons = _reasons(view.head)
    for image in failed:
        reasons.add(image)
    status = _status(view, found, look)
    failures = [_failure(view.head, image) for image in failed]
    return msgspec.structs.replace(status, failures=failures, reasons=reasons.all())


def _totals(view: JobView) -> Totals:
    found = totals(view.shares())
    planner = view.planner()
    if planner is not None and planner.owner not in {holder.owner for holder in found.holders}:
        found.holders.append(planner)
    return found


class WholeStatus:
    """A job's status, and its failures one after another, however many there are. What reads raises as the view."""

    def __init__(self, view: JobView) -> None:
        self._view, self._totals = view, _totals(view)
        self._status = _status(view, self._totals, look=True)
        self._reasons = _reasons(view.head)

    def status(self) -> Status:
        """Without the failures; `reasons` are of those that were told by now."""
        return msgspec.structs.replace(self._status, reasons=self._reasons.all())

    def failures(self) -> Iterator[Failure]:
        for image in self._view.failures(self._totals.with_failures):
            self._reasons.add(image)
            yield _failure(self._view.head, image)


def _status(view: JobView, found: Totals, look: bool) -> Status:
    """Without failures and their reasons."""
    listed = view.listed()
    counts = found.counts
    marked = len(view.marked())
    counts.update(done=-marked, pending=marked)
    left = counts["pending"] + counts["partial"] > 0 or not listed
    if look:
        view.look_for_life(found.holders)
    alive = [holder for holder in found.holders if holder.alive is not False]
    return Status(
        state=_state(left, bool(alive), counts["failed"]),
        counts=Counts(
            total=counts.total(),
            done=counts["done"],
            partial=counts["partial"],
            pending=counts["pending"],
            failed=counts["failed"],
            gone=counts["gone"],
        ),
        last_run=_last_run(left, found, bool(alive)),
        interruptions=found.interruptions,
        died=[],
        left_out=[],
        failures=[],
        reasons=[],
        pixels=found.pixels,
        source_bytes=found.source_bytes,
        output_bytes=found.output_bytes,
        seconds=found.seconds,
        manifest=view.name,
        resume=outcome.resume_command(view.name) if left and not alive else None,
        job=_figures(found, alive, listed),
    )


def _state(left: bool, alive: bool, failed: int) -> RunState:
    if alive:
        return "running"
    if left:
        return "interrupted"
    return "complete_with_failures" if failed else "complete"


def _last_run(left: bool, found: Totals, alive: bool) -> sessions.Ending | None:
    """As of a run: what the machines did that were the last at work."""
    if alive:
        return "running"
    if found.holders:
        return "died"
    if not left:
        return "finished"
    return "interrupted" if found.interruptions else None


def _figures(found: Totals, alive: list[Holder], listed: bool) -> JobFigures:
    images = sum(holder.images / holder.seconds for holder in alive if holder.seconds)
    pixels = sum(holder.pixels / holder.seconds for holder in alive if holder.seconds)
    left = found.counts["pending"] + found.counts["partial"]
    return JobFigures(
        listed=listed,
        shares=Shares(
            total=found.shares.total(),
            done=found.shares["done"],
            open=found.shares["open"],
            free=found.shares["free"],
            waiting=found.shares["waiting"],
        ),
        machines=[_machine(holder) for holder in found.holders],
        images_per_second=images or None,
        pixels_per_second=pixels or None,
        seconds_left=left / images if images else None,
    )


def _machine(holder: Holder) -> Machine:
    return Machine(
        share=holder.share,
        owner=holder.owner,
        since=holder.since,
        last_sign=holder.last_sign,
        alive=holder.alive,
        images=holder.images,
        images_per_second=holder.images / holder.seconds if holder.seconds else None,
    )


def _failure(head: JobHead, image: Image) -> Failure:
    return Failure(
        source=image.source, path=f"{head.inputs[image.root].rstrip('/')}/{image.source}", error=image.error or ""
    )


def _reasons(head: JobHead) -> outcome.Reasons:
    return outcome.Reasons(outcome.naming(manifest_for(head, [])))
