"""What a job comes to over all its shares: counts, figures, failures, and the events that tell of them."""

import os
from collections import Counter

import msgspec

from batchgray import events
from batchgray.engine.ledger import Ledger
from batchgray.engine.share import SharePlan
from batchgray.manifest import outcome
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.records import Image
from batchgray.planning.replay import manifest_for
from batchgray.storage.names import kind_of


class JobTotals:
    """`ignored` counts what is not taken, by type."""

    def __init__(self, head: JobHead, name: str, out: str) -> None:
        self.ignored: Counter[str] = Counter()
        self._head, self._name, self._out = head, name, out
        self._states: Counter[str] = Counter()  # of the images in shares that nobody works on
        self._already_done = self._done_bytes = self._done_pixels = 0
        self._kinds: Counter[str] = Counter()
        self._figures: Counter[str] = Counter()
        self._waited = 0.0
        self._notes: dict[str, str] = {}
        self._failed: list[Image] = []
        self._in_hand: SharePlan | None = None
        self._resumed = False

    def add(self, plan: SharePlan, resumed: bool) -> None:
        """A share that was found; `resumed` says whether there is something in its log."""
        self.ignored.update(plan.share.ignored)
        before = outcome.figures(plan.manifest.images)
        self._states.update(before.counts)
        self._done_bytes += before.source_bytes
        self._done_pixels += before.pixels
        self._already_done += plan.already_done
        self._resumed |= resumed
        for index in plan.todo:
            image = plan.share.images[index]
            self._kinds[kind_of(image.source)] += image.size

    def begin(self, plan: SharePlan) -> None:
        """A share is worked on."""
        self._in_hand = plan
        self._states.subtract(image.state for image in plan.manifest.images)

    def end(self, plan: SharePlan, ledger: Ledger) -> None:
        """It is not any more."""
        self._in_hand = None
        self._states.update(ledger.states)
        totals = ledger.totals
        for name in ("converted", "failed", "pixels", "source_bytes", "output_bytes"):
            self._figures[name] += getattr(totals, name)
        self._waited += totals.waited
        images = plan.manifest.images
        self._notes.update({self._name_of(images[index]): note for index, note in totals.notes.items()})
        self._failed += [image for image in images if image.state == "failed"]

    def planned(self, workers: int, notices: list[str]) -> events.Planned:
        """The list is complete."""
        total = self._states.total()
        return events.Planned(
            manifest=self._name,
            out=self._out,
            total=total,
            todo=total - self._already_done,
            done=self._already_done,
            done_bytes=self._done_bytes,
            done_pixels=self._done_pixels,
            todo_bytes=self._kinds.total(),
            todo_bytes_by_kind=dict(self._kinds),
            new=0 if self._resumed else total,
            changed=0,
            missing=0,
            gone=0,
            ignored=dict(self.ignored),
            workers=workers,
            resumed=self._resumed,
            notices=notices,
        )

    def of_the_job(self, event: events.Event) -> events.Event:
        """What the ledger of the share in hand tells, as it is for the whole job."""
        if isinstance(event, events.Checkpoint) and self._in_hand is not None:
            before = self._already_done - self._in_hand.already_done + self._figures["converted"]
            return msgspec.structs.replace(
                event, done=event.done + before, failed=event.failed + self._figures["failed"]
            )
        if isinstance(event, events.Flushed):
            states = self._states
            return msgspec.structs.replace(
                event, partial=event.partial + states["partial"], pending=event.pending + states["pending"]
            )
        return event

    def summary(self, seconds: float, space_needed: int | None) -> events.Summary:
        """All the counts and figures."""
        states, figures = self._states, self._figures
        interrupted = states["pending"] + states["partial"] > 0
        finished = "complete_with_failures" if states["failed"] else "complete"
        return events.Summary(
            state="interrupted" if interrupted else finished,
            total=states.total(),
            done=states["done"],
            already_done=self._already_done,
            converted=figures["converted"],
            failed=states["failed"],
            partial=states["partial"],
            pending=states["pending"],
            pixels=figures["pixels"],
            source_bytes=figures["source_bytes"],
            output_bytes=figures["output_bytes"],
            seconds=seconds,
            waited=self._waited,
            ignored=dict(self.ignored),
            changed=0,
            missing=0,
            gone=0,
            newly_gone=[],
            left_out=[],
            pruned=0,
            notes=self._notes,
            failures={self._name_of(image): image.error or "" for image in self._failed},
            reasons=outcome.reasons(manifest_for(self._head, self._failed)),
            manifest=self._name,
            resume=outcome.resume_command(self._name) if interrupted else None,
            space_needed=space_needed,
        )

    def _name_of(self, image: Image) -> str:
        """A name that no other image has."""
        several = len(self._head.inputs) > 1
        return os.path.join(self._head.inputs[image.root], image.source) if several else image.source
