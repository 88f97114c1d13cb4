"""The first and the last event of a run: what is planned, and what it came to."""

from collections import Counter
from collections.abc import Sequence

from batchgray import events
from batchgray.engine.ledger import Ledger
from batchgray.engine.supervisor import Outcome
from batchgray.manifest import outcome as outcomes
from batchgray.notices.inbox import NoticeListener
from batchgray.planning.plan import Plan
from batchgray.storage.names import kind_of


def planned(plan: Plan, workers: int, sources: Sequence[NoticeListener]) -> events.Planned:
    """The list is complete."""
    images = plan.manifest.images
    before = outcomes.figures(images)
    kinds: Counter[str] = Counter()
    for index in plan.todo:
        kinds[kind_of(images[index].source)] += images[index].size
    return events.Planned(
        manifest=str(plan.path),
        out=str(plan.out),
        total=len(images),
        todo=len(plan.todo),
        done=plan.already_done,
        done_bytes=before.source_bytes,
        done_pixels=before.pixels,
        todo_bytes=kinds.total(),
        todo_bytes_by_kind=dict(kinds),
        new=plan.new,
        changed=plan.changed,
        missing=plan.missing,
        gone=before.counts["gone"],
        ignored=dict(plan.ignored),
        workers=workers,
        resumed=plan.resumed,
        notices=[source.name for source in sources],
    )


def summarize(plan: Plan, ledger: Ledger, outcome: Outcome, pruned: int) -> events.Summary:
    """All the counts and figures; `pruned` outputs were removed."""
    images, totals, states = plan.manifest.images, ledger.totals, ledger.states
    name_of = outcomes.unique_naming(plan.manifest)
    interrupted = ledger.disk_full or states["pending"] + states["partial"] > 0
    return events.Summary(
        state=plan.manifest.state,
        total=len(images),
        done=states["done"],
        already_done=plan.already_done,
        converted=totals.converted,
        failed=states["failed"],
        partial=states["partial"],
        pending=states["pending"],
        pixels=totals.pixels,
        source_bytes=totals.source_bytes,
        output_bytes=totals.output_bytes,
        seconds=totals.seconds,
        waited=totals.waited,
        ignored=dict(plan.ignored),
        left_out=plan.left_out,
        changed=plan.changed,
        missing=plan.missing,
        gone=states["gone"],
        newly_gone=plan.newly_gone,
        pruned=pruned,
        notes={name_of(images[index]): note for index, note in totals.notes.items()},
        failures={name_of(image): image.error or "" for image in images if image.state == "failed"},
        reasons=outcomes.reasons(plan.manifest),
        manifest=str(plan.path),
        resume=outcomes.resume_command(str(plan.path)) if interrupted else None,
        space_needed=max(outcomes.space_needed(images), outcome.space_needed or 0)
        if ledger.disk_full or outcome.space_needed is not None
        else None,
    )
