"""Three listeners to one stream of events: a bar for terminals, plain lines for logs, NDJSON for programs."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from types import TracebackType
from typing import Literal, TextIO

import msgspec

from batchgray import events
from batchgray.errors import shown

ProgressMode = Literal["auto", "bar", "plain", "json", "none"]
Listener = Callable[[events.Event], None]

_PLAIN_SECONDS = 10.0
_LISTED = 20


@contextlib.contextmanager
def listening(mode: ProgressMode) -> Iterator[Listener]:
    """A listener of this kind that writes to standard output, or to nobody once nobody reads it any more."""
    if sys.stdout is None:  # closed before we began
        mode = "none"
    show_any_name(sys.stdout)
    if mode == "auto":
        mode = "bar" if sys.stdout.isatty() else "plain"
    if mode == "none":
        yield lambda event: None
    elif mode == "json":
        write_utf8(sys.stdout)
        yield _Guarded(lambda event: _write(msgspec.json.encode(event).decode()))
    elif mode == "plain":
        yield _Guarded(Plain())
    else:
        with Bar() as bar:
            yield _Guarded(bar)


def show_any_name(stream: TextIO | None) -> None:
    """Where the stream's encoding lacks a character, its code is written in its place."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def write_utf8(stream: TextIO | None) -> None:
    """For JSON, which is UTF-8 whatever the terminal's encoding is."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")


class _Guarded:
    """Progress is for whoever looks; when nobody does (a closed pipe, a full disk behind it), the work goes on."""

    def __init__(self, listener: Listener) -> None:
        self._listener: Listener | None = listener

    def __call__(self, event: events.Event) -> None:
        if self._listener is None:
            return
        try:
            self._listener(event)
        except (OSError, ValueError):
            self._listener = None


class Plain:
    """A line at the start, then at most one every ten seconds, the story of an interruption, and the summary."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._next = time.monotonic() + _PLAIN_SECONDS

    def __call__(self, event: events.Event) -> None:
        self._tally.count(event)
        for line in told(event):
            _write(line)
        if isinstance(event, events.Done) and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PLAIN_SECONDS
            _write(self._tally.line())


class Tally:
    """What has come so far, and how long the rest will take: by bytes of input, since images differ in size."""

    def __init__(self) -> None:
        self.done = self.failed = self.total = self.todo_bytes = self.seen_bytes = self.pixels = 0
        self.seconds = 0.0
        self._began = time.monotonic()

    def count(self, event: events.Event) -> None:
        match event:
            case events.Planned():
                self.done, self.total, self.todo_bytes = event.done, event.total, event.todo_bytes
            case events.Done():
                self.done += 1
                self.pixels += event.width * event.height
                self.seen_bytes += event.source_bytes
            case events.Failed():
                self.failed += 1
                self.seen_bytes += event.source_bytes
        self.seconds = time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Megapixels a second."""
        return self.pixels / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        if not self.seen_bytes:
            return None
        return max(0, self.todo_bytes - self.seen_bytes) / self.seen_bytes * self.seconds

    def line(self) -> str:
        left = self.seconds_left
        eta = "" if left is None else f", {duration(left)} left"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} images{failed}, {self.rate:.0f} MP/s{eta}"


class Bar:
    """A listener that draws the events so far, and tells the important ones above the bar."""

    def __init__(self) -> None:
        from rich.console import Console  # rich takes 0.1 s to import, and most runs have no terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        class Terminal(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would end the whole process here

        self._console = Terminal(highlight=False, soft_wrap=True)
        self._tally = Tally()
        self._progress = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[images]}", justify="right"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            refresh_per_second=4,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, start=False, visible=False, images="", rate="", left="")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            self._progress.stop()

    def __call__(self, event: events.Event) -> None:
        tally = self._tally
        tally.count(event)
        if isinstance(event, events.Summary):
            self._progress.stop()
        for line in told(event):
            self._console.print(line, markup=False)
        if isinstance(event, events.Planned) and event.todo:
            self._progress.start_task(self._task)
            self._progress.update(self._task, total=max(1, event.todo_bytes), visible=True)
        left = tally.seconds_left
        self._progress.update(
            self._task,
            completed=tally.seen_bytes,
            images=f"{tally.done}/{tally.total}" + (f", {tally.failed} failed" if tally.failed else ""),
            rate=f"{tally.rate:.0f} MP/s",
            left="" if left is None else f"{duration(left)} left",
        )


def told(event: events.Event) -> list[str]:
    """An event in words, for those that a person wants to read."""
    match event:
        case events.Planned():
            return [_planned_line(event)]
        case events.Warned():
            return [f"warning: {event.message}"]
        case events.Notice():
            return [_notice_line(event)]
        case events.Flushed():
            return [f"Flushed in {event.seconds:.2f} s: {event.partial} begun, {event.pending} not begun."]
        case events.Summary():
            return summary_lines(event)
    return []


def _planned_line(event: events.Planned) -> str:
    if not event.todo:
        return f"{event.total} images, nothing to do."
    parts = [f"{event.total} images, {event.done} done already" if event.done else f"{event.total} images"]
    if event.changed:
        parts.append(f"{event.changed} changed since")
    if event.missing:
        parts.append(f"{event.missing} with their output gone")
    verb = "Going on with" if event.resumed else "Converting"
    plural = "s" if event.workers > 1 else ""
    what = f"{verb} {event.todo} images ({', '.join(parts)}; {size(event.todo_bytes)})"
    notices = f"; notices from {', '.join(event.notices)}" if len(event.notices) > 1 else ""
    return f"{what}, {event.workers} worker{plural}, to {shown(event.out)}{notices}"


def _notice_line(event: events.Notice) -> str:
    if event.source == "disk":
        what = "The disk is full" if event.event_id is None else f"The output can't be written ({event.event_id})"
        return f"{what}. Flushing what is finished..."
    if event.again:
        return f"Interrupted again ({event.event_id or event.source}): stopping at once..."
    if event.source == "signal":
        return f"Interrupted ({event.event_id}): flushing, at most {event.seconds:.0f} s..."
    when = f" at {event.deadline}" if event.deadline else ""
    notice = f"This machine will be taken away{when} (notice from {event.source})"
    return f"{notice}: flushing, at most {event.seconds:.0f} s..."


def summary_lines(event: events.Summary) -> list[str]:
    """The last words of a run."""
    lines = []
    if event.converted or not event.already_done:
        rate = event.pixels / 1e6 / event.seconds if event.seconds else 0.0
        lines.append(
            f"Converted {event.converted} images, {event.pixels / 1e6:,.0f} MP in {duration(event.seconds)} "
            f"({rate:.0f} MP/s), {size(event.source_bytes)} -> {size(event.output_bytes)}."
        )
    left = [
        f"{count} {word}"
        for count, word in ((event.partial, "begun"), (event.pending, "not begun"), (event.failed, "failed"))
        if count
    ]
    counts = ", ".join([f"Of {event.total} images {event.done} are done", *left])
    lines.append(f"{counts}. Manifest: {shown(event.manifest)}")
    if event.changed:
        lines.append(f"Made anew because the input had changed: {event.changed}.")
    if event.missing:
        lines.append(f"Made anew because the output was gone: {event.missing}.")
    if event.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(event.ignored.items(), key=lambda item: -item[1]))
        lines.append(f"Not images, left out: {kinds}.")
    lines += _listed("Notes", event.notes)
    lines += _listed("Failed", event.failures)
    if event.space_needed is not None:
        lines.append(f"The disk is full: about {size(event.space_needed)} more are needed for what is left.")
    if event.resume:
        lines.append(f"To go on: {shown(event.resume)}")
    return lines


def _listed(title: str, reasons: dict[str, str]) -> list[str]:
    if not reasons:
        return []
    more = [f"  ... and {len(reasons) - _LISTED} more, in the manifest"] if len(reasons) > _LISTED else []
    return [
        f"{title}:",
        *(f"  {shown(name)}: {shown(reason)}" for name, reason in islice(reasons.items(), _LISTED)),
        *more,
    ]


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def size(count: float) -> str:
    """Bytes as people write them, in powers of 1000: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _write(line: str) -> None:
    print(line, flush=True)
