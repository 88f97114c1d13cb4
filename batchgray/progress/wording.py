"""What happens in a run, in words for people: the same on a terminal, in a log and in quiet mode."""

from collections.abc import Sequence

from batchgray import events, extras, program, quantities, texts
from batchgray.errors import shown
from batchgray.events import Reason
from batchgray.manifest.outcome import resume_command
from batchgray.quantities import duration, images, megapixels, size
from batchgray.records import CIRCLES, LINKED_FOLDERS, MANY_WAYS, LeftOutKind

_ELSEWHERE = ", in the manifest"
_LINKS = {LINKED_FOLDERS: " --follow-links walks into them.", CIRCLES: "", MANY_WAYS: ""}


def lines_for(event: events.Event) -> list[str]:
    """An event in words; none for what is only counted."""
    match event:
        case events.Started() | events.Done():  # first, as they are thousands
            return []
        case events.Planned():
            return [_planned_line(event)]
        case events.Warned():
            return [f"warning: {event.message}"]
        case events.Node():
            return [f"node {shown(event.node)}: {shown(event.message)}"]
        case events.Notice():
            return [_notice_line(event)]
        case events.Flushed():
            return [_flushed_line(event)]
        case events.Summary():
            return summary_lines(event)
    return []


def lines_for_trouble(event: events.Event) -> list[str]:
    """The same in quiet mode: only what is not as it should be."""
    match event:
        case events.Warned() | events.Node() | events.Notice() | events.Flushed():
            return lines_for(event)
        case events.Summary():
            return reason_lines(event.reasons) + _next_lines(event)
    return []


def lines_for_image(event: events.Event) -> list[str]:
    """A line for an image that is through, or for what is none."""
    match event:
        case events.Done():
            figures = f"{event.width} x {event.height}, {size(event.source_bytes)} -> {size(event.output_bytes)}"
            note = f" ({shown(event.note)})" if event.note else ""
            return [f"{shown(event.source)}: {figures}, {duration(event.seconds)}{note}"]
        case events.Failed():
            return [f"{shown(event.source)} failed: {_shown_reason(event.error)}"]
        case events.LeftOut():
            return [f"{shown(event.source)} is not taken: {shown(event.kind)}"]
    return []


def _planned_line(event: events.Planned) -> str:
    if not event.todo and event.complete:
        return f"{images(event.total)}, nothing to do."
    total = images(event.total) if event.complete else f"at least {images(event.total)}"
    parts = [f"{total}, {event.done:,} done already" if event.done else total]
    if event.changed:
        parts.append(f"{event.changed:,} changed since")
    if event.missing:
        parts.append(f"{event.missing:,} with their output missing")
    if event.gone:
        parts.append(f"{event.gone:,} gone")
    verb = "Going on with" if event.resumed else "Converting"
    plural = "s" if event.workers > 1 else ""
    todo = images(event.todo) if event.complete else "what is listed"
    what = f"{verb} {todo} ({', '.join(parts)}; {size(event.todo_bytes)})"
    notices = f"; notices from {', '.join(event.notices)}" if len(event.notices) > 1 else ""
    return f"{what}, {event.workers} worker{plural}, to {shown(event.out)}{notices}"


def _notice_line(event: events.Notice) -> str:
    """Where the notice came from, how long there is, and what is being done."""
    if event.again:
        return f"Interrupted again by {event.event_id or event.source}: stopping at once; what is finished is kept."
    if event.source == "disk":
        why = "The disk is full" if event.event_id is None else f"The output can't be written ({event.event_id})"
    elif event.source == "signal":
        why = f"Interrupted by {event.event_id}"
    else:
        when = f" at {event.deadline}" if event.deadline else ""
        why = f"This machine will be taken away{when} (notice from {event.source})"
    if not event.in_hand:
        return f"{why}: nothing is in hand, stopping."
    return f"{why}: finishing or saving {images(event.in_hand)} in hand, at most {event.seconds:.0f} s."


def _flushed_line(event: events.Flushed) -> str:
    failed = f" ({event.failed:,} failed)" if event.failed else ""
    parts = (
        f"{event.finished:,} finished{failed}, {event.kept:,} kept as partial, {event.put_back:,} put back to pending"
    )
    became = f": of {images(event.in_hand)} in hand {parts}" if event.in_hand else ""
    left = f"{event.partial:,} partial, {event.pending:,} pending"
    return f"Everything is on disk after {event.seconds:.2f} s{became}. Left: {left}."


def summary_lines(event: events.Summary) -> list[str]:
    """The last words of a run."""
    lines = []
    if not event.converted and event.done + event.gone < event.total:
        lines.append(f"Converted nothing in {duration(event.seconds)}.")
    elif event.converted:
        rate = quantities.rate(event.pixels, event.converted, event.seconds)
        lines.append(
            f"Converted {images(event.converted)}, {megapixels(event.pixels)} in {duration(event.seconds)} "
            f"({rate}), {size(event.source_bytes)} -> {size(event.output_bytes)}."
        )
    left = [
        f"{count:,} {word}"
        for count, word in (
            (event.partial, "partial"),
            (event.pending, "pending"),
            (event.failed, "failed"),
            (event.gone, "gone"),
        )
        if count
    ]
    before = f" ({event.already_done:,} skipped, done before)" if event.already_done else ""
    counts = ", ".join([f"Done: {event.done:,} of {images(event.total)}{before}", *left])
    lines.append(f"{counts}. Manifest: {shown(event.manifest)}")
    if event.changed:
        lines.append(f"Taken up again because the input had changed: {event.changed:,}.")
    if event.missing:
        lines.append(f"Taken up again because the output was missing: {event.missing:,}.")
    if event.newly_gone:
        names = texts.names(event.newly_gone)
        lines.append(
            f"Inputs that are gone since the last run: {names}. What was made of them stays; --prune removes it."
        )
    if event.pruned:
        lines.append(f"Removed because the input is gone: {event.pruned:,}.")
    lines += _left_out_lines(event)
    lines += _note_lines(event.notes)
    lines += reason_lines(event.reasons)
    return lines + _next_lines(event)


def _left_out_lines(event: events.Summary) -> list[str]:
    """File types by their numbers, links by their names."""
    lines = []
    kinds = sorted(event.ignored.items(), key=lambda item: -item[1])
    types = ", ".join(f"{count:,} {shown(kind)}" for kind, count in kinds if kind not in _LINKS)
    if types:
        lines.append(f"Left out, as files of these types are not read: {types}.")
    if remedy := extras.remedy_for(event.ignored):
        lines.append(f"To convert them too: {remedy}; then run again.")
    for kind in event.left_out:
        if kind.kind in _LINKS:
            lines.append(f"Left out: {left_out_kind(kind)}.{_LINKS[kind.kind]}")
    return lines


def left_out_kind(kind: LeftOutKind) -> str:
    """How many of a kind, and the names of the first."""
    names = f": {texts.names(kind.sources, kind.count)}" if kind.sources else ""
    return f"{kind.count:,} {shown(kind.kind)}{names}"


def _next_lines(event: events.Summary) -> list[str]:
    lines = []
    if event.space_needed is not None:
        lines.append(f"The disk is full: about {size(event.space_needed)} more are needed for what is left.")
    if event.resume:
        lines.append(f"To go on: {shown(event.resume)}")
    elif event.failed:
        lines.append(trying_again(event.manifest))
    return lines


def trying_again(manifest: str) -> str:
    """What to type when images failed."""
    return f"To try what failed again, once it is mended: {shown(resume_command(manifest))}"


def _note_lines(notes: dict[str, str]) -> list[str]:
    """What is to know of converted images, a note a line: one that hundreds have would hide the others."""
    if not notes:
        return []
    lines = [f"  {texts.names(one.names, one.count)}: {shown(one.text)}" for one in texts.shared(notes.items())]
    return ["Notes:", *texts.first_lines(lines, _ELSEWHERE)]


def reason_lines(reasons: Sequence[Reason]) -> list[str]:
    """Why images failed, a reason a line."""
    if not reasons:
        return []
    lines = [f"  {texts.names(reason.sources, reason.count)}: {_shown_reason(reason.error)}" for reason in reasons]
    failed = images(sum(reason.count for reason in reasons))
    return [f"Failed: {failed}", *texts.first_lines(lines, _ELSEWHERE)]


def _shown_reason(error: str) -> str:
    return program.as_called(shown(error))


def left_out(lines: int) -> str:
    """In place of lines that could not be shown in time."""
    return f"... {lines:,} line{'' if lines == 1 else 's'} left out, as nothing was read here"
