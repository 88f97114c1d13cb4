"""Frozen records between the supervisor, the fork server and the workers, and how they cross a pipe (msgpack)."""

import select
import threading
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from batchgray import spelling
from batchgray.options import PixelOptions
from batchgray.planes.slots import SlotRecord
from batchgray.records import InputVersion, Task


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


# supervisor to worker


class Setup(_Message, frozen=True, kw_only=True):
    """The first message. `out` and `flight` are absolute folders; `checkpoint` is in seconds.

    `cores` are the most that one worker may use for an image in bands; how many it may use now, the slot says.
    Of a job `job` tells where its inputs and outputs are (see `job_places`), and both folders are scratch. What of them
    is on the way, inputs that are fetched ahead and outputs that wait for an answer, may take `on_the_way_bytes` of
    memory.
    """

    worker: int
    out: str
    out_base64: spelling.Bytes = msgspec.UNSET
    flight: str
    flight_base64: spelling.Bytes = msgspec.UNSET
    pixels: PixelOptions
    max_pixels: int
    checkpoint: float
    cores: int = 1
    times: bool = False
    job: bytes = b""
    on_the_way_bytes: int = 0


class Convert(_Message, frozen=True):
    """Images to convert, in this order.

    The slot is `slot_bytes` long now, and `scratch_bytes` of codec memory are this worker's.
    """

    tasks: list[Task]
    slot_bytes: int
    scratch_bytes: int


class Preview(_Message, frozen=True):
    """Draw the partial JPEG of an image from its sidecar, then exit. The slot is long enough for it."""

    task: Task
    slot_bytes: int
    scratch_bytes: int = 0


class GiveBack(_Message, frozen=True):
    """Others are short of memory while this worker waits: the slot is `slot_bytes` long now."""

    slot_bytes: int
    scratch_bytes: int = 0


class Granted(_Message, frozen=True):
    """The slot is `slot_bytes` long now, and `scratch_bytes` of codec memory are this worker's."""

    slot_bytes: int
    scratch_bytes: int


class Refused(_Message, frozen=True):
    """The memory asked for can't be had, now or later: the reason, and what to do about it, for people."""

    reason: str
    remedy: str


# worker to supervisor


class Ready(_Message, frozen=True):
    """Booted and waiting."""


class Idle(_Message, frozen=True):
    """Everything in the first so many `chunks` is converted (though perhaps not yet durable)."""

    chunks: int


class WantsMore(_Message, frozen=True):
    """It could have the sources of more images fetched while it converts what it has: of about so many bytes."""

    size: int


class NeedMemory(_Message, frozen=True):
    """The image in hand needs a slot of `slot_bytes`, and `scratch_bytes` for its codec."""

    slot_bytes: int
    scratch_bytes: int


class ImageDone(msgspec.Struct, frozen=True, kw_only=True):
    """A finished output, durable under its final name.

    `tiles_computed` and `decoded` say what this process had to do for it, for `seconds`, after it had `waited`.
    """

    index: int
    version: InputVersion
    width: int
    height: int
    tiles_total: int
    tiles_computed: int
    decoded: bool
    output_size: int
    checksum: str
    note: str | None
    seconds: float
    waited: float = 0.0


class Done(_Message, frozen=True):
    """Outputs that became durable in one group."""

    images: list[ImageDone]


class Failed(_Message, frozen=True):
    """An image that can't be converted, and why."""

    index: int
    reason: str


class Flushed(_Message, frozen=True):
    """The finished tiles of a begun image are durable: at a checkpoint, or because the run is interrupted."""

    index: int
    version: InputVersion
    width: int
    height: int
    tiles_done: int
    tiles_total: int


def flushed(task: Task, record: SlotRecord, tiles_done: int) -> Flushed:
    """What to report when so many tiles of the image that `record` describes are durable."""
    return Flushed(
        index=task.index,
        version=record.version,
        width=record.width,
        height=record.height,
        tiles_done=tiles_done,
        tiles_total=record.tiles_total,
    )


class OutputFault(_Message, frozen=True):
    """A write failed, for no fault of the image: the disk is `full`, broken, read-only or gone.

    Nothing was left half-written; the image is as it was before. Its output would have been `needed` bytes long.
    """

    index: int
    needed: int
    full: bool
    reason: str


class Broken(_Message, frozen=True):
    """A worker, or the fork server, can't go on: not an image's fault."""

    reason: str


# supervisor and fork server


class Fork(_Message, frozen=True):
    """Start a worker; its pipe, its slot and what it holds of the run follow as descriptors."""


class Preload(_Message, frozen=True):
    """Import what only some images or places need, so that the workers that are forked from now on share it."""

    modules: frozenset[str]  # of this package, as `codecs.png`


class Kill(_Message, frozen=True):
    """Send a signal to a worker, if it still runs."""

    pid: int
    signal: int


class Booted(_Message, frozen=True):
    """The fork server has imported the worker and compiled the kernel."""


class Forked(_Message, frozen=True):
    pid: int


class Exited(_Message, frozen=True):
    """A worker ended; `status` as `os.waitstatus_to_exitcode` gives it: negative for a signal.

    `peak_bytes` is the most memory it ever had, its slot included.
    """

    pid: int
    status: int
    peak_bytes: int


ToWorker = Setup | Convert | Preview | GiveBack | Granted | Refused
FromWorker = Ready | Idle | WantsMore | NeedMemory | Done | Failed | Flushed | OutputFault | Broken
ToServer = Fork | Kill | Preload
FromServer = Booted | Broken | Forked | Exited

_encoder = msgspec.msgpack.Encoder()


class Channel:
    """One end of a pipe that carries records; `incoming` is the union of what may arrive.

    `send` may be called by several threads. When the other end is gone, `receive` raises EOFError and `send` an
    OSError.
    """

    def __init__(self, connection: Connection, incoming: Any) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._decoder = msgspec.msgpack.Decoder(incoming)

    def send(self, message: msgspec.Struct) -> None:
        try:
            data = _encoder.encode(message)
        except UnicodeEncodeError:
            data = _encoder.encode(spelling.spelled(message))
        with self._sending:
            self._connection.send_bytes(data)

    def receive(self) -> Any:
        try:
            data = self._connection.recv_bytes()
        except ConnectionResetError:
            raise EOFError from None
        return spelling.decoded(self._decoder, data)

    def waiting(self, seconds: float) -> bool:
        """Whether `receive` would return, or raise, without waiting, within so many seconds."""
        return bool(select.select([self._connection], [], [], max(0.0, seconds))[0])

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()
