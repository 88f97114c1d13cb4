"""The progress bar of a terminal, drawn by rich."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from batchgray import events
from batchgray.progress import Tally, duration, told


class Bar:
    """A listener that draws the events so far, and tells the important ones above the bar."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
