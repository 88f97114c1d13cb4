"""Standard output and standard error: that they are there, what they can show, and what is written to them."""

import contextlib
import io
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TextIO

import click
import msgspec

from batchgray import errors, spelling
from batchgray.progress import journal
from batchgray.progress.outlet import Outlet


def hold_standard_descriptors() -> None:
    """Where one was closed, the next file that is opened would get its number, and be read or written for it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def show_any_name(stream: TextIO | None) -> None:
    """Where the stream's encoding lacks a character, its code is written in its place."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def write_utf8(stream: TextIO | None) -> None:
    """For JSON, which is UTF-8 whatever the terminal's encoding is."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")


def as_json(record: Any) -> str:
    """For standard output, which is UTF-8 from here on."""
    write_utf8(sys.stdout)
    return msgspec.json.format(spelling.to_json(record), indent=2).decode()


def as_json_lines(record: Callable[[], Any], field: str, items: Iterable[Any]) -> Iterator[str]:
    """A record as JSON, with any number of items in its list `field`, which is empty: each is told as it comes.

    What stands behind that list is of the record as it is after the last item.
    """
    mark = f'  "{field}": []'
    yield as_json(record()).partition(mark)[0] + mark[:-1]
    last = ""
    for item in items:
        if last:
            yield f"{last},"
        text = msgspec.json.format(spelling.to_json(item), indent=2).decode()
        last = textwrap.indent(text, "    ")
    if last:
        yield last
    yield "  ]" + as_json(record()).partition(mark)[2]


def as_json_line(record: Any) -> str:
    """The same on one line."""
    write_utf8(sys.stdout)
    return spelling.to_json(record).decode()


def say(text: str) -> None:
    """Write what was asked for to standard output. A reader that stops reading has what it wants."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        pass
    except OSError as error:
        raise errors.UnwritableStdout(error.strerror) from None


def tell(words: str, seconds: float, priority: int) -> None:
    """On standard error, to systemd's journal with a priority; where nothing is read, the end waits for so long."""
    if journal.is_journal(sys.stderr, os.environ.get("JOURNAL_STREAM", "")):
        words = journal.with_priority(words, priority)
    try:
        outlet = Outlet(sys.stderr, len(words))
    except RuntimeError:  # no thread can be started, which may be what is to be told
        with contextlib.suppress(OSError):
            click.echo(words, err=True)
    else:
        outlet.put_text(words)
        outlet.close(seconds)


def leave(code: int) -> NoReturn:
    """End at once: what is left is memory, which the system takes back sooner than Python does, image by image.

    Nothing is left in Python's streams, whose lock a reader could hold: what is said is flushed, or goes past them.
    """
    os._exit(code)
