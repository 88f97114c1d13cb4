"""What a run would do, in words and for programs: the answer of `run --dry-run`."""

from collections.abc import Iterator

from batchgray import events
from batchgray.errors import shown
from batchgray.planning.plan import Plan


def conversions(plan: Plan) -> Iterator[events.WouldConvert]:
    """What would be converted, in the order of the plan."""
    for index in plan.todo:
        image = plan.manifest.images[index]
        yield events.WouldConvert(source=plan.source_path(image), output=str(plan.out / image.output))


def plan_lines(plan: Plan) -> Iterator[str]:
    """For people."""
    for event in conversions(plan):
        yield f"{shown(event.source)} -> {shown(event.output)}"
    pruned = f", {len(plan.pruned)} gone and to be pruned" if plan.pruned else ""
    yield f"{len(plan.todo)} images to convert, {plan.already_done} done already{pruned}. Nothing was touched."
