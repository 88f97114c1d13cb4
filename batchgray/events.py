"""What happens in a run, as records: the stream that the progress listeners share, and the lines of `--progress json`.

Each has an `event` and, once it is sent, the moment `at` (seconds since the run began). Fields and events are only
ever added. A name is as in the manifest's records, so it may hold bytes that are not UTF-8 (see `spelling`).
"""

from typing import Literal

import msgspec

from batchgray.records import LeftOutKind
from batchgray.spelling import Bytes, KeyBytes, ListBytes

NoticeSource = Literal["smq", "metadata", "signal", "disk"]  # what interrupts a run


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=lambda name: name.lower()):
    at: float = 0.0


class Planned(_Event, frozen=True, kw_only=True):
    """The list is complete, but of a job where `complete` is false: there it goes on, and `listed` events follow.

    `todo` images will be worked on; `done` are done already; sizes are bytes of input.

    `done_pixels` are those of the images that are done, so that bar and count have one scale.
    `todo_bytes_by_kind` are those bytes by suffix: what a byte costs differs between kinds of files.
    """

    manifest: str
    manifest_base64: Bytes = msgspec.UNSET
    out: str
    out_base64: Bytes = msgspec.UNSET
    total: int
    todo: int
    done: int
    done_bytes: int
    done_pixels: int
    todo_bytes: int
    todo_bytes_by_kind: dict[str, int]
    new: int
    changed: int
    missing: int
    gone: int
    ignored: dict[str, int]
    workers: int
    resumed: bool
    notices: list[str]
    complete: bool = True


class Listed(_Event, frozen=True, kw_only=True):
    """More of a job's list is known, or more was done by others: what `planned` told as it is now.

    `complete` says whether all is listed by now; until then `total` is what there is at least.
    """

    total: int
    todo: int
    done: int
    todo_bytes: int
    todo_bytes_by_kind: dict[str, int]
    complete: bool


class LeftOut(_Event, frozen=True, kw_only=True, tag="left_out"):
    """A file, a link or a folder below an INPUT that is not taken, and of what kind it is.

    It comes while the list is being made, before `planned`, at 0.
    """

    source: str
    source_base64: Bytes = msgspec.UNSET
    kind: str


class Started(_Event, frozen=True, kw_only=True):
    """An image was handed to a worker."""

    source: str
    source_base64: Bytes = msgspec.UNSET
    source_bytes: int
    output: str
    output_base64: Bytes = msgspec.UNSET
    worker: int


class WorkerEnded(_Event, frozen=True, tag="worker_ended"):
    """A worker process is gone; what it was handed and did not finish is handed out again while the run goes on."""

    worker: int


class Done(_Event, frozen=True, kw_only=True):
    """An output is durable. `tiles_computed` and `decoded` tell what this run had to do for it, for `seconds`.

    Before that its worker had `waited`, for its input or for room for the output before it, so many seconds.
    """

    source: str
    source_base64: Bytes = msgspec.UNSET
    output: str
    output_base64: Bytes = msgspec.UNSET
    source_bytes: int
    output_bytes: int
    width: int
    height: int
    tiles_total: int
    tiles_computed: int
    decoded: bool
    seconds: float
    waited: float = 0.0
    note: str | None


class Failed(_Event, frozen=True, kw_only=True):
    """An image can't be converted. `source_bytes` is 0 where it was not even tried.

    `output` is where it would have gone; empty where planning had to refuse the input.
    """

    source: str
    source_base64: Bytes = msgspec.UNSET
    output: str
    output_base64: Bytes = msgspec.UNSET
    error: str
    source_bytes: int


class Checkpoint(_Event, frozen=True):
    """The journal is on disk as far as `done` images."""

    done: int
    failed: int


class Warned(_Event, frozen=True):
    """Something that is not as it should be, while the work goes on."""

    message: str


class Node(_Event, frozen=True, kw_only=True):
    """Something about a machine of a cluster that works on the job, in words: it came, it goes, it can't work."""

    node: str
    message: str


class Notice(_Event, frozen=True):
    """An interruption: from where, which, when the machine goes, and how many seconds there are to flush.

    `in_hand` images are with the workers: each is finished, or what is finished of it is kept, or it is put back.
    `again` tells a second signal, which ends the flush.
    """

    source: NoticeSource
    event_id: str | None
    deadline: str | None
    seconds: float
    in_hand: int
    again: bool = False


class Flushed(_Event, frozen=True):
    """Everything is durable and the workers are gone.

    What was `in_hand` when the notice came is `finished` (of which `failed` with a reason), `kept` as partial, or
    `put_back` to pending; that is all of it. `partial` and `pending` count the images in these states.
    """

    in_hand: int
    finished: int
    kept: int
    put_back: int
    failed: int
    partial: int
    pending: int
    seconds: float


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why images failed: in the words of the first, of how many, and the names of the first few."""

    error: str
    count: int
    sources: list[str]
    sources_base64: ListBytes = msgspec.UNSET


class Summary(_Event, frozen=True, kw_only=True):
    """The last line. `total` to `pending` count the manifest's images; pixels and bytes are of those `converted` now.

    `failures` gives each failed image its reason, `reasons` each reason its images, `notes` what is to know of a
    converted one; `newly_gone` are the names of inputs that went since the last run, `pruned` counts the outputs that
    were removed as their inputs are gone; `resume` is the command that goes on, where there is work left;
    `space_needed` is about how many bytes a full disk lacks. `waited` is how many seconds all workers together stood
    still, for inputs or for room for outputs.
    """

    state: str
    total: int
    done: int
    already_done: int
    converted: int
    failed: int
    partial: int
    pending: int
    pixels: int
    source_bytes: int
    output_bytes: int
    seconds: float
    waited: float = 0.0
    ignored: dict[str, int]
    left_out: list[LeftOutKind]
    changed: int
    missing: int
    gone: int
    newly_gone: list[str]
    newly_gone_base64: ListBytes = msgspec.UNSET
    pruned: int
    notes: dict[str, str]
    notes_base64: KeyBytes = msgspec.UNSET
    failures: dict[str, str]
    failures_base64: KeyBytes = msgspec.UNSET
    reasons: list[Reason]
    manifest: str
    manifest_base64: Bytes = msgspec.UNSET
    resume: str | None
    space_needed: int | None


class WouldConvert(_Event, frozen=True, kw_only=True, tag="would_convert"):
    """What `run --dry-run` would convert. Not part of a run: listeners never see it."""

    source: str
    source_base64: Bytes = msgspec.UNSET
    output: str
    output_base64: Bytes = msgspec.UNSET


class Dropped(_Event, frozen=True):
    """In place of `count` events that `--progress json` could not keep: they came faster than they were read, for long.

    Not part of a run: listeners never see it.
    """

    count: int


Event = (
    LeftOut
    | Planned
    | Listed
    | Started
    | Done
    | Failed
    | WorkerEnded
    | Checkpoint
    | Warned
    | Node
    | Notice
    | Flushed
    | Summary
)
