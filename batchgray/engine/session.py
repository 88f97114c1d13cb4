"""What any run does around its work: hear notices, acknowledge them, say when it told what, ready the fork server."""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from batchgray import errors, events
from batchgray.engine.supervisor import READY_SECONDS
from batchgray.notices.inbox import Inbox, InterruptionNotice, NoticeListener
from batchgray.options import PixelOptions
from batchgray.planning.discovery import JPEG_SUFFIXES
from batchgray.storage import durable
from batchgray.workers.forkserver import ForkServer

AnyEvent = TypeVar("AnyEvent", bound=events.Event)
ExitCode = Literal[0, 3, 75]
DONE: ExitCode = 0
SOME_FAILED: ExitCode = 3
INTERRUPTED: ExitCode = 75

# Which module of the codecs has the kinds of files that are read without Pillow.
_READERS = {".png": "png_input", ".tif": "tiff_input", ".tiff": "tiff_input", ".webp": "webp_input"}


def pause(inbox: Inbox) -> Callable[[], None]:
    """What comes before the work can take long; nothing is begun before it ends, so a notice ends it at once."""

    def pause() -> None:
        notice = inbox.notice
        if notice is not None:
            raise errors.InterruptedEarly(notice.event_id or notice.source)

    return pause


@contextlib.contextmanager
def listening(sources: Sequence[NoticeListener]) -> Iterator[Inbox]:
    inbox = Inbox()
    with contextlib.ExitStack() as stack:
        stack.callback(inbox.close)
        for source in sources:
            source.start(inbox)
            stack.callback(source.stop)
        yield inbox


@contextlib.contextmanager
def folders(*folders: Path) -> Iterator[None]:
    """Make folders. Where the run comes to nothing, those that were made go again."""
    made: list[Path] = []
    try:
        for folder in folders:
            try:
                made = durable.make_folders(folder) + made
            except OSError as error:
                raise errors.UnwritableOutput(folder, error.strerror) from None
        yield
    except BaseException:
        durable.remove_empty(made)
        raise


def wait_until(ready: Callable[[], bool], inbox: Inbox) -> None:
    """Or until a notice comes."""
    while not ready() and inbox.notice is None:
        time.sleep(READY_SECONDS)


def acknowledge(
    notice: InterruptionNotice, sources: Sequence[NoticeListener], flushed: bool, lacking: str
) -> Iterator[str]:
    """Tell the sources that what `notice` led to is durable, if it is. Yields why one of them could not acknowledge:
    `lacking` where it is not durable.
    """
    if flushed:
        yield from filter(None, (source.acknowledge(notice) for source in sources))
    elif notice.source == "smq":
        yield lacking


def at(began: float, event: AnyEvent) -> AnyEvent:
    microseconds = int((time.monotonic() - began) * 1e6)  # to round takes five times as long, twice an image
    return msgspec.structs.replace(event, at=microseconds / 1e6)


def preload(server: ForkServer, planned: events.Planned, pixels: PixelOptions) -> None:
    """What workers will want beside the JPEG library, as far as names tell."""
    wanted = {_READERS.get(kind, "pillow_probes") for kind in planned.todo_bytes_by_kind.keys() - JPEG_SUFFIXES}
    if pixels.metadata == "strip":
        wanted.add("pillow_probes")  # to strip an EXIF block is to read it, with Pillow
    if pixels.format == "png":
        wanted.add("png")
    if wanted:
        server.preload(*(f"codecs.{name}" for name in wanted))


def preload_clients(server: ForkServer, places: Iterable[str]) -> None:
    """The client of OSS, where workers will want it: to import it takes as long as a photograph or two."""
    if any(name.startswith("oss://") for name in places):
        server.preload("storage.oss")


class Wake:
    """What a thread waits for: a notice, or another thread's `set`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._closed = False
        self._lock = threading.Lock()  # for that
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def set(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):  # full: it is set
            if not self._closed:
                os.write(self._writer, b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass

    def wait(self, seconds: float) -> None:
        """So long at most."""
        select.select([self._inbox.fileno(), self._reader], [], [], seconds)

    def close(self) -> None:
        """A thread that sets it later does nothing."""
        with self._lock:
            self._closed = True
            os.close(self._reader)
            os.close(self._writer)
