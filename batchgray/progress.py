"""Who listens to the stream of events: a bar on terminals, plain lines in logs, NDJSON for programs, or nobody."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal, TextIO

from batchgray import events, spelling, words
from batchgray.streams import show_any_name, write_utf8
from batchgray.tally import Tally

ProgressMode = Literal["auto", "bar", "plain", "json", "none"]
Amount = Literal["quiet", "normal", "verbose"]
Listener = Callable[[events.Event], None]

_PLAIN_SECONDS = 10.0
_APPENDING = ("", "dumb", "unknown")


@contextlib.contextmanager
def listening(mode: ProgressMode, amount: Amount = "normal", terminal: str = "") -> Iterator[Listener]:
    """A listener of this kind that writes to standard output, or to nobody once nobody reads it any more.

    `terminal` is its kind, as TERM says; one that can only append, or says nothing, gets plain lines. `amount` is how
    much people are told. Quiet is about what is not as it should be, on standard error; `json` and `none` are what
    they are with any.
    """
    if mode == "none":
        yield lambda event: None
    elif mode == "json":
        write_utf8(sys.stdout)
        yield _Guarded(lambda event: _write(spelling.to_json(event).decode(), sys.stdout))
    elif amount == "quiet":
        show_any_name(sys.stderr)
        yield _Guarded(_tell_trouble)
    elif mode != "plain" and terminal not in _APPENDING and _is_terminal(sys.stdout):
        from batchgray.bar import Bar  # which takes 0.1 s to import, and most runs have no terminal

        show_any_name(sys.stdout)
        with Bar(verbose=amount == "verbose") as bar:
            yield _Guarded(bar)
    else:
        show_any_name(sys.stdout)
        yield _Guarded(Plain(verbose=amount == "verbose"))


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


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


def _tell_trouble(event: events.Event) -> None:
    for line in words.told_of_trouble(event):
        _write(line, sys.stderr)


class Plain:
    """A line at the start, then at most one every ten seconds, the story of an interruption, and the summary."""

    def __init__(self, verbose: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._verbose = verbose
        self._clock = clock
        self._tally = Tally(clock)
        self._next = clock() + _PLAIN_SECONDS

    def __call__(self, event: events.Event) -> None:
        self._tally.count(event)
        for line in words.told(event) + (words.told_of_image(event) if self._verbose else []):
            _write(line, sys.stdout)
        if isinstance(event, events.Done | events.Failed) and self._clock() >= self._next:
            self._next = self._clock() + _PLAIN_SECONDS
            _write(self._line(), sys.stdout)

    def _line(self) -> str:
        tally = self._tally
        left = tally.seconds_left
        eta = "" if left is None else f", {words.rounded_duration(left)} left"
        failed = f", {tally.failed:,} failed" if tally.failed else ""
        done = f"{tally.done:,} of {words.images(tally.total)}, {tally.pixels / 1e6:,.0f} MP"
        return f"{done}{failed}, {tally.rate:,.0f} MP/s{eta}"


def _write(line: str, stream: TextIO | None) -> None:
    if stream is not None:  # it was closed before we began
        print(line, file=stream, flush=True)
