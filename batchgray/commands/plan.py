"""What a run would do, in words and for programs: the answer of `run --dry-run`."""

from collections.abc import Iterator

from batchgray import events, quantities
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
        yield line_of(event)
    pruned = f", {len(plan.pruned)} gone and to be pruned" if plan.pruned else ""
    yield end_line(len(plan.todo), plan.already_done, pruned)


def line_of(event: events.WouldConvert) -> str:
    """For people."""
    return f"{shown(event.source)} -> {shown(event.output)}"


def end_line(todo: int, already_done: int, also: str = "") -> str:
    """The last words."""
    return f"{quantities.images(todo)} to convert, {already_done} done already{also}. Nothing was touched."
