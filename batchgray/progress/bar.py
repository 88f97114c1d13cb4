"""The screen of a run on a terminal: a bar, a line for each worker, what went wrong; words and images above it.

Events only count; what is seen is drawn four times a second by rich's thread, so that thousands of events a second cost
no drawing; and only where the terminal has taken what was drawn before, which after Ctrl-S it does not. Lines end short
of the edge: what the terminal echoes (^C) is then drawn over and breaks no line. The cursor is never hidden: after a
stop or a kill of the program it would stay so.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from batchgray import events, quantities, texts
from batchgray.errors import shown
from batchgray.progress import wording
from batchgray.progress.counters import Counters, InHand
from batchgray.progress.outlet import Outlet

_REFRESHES_PER_SECOND = 4
_EDGE = 5
_LEAST_BAR = 10
_LEAST_NAME = 12
_SHOWN_FROM_SECONDS = 1.0
_LINES_KEPT = 1000  # for a terminal that goes on; more would be gone from its screen


class Screen:
    """The terminal as rich's Console wants a file to be; what is written goes through an outlet."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.encoding = outlet.encoding

    @property
    def busy(self) -> bool:
        """Whether what was written is not shown yet, or never will be."""
        return self._outlet.waiting > 0 or self._outlet.closed

    def write(self, text: str) -> None:
        self._outlet.put(text.encode(self.encoding, "backslashreplace"), last=True)

    def flush(self) -> None:
        pass  # the outlet keeps nothing back

    def isatty(self) -> bool:
        return True


class _Terminal(Console):
    def show_cursor(self, show: bool = True) -> bool:
        return False


class _Live(Live):
    """Draws, and says what waits to be said, in one place: so neither is torn by the other.

    A terminal that gets narrower breaks the lines that are there.
    """

    def __init__(self, bar: "Bar", console: Console, terminal: Screen) -> None:
        self.drawn: list[int] = []  # how many cells wide each line was
        self._bar, self._terminal = bar, terminal
        super().__init__(
            console=console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            get_renderable=lambda: bar,
        )

    def refresh(self) -> None:
        if self.is_started and self._terminal.busy:
            return  # the next one shows all that this one would; the last one, at the stop, is never left out
        super().refresh()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        width = self.console.width
        broken = sum(-(-cells // width) - 1 for cells in self.drawn if cells > width)
        up = Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * broken)
        lines = self._bar.take_lines()
        said = [Text("\n".join(lines))] if lines else []
        return [up, *super().process_renderables([*said, *renderables])]


class Bar:
    """A listener that draws the events so far, and tells the important ones above the bar."""

    def __init__(self, screen: Screen, verbose: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._verbose = verbose
        self._clock = clock
        self._counters = Counters(clock)
        self._began = clock()
        self._planned: events.Planned | None = None
        self._flushing_until: float | None = None
        self._stopping = False
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._lock = threading.Lock()  # events come from one thread, drawing from another
        self._console = _Terminal(soft_wrap=True, file=cast(IO[str], screen))
        self._live = _Live(self, self._console, screen)

    def __enter__(self) -> "Bar":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: events.Event) -> None:
        with self._lock:
            self._counters.count(event)
            match event:
                case events.Done() | events.Failed() | events.LeftOut():
                    if self._verbose:
                        self._lines += wording.lines_for_image(event)
                    return
                case events.Started() | events.WorkerEnded() | events.Checkpoint() | events.Listed():
                    return
                case events.Planned():
                    self._planned = event
                case events.Notice():
                    self._flushing_until, self._stopping = self._clock() + event.seconds, event.again
            self._lines += wording.lines_for(event)
        if isinstance(event, events.Summary):
            self._live.stop()  # with these last words
        else:
            self._live.refresh()

    def take_lines(self) -> list[str]:
        """What is to be said above the bar; it is then said."""
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
        return lines

    # the drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(1, options.max_width - _EDGE)
        with self._lock:
            lines = self._draw(width, console.height, console.encoding.startswith("utf"))
        self._live.drawn = [line.cell_len for line in lines]
        yield Text("\n").join(lines)

    def _draw(self, width: int, height: int, unicode: bool) -> list[Text]:
        if self._planned is None:
            return [_cut(f"Looking for images  {quantities.rounded_duration(self._clock() - self._began)}", width)]
        if not self._planned.todo:
            return []
        return [self._bar_line(width, unicode), *self._worker_lines(width, height), self._foot_line(width)]

    def _bar_line(self, width: int, unicode: bool) -> Text:
        """The bar and as many figures as there is room for."""
        counters = self._counters
        share, left = counters.share, counters.seconds_left
        percent, count = f"{share:4.0%}", f"{counters.done:,}/{counters.total_words}"
        pixels = [quantities.megapixels(counters.pixels)] if counters.pixels else []
        rate = [counters.rate] if counters.rate else []
        eta = [] if left is None or self._flushing_until is not None else [f"{quantities.rounded_duration(left)} left"]
        for figures in (
            [f"{count} images", *pixels, *rate, *eta],
            [f"{count} images", *rate, *eta],
            [count, *rate, *eta],
            [count, *eta],
            [count],
        ):
            text = "  ".join(figures)
            room = width - len(percent) - len(text) - 4
            if room >= _LEAST_BAR:
                return Text.assemble(percent, "  ", *_bar(share, room, unicode), "  ", text)
        return _cut(f"{percent}  {count}", width)

    def _worker_lines(self, width: int, height: int) -> Iterator[Text]:
        """What each worker has in hand, as far as half the terminal goes."""
        hands = self._counters.in_hand()
        digits = len(str(max((hand.worker for hand in hands), default=0)))
        room = max(1, height // 2 - 2)
        for hand in hands[:room]:
            yield _worker_line(hand, width, digits)
        if len(hands) > room:
            yield _cut(f"... and {len(hands) - room} more workers", width)

    def _foot_line(self, width: int) -> Text:
        if self._flushing_until is not None:
            left = quantities.rounded_duration(max(0.0, self._flushing_until - self._clock()))
            what = "Stopping" if self._stopping else f"Flushing, at most {left} more; Ctrl-C stops at once"
            return _cut(what, width, "yellow")
        parts = [f"notices: {', '.join(self._planned.notices)}"] if self._planned and self._planned.notices else []
        if self._counters.failed:
            return _cut("; ".join([f"{self._counters.failed:,} failed", *parts]), width, "red")
        if not self._counters.begun:
            return _cut("; ".join(["starting the workers", *parts]), width, "dim")
        return _cut("; ".join(parts), width, "dim")


def _bar(share: float, cells: int, unicode: bool) -> list[tuple[str, str]]:
    """Done and left differ without colours too."""
    done = int(share * cells)
    full, rest = ("━", "─") if unicode else ("#", "-")
    return [(full * done, "green"), (rest * (cells - done), "dim")]


def _worker_line(hand: InHand, width: int, digits: int) -> Text:
    number = f"{hand.worker:>{digits}}  "
    time_taken = f"  {quantities.rounded_duration(hand.seconds)}" if hand.seconds >= _SHOWN_FROM_SECONDS else ""
    room = width - len(number) - len(time_taken)
    if room < _LEAST_NAME:
        return _cut(number + shown(hand.source), width)
    return Text.assemble((number, "dim"), texts.without_middle(shown(hand.source), room, cell_len), (time_taken, "dim"))


def _cut(text: str, width: int, style: str = "") -> Text:
    return Text(texts.beginning(text, width, cell_len), style)
