"""The listeners to the stream of events: a bar on terminals, plain lines in logs, NDJSON for programs, or none.

Listeners never wait: their lines go through an outlet. Where nothing is read, lines for people are dropped. NDJSON is
for programs, which want all of it: while much of it waits the run hands nothing out, as long as something is taken now
and then; only what does not fit into memory any more is dropped.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal, TextIO

from batchgray import events, quantities, spelling
from batchgray.progress import journal, wording
from batchgray.progress.counters import Counters
from batchgray.progress.outlet import Outlet

ProgressMode = Literal["auto", "bar", "plain", "json", "none"]
Amount = Literal["quiet", "normal", "verbose"]
Listener = Callable[[events.Event], None]
Prefix = Callable[[events.Event], str]  # before each line of an event

_PLAIN_SECONDS = 10.0
_APPENDING = ("", "dumb", "unknown")
_LINES_BYTES = 1 << 18
_JSON_BYTES = 1 << 24
_JSON_BEHIND_BYTES = 1 << 18  # a thousand events
_END_SECONDS = 3.0  # after an interruption; a run that is through waits until all is read, or a signal comes
_ENDS_OF_IMAGES = (events.Done, events.Failed)
_LAST_WORDS = (events.Notice, events.Flushed, events.Summary)


class Feed:
    """A listener, and whether it is `ready` for what more work would tell."""

    def __init__(self, listener: Listener, ready: Callable[[], bool] = lambda: True) -> None:
        self._listener, self.ready = listener, ready
        self.through = False  # the run is at its end, and was not interrupted
        self.abandoned = False

    def __call__(self, event: events.Event) -> None:
        self._listener(event)
        if isinstance(event, events.Summary):
            self.through = event.resume is None

    def abandon_reader(self) -> None:
        """The end waits no longer for what is still to be read. A signal handler may call it."""
        self.abandoned = True


@contextlib.contextmanager
def listening(
    mode: ProgressMode, amount: Amount = "normal", terminal: str = "", journal_stream: str = ""
) -> Iterator[Feed]:
    """A listener of this kind that writes to standard output, and drops everything once that is closed.

    `terminal` is its kind, as TERM says; one that can only append, or says nothing, gets plain lines. Those that go to
    systemd's journal, as JOURNAL_STREAM says, tell it how much they weigh. `amount` is how
    much people are told. Quiet is about what is not as it should be, on standard error; `json` and `none` are what
    they are with any.
    """
    if mode == "none":
        yield Feed(lambda event: None)
    elif mode == "json":
        json = Json(sys.stdout)
        with _closing(json.outlet, Feed(json, json.is_ready)) as feed:
            yield feed
    elif amount == "quiet":
        outlet = _outlet_for_lines(sys.stderr)
        prefix = journal.prefixing(sys.stderr, journal_stream)
        trouble = Feed(lambda event: _tell(outlet, wording.lines_for_trouble(event), event, prefix))
        with _closing(outlet, trouble) as feed:
            yield feed
    elif mode != "plain" and terminal not in _APPENDING and _is_terminal(sys.stdout):
        from batchgray.progress.bar import Bar, Screen  # which takes 0.1 s to import, and most runs have no terminal

        outlet = Outlet(sys.stdout, 0)
        bar = Bar(Screen(outlet), verbose=amount == "verbose")
        with _closing(outlet, Feed(bar)) as feed, bar:
            yield feed
    else:
        outlet = _outlet_for_lines(sys.stdout)
        prefix = journal.prefixing(sys.stdout, journal_stream)
        with _closing(outlet, Feed(Plain(outlet, verbose=amount == "verbose", prefix=prefix))) as feed:
            yield feed


@contextlib.contextmanager
def _closing(outlet: Outlet, feed: Feed) -> Iterator[Feed]:
    try:
        yield feed
    finally:
        outlet.close(None if feed.through else _END_SECONDS, lambda: feed.abandoned)


def _outlet_for_lines(stream: TextIO | None) -> Outlet:
    return Outlet(stream, _LINES_BYTES, lambda lines: f"{wording.left_out(lines)}\n".encode("ascii"))


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _tell(outlet: Outlet, lines: list[str], event: events.Event, prefix: Prefix) -> None:
    for line in lines:
        outlet.put_text(prefix(event) + line, last=isinstance(event, _LAST_WORDS))


class Json:
    """A line for each event."""

    def __init__(self, stream: TextIO | None) -> None:
        self.outlet = Outlet(stream, _JSON_BYTES, self._gap)
        self._at = 0.0

    def __call__(self, event: events.Event) -> None:
        self._at = event.at
        self.outlet.put(_line(event), last=isinstance(event, _LAST_WORDS))

    def is_ready(self) -> bool:
        return self.outlet.is_read(within=_JSON_BEHIND_BYTES)

    def _gap(self, lines: int) -> bytes:
        return _line(events.Dropped(at=self._at, count=lines))


def _line(event: events.Event | events.Dropped) -> bytes:
    return spelling.to_json(event) + b"\n"


class Plain:
    """A line at the start, then at most one every ten seconds, the story of an interruption, and the summary."""

    def __init__(
        self,
        outlet: Outlet,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
        prefix: Prefix = lambda event: "",
    ) -> None:
        self._outlet = outlet
        self._prefix = prefix
        self._verbose = verbose
        self._clock = clock
        self._counters = Counters(clock)
        self._next = clock() + _PLAIN_SECONDS

    def __call__(self, event: events.Event) -> None:
        self._counters.count(event)
        lines = wording.lines_for(event) + (wording.lines_for_image(event) if self._verbose else [])
        _tell(self._outlet, lines, event, self._prefix)
        if isinstance(event, _ENDS_OF_IMAGES) and self._clock() >= self._next:
            self._next = self._clock() + _PLAIN_SECONDS
            self._outlet.put_text(self._line())

    def _line(self) -> str:
        counters = self._counters
        left = counters.seconds_left
        eta = "" if left is None else f", {quantities.rounded_duration(left)} left"
        failed = f", {counters.failed:,} failed" if counters.failed else ""
        pixels = quantities.megapixels(counters.pixels)
        rate = f", {counters.rate}" if counters.rate else ""
        plural = "s" * (counters.total != 1)
        return f"{counters.done:,} of {counters.total_words} image{plural}, {pixels}{failed}{rate}{eta}"
