"""What a job's round comes to over all its shares: counts, figures, failures, and the events that tell of them.

A share is known by its size, then by its tally when nothing is left of it, whoever did it. What is between, this
machine knows only of the shares that it has had itself.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from batchgray import events
from batchgray.engine.crew import Progress
from batchgray.engine.ledger import Ledger
from batchgray.engine.share import SharePlan
from batchgray.errors import INPUT_CHANGED
from batchgray.manifest import outcome
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import name_of
from batchgray.manifest.records import Image, ImageState
from batchgray.manifest.results import Result, Totals
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.planning.replay import manifest_for
from batchgray.planning.shares import PlanEnd, Share
from batchgray.storage.names import kind_of

_NAMES = 1000  # of inputs that are gone
_NOTHING: Counter[str] = Counter()
_UNKNOWN = ""  # the kind of files of which only the number of bytes is known


class ShareSize(NamedTuple):
    """How much there is in a share of the plan: images, and bytes by kind of file. All else is as in `Share`.

    `kept` are those that are done, and nothing is to be done about; `gone` are those whose input is not there any more,
    and of what went since the last round `newly_gone` has the first names; `pruned` are gone, and forgotten.
    """

    name: str
    images: int
    bytes: Counter[str]
    ignored: dict[str, int]
    kept: int
    changed: int
    retried: int
    gone: int
    newly_gone: list[str]
    pruned: int

    @classmethod
    def of(cls, share: Share) -> "ShareSize":
        """What a share that was read has."""
        sizes: Counter[str] = Counter()
        for image in share.images:
            sizes[kind_of(image.source)] += image.size
        done = sum(noted.state == "done" for noted in share.noted)
        newly_gone = [noted.source for noted in share.noted if noted.state == "gone"]
        return cls(
            name=name_of(share.number),
            images=len(share.images),
            bytes=sizes,
            ignored=share.ignored,
            kept=share.kept.done + done,
            changed=share.changed,
            retried=share.retried,
            gone=share.kept.gone + len(newly_gone),
            newly_gone=newly_gone[:_NAMES],
            pruned=sum(noted.state == "pruned" for noted in share.noted),
        )


class JobTotals:
    """`ignored` counts what is not taken, by type. `complete` says whether all is listed, `resumed` whether this run
    found a job, `goes_on` whether a round of it was begun.
    """

    def __init__(self, head: JobHead, name: str, out: str, is_ours: Callable[[str], bool] = lambda share: True) -> None:
        """`is_ours` says which shares count: those that this machine may take."""
        self._is_ours = is_ours
        self.ignored: Counter[str] = Counter()
        self.complete = False
        self._head, self._name, self._out = head, name, out
        self._images: dict[str, int] = {}  # of each share of the plan
        self._bytes: dict[str, Counter[str]] = {}  # of each, by kind
        self._done: dict[str, DoneTally] = {}
        self._earlier: dict[str, DoneTally] = {}  # what was done of a share before this machine had it
        self._open: dict[str, Counter[ImageState]] = {}  # what this machine had, and is not done
        self._ours: Counter[str] = Counter()
        self._elsewhere = Progress()
        self._waited = 0.0
        self._kept = self._changed = self._retried = self._gone = self._pruned = 0
        self._newly_gone: list[str] = []
        self._notes: dict[str, str] = {}
        self._failed: dict[str, list[Image]] = {}
        self.failures: list[Image] = []  # of all machines, once the round is over
        self._in_hand: SharePlan | None = None
        self.resumed = self.goes_on = False

    # what is heard

    def listed(self, size: ShareSize) -> None:
        """A share that was read, by whoever lists, or to be worked on."""
        if not self._is_ours(size.name):
            return
        if size.name not in self._images:
            self.ignored.update(size.ignored)
            self._images[size.name] = size.images
            self._kept += size.kept
            self._changed += size.changed
            self._retried += size.retried
            self._gone += size.gone
            self._newly_gone += size.newly_gone
            self._pruned += size.pruned
        if self._bytes.get(size.name, _NOTHING).keys() <= {_UNKNOWN}:
            self._bytes[size.name] = Counter(size.bytes)

    def sized(self, planned: PlannedTally) -> None:
        """A share of the plan that was not read."""
        if planned.share not in self._images and self._is_ours(planned.share):
            self._images[planned.share] = planned.images
            self._bytes[planned.share] = Counter({_UNKNOWN: planned.size})

    def done(self, figures: DoneTally) -> None:
        """Nothing is left of a share, or of a part of one."""
        if self._is_ours(figures.share):
            self._done[figures.share] = figures
            self._open.pop(figures.share, None)

    def knows(self, name: str) -> bool:
        """Whether nothing is to be learned of a share's size."""
        return name in self._images or not self._is_ours(name)

    def begin(self, plan: SharePlan) -> None:
        """A share is worked on."""
        self._in_hand = plan
        self._open[plan.name] = plan.states()
        self._earlier[plan.name] = plan.tally
        if plan.name in self._bytes:
            for index in set(plan.members).difference(plan.todo):
                image = plan.share.images[index]
                self._bytes[plan.name][kind_of(image.source)] -= image.size

    def end(self, plan: SharePlan, ledger: Ledger, ours: bool) -> None:
        """It is not any more; `ours` says whether it was until now."""
        self._in_hand = None
        totals = ledger.totals
        for name in ("converted", "pixels", "source_bytes", "output_bytes"):
            self._ours[name] += getattr(totals, name)
        self._waited += totals.waited
        images = plan.manifest.images
        self._notes.update({self._name_of(images[index]): note for index, note in totals.notes.items()})
        self._failed[plan.name] = [image for image in plan.images if image.state == "failed"]
        states = plan.states()
        if not ours:
            self._open.pop(plan.name)
        elif states["pending"] + states["partial"]:
            self._open[plan.name] = states
        else:
            self.done(plan.tally)

    def elsewhere(self, told: Progress) -> None:
        """Supervisors that this machine looks after have done more."""
        self._elsewhere += told

    def all_listed(self, end: PlanEnd) -> None:
        """What no share tells of."""
        self.complete = True
        self.ignored.update(end.ignored)
        self._kept += end.kept.done
        self._gone += end.kept.gone

    def finished(self, totals: Totals, failed: Iterable[Result]) -> None:
        """The round is over: this is what the job came to, whoever did it."""
        self.complete = True
        self._images = {"job": totals.done + totals.failed}
        self._done = {"job": _tally_of(totals)}
        self._kept, self._gone = 0, totals.gone
        self._open.clear()
        self.failures = [_image_of(result) for result in failed]

    @property
    def has_changed_inputs(self) -> bool:
        """Whether an input failed as it was another one than planned."""
        return any(image.error == INPUT_CHANGED for image in self.failures)

    @property
    def all_told(self) -> bool:
        """Whether nothing is left, by what supervisors elsewhere have told; the logs decide."""
        return self.complete and not self._now().todo

    # what is told

    def planned(self, workers: int, notices: list[str]) -> events.Planned:
        """What is known when the work begins."""
        now, before = self._now(), self._earlier | self._done
        return events.Planned(
            manifest=self._name,
            out=self._out,
            total=now.total,
            todo=now.todo,
            done=now.done,
            done_bytes=sum(each.source_bytes for each in before.values()),
            done_pixels=sum(each.pixels for each in before.values()),
            todo_bytes=now.todo_bytes,
            todo_bytes_by_kind=now.todo_bytes_by_kind,
            new=0 if self.goes_on else sum(self._images.values()) - self._changed - self._retried,
            changed=self._changed,
            missing=0,
            gone=self._gone,
            ignored=dict(self.ignored),
            workers=workers,
            resumed=self.resumed,
            notices=notices,
            complete=self.complete,
        )

    def changed(self, before: events.Planned | events.Listed) -> events.Listed | None:
        """What is known now, where it is more than before."""
        now = self._now()
        same = (before.total, before.done, before.complete) == (now.total, now.done, now.complete)
        return None if same else now

    def of_the_job(self, event: events.Event) -> events.Event:
        """What the ledger of the share in hand tells, as it is for the whole job."""
        if isinstance(event, events.Checkpoint) and self._in_hand is not None:
            others = self._states(without=self._in_hand.name)
            return msgspec.structs.replace(
                event, done=event.done + others["done"], failed=event.failed + others["failed"]
            )
        if isinstance(event, events.Flushed):
            states = self._states(without=self._in_hand.name if self._in_hand else "")
            if self._in_hand:
                states.update(self._in_hand.states())
            left = self._total() - states["done"] - states["failed"]
            return msgspec.structs.replace(event, partial=states["partial"], pending=left - states["partial"])
        return event

    def summary(self, seconds: float, space_needed: int | None) -> events.Summary:
        """All the counts and figures."""
        states, ours = self._states(), self._ours
        total = self._total()
        pending = total - self._gone - states["done"] - states["failed"] - states["partial"]
        interrupted = pending + states["partial"] > 0 or not self.complete
        finished = "complete_with_failures" if states["failed"] else "complete"
        failed = self.failures or [image for images in self._failed.values() for image in images]
        return events.Summary(
            state="interrupted" if interrupted else finished,
            total=total,
            done=states["done"],
            already_done=max(0, states["done"] - ours["converted"] - self._elsewhere.done),
            converted=ours["converted"] + self._elsewhere.done,
            failed=states["failed"],
            partial=states["partial"],
            pending=pending,
            pixels=ours["pixels"] + self._elsewhere.pixels,
            source_bytes=ours["source_bytes"] + self._elsewhere.source_bytes,
            output_bytes=ours["output_bytes"] + self._elsewhere.output_bytes,
            seconds=seconds,
            waited=self._waited,
            ignored=dict(self.ignored),
            changed=self._changed,
            missing=0,
            gone=self._gone,
            newly_gone=self._newly_gone,
            left_out=[],
            pruned=self._pruned,
            notes=self._notes,
            failures={self._name_of(image): image.error or "" for image in failed},
            reasons=outcome.reasons(manifest_for(self._head, failed)),
            manifest=self._name,
            resume=outcome.resume_command(self._name) if interrupted else None,
            space_needed=space_needed,
        )

    # the counting

    def _total(self) -> int:
        return sum(self._images.values()) + self._kept + self._gone

    def _states(self, without: str = "") -> Counter[ImageState]:
        counts: Counter[ImageState] = Counter({"done": self._kept})
        for name, tally in self._done.items():
            if name != without:
                counts["done"] += tally.done
                counts["failed"] += tally.failed
        for name, states in self._open.items():
            if name != without:
                counts.update(states)
        return counts

    def _now(self) -> events.Listed:
        """`todo` is what there was when this machine came to know of it, but for what others have done since."""
        states = self._states()
        total = self._total()
        most = total - self._gone - states["failed"]  # what was done again is told twice
        done = max(states["done"] - self._ours["converted"], min(self._kept + self._elsewhere.done, most))
        by_kind: Counter[str] = Counter()
        for name, sizes in self._bytes.items():
            if name not in self._done or self._was_ours(name):
                by_kind.update(sizes)
        return events.Listed(
            total=total,
            todo=total - self._gone - done - states["failed"],
            done=done,
            todo_bytes=by_kind.total(),
            todo_bytes_by_kind=dict(by_kind),
            complete=self.complete,
        )

    def _was_ours(self, name: str) -> bool:
        return name in self._failed

    def _name_of(self, image: Image) -> str:
        """A name that no other image has."""
        several = len(self._head.inputs) > 1
        return os.path.join(self._head.inputs[image.root], image.source) if several else image.source


def _tally_of(totals: Totals) -> DoneTally:
    return DoneTally(
        share="job",
        done=totals.done,
        failed=totals.failed,
        pixels=totals.pixels,
        source_bytes=totals.source_bytes,
        output_bytes=totals.output_bytes,
        splits=0,
    )


def _image_of(failed: Result) -> Image:
    version = failed.version
    image = Image(root=failed.input, source=failed.source, output=failed.output, size=version.size, mtime_ns=0)
    image.state, image.error = "failed", failed.error
    return image
