"""The manifest's records, and the rules that they keep, whichever program wrote them.

A manifest can come from a stranger, and its seal is no signature: any program can make one. So a manifest is checked
against these rules each time it is loaded. Numbers are bounded by the types here; `find_fault` knows what no type can
say: no name leads outside, no two images are in each other's way, and every image's state has what belongs to it.
"""

import operator
import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from batchgray._version import __version__
from batchgray.events import NoticeSource
from batchgray.manifest.files import own_names
from batchgray.options import MOST_PIXELS, SUFFIXES, PixelOptions
from batchgray.records import InputVersion, LeftOutKind
from batchgray.spelling import Bytes, ListBytes
from batchgray.storage.names import folders_of, is_inside, is_plain
from batchgray.storage.run_folder import FLIGHT_FOLDER
from batchgray.texts import brief

VERSION = 1
DEFAULT_RUN_ID = "default"  # of the manifest OUT/manifest.json

WorkState = Literal["pending", "partial", "done", "failed"]
ImageState = Literal["pending", "partial", "done", "failed", "gone"]
RunState = Literal["running", "interrupted", "complete", "complete_with_failures"]

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Milliseconds = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]  # to the end of the year 9999
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Side = Annotated[int, Meta(ge=1, le=2**31 - 1)]  # no format has longer sides
TileCount = Annotated[int, Meta(ge=0, le=2**31 - 1)]
FolderName = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_-]{1,64}\Z")]


class Image(msgspec.Struct, kw_only=True, gc=False):
    """One input and what became of it: `source` below `input_roots[root]`, `output` below the output folder.

    An input that planning had to refuse (a folder that can't be read) is failed and has no output name. `checksum`,
    `output_size` and `done_at_ms` (since 1970) tell of the file under the output's name, also while it waits to be made
    anew; `mend` says that the file there was found damaged and may be replaced whatever it holds. An image whose input
    is not there now is gone; `was` is the state that it goes back to when the input comes back as it was.
    """

    root: int
    source: str
    source_base64: Bytes = msgspec.UNSET
    output: str
    output_base64: Bytes = msgspec.UNSET
    state: ImageState = "pending"
    size: Count
    mtime_ns: Nanoseconds
    width: Side | None = None
    height: Side | None = None
    tiles_done: TileCount = 0
    tiles_total: TileCount | None = None
    output_size: Count | None = None
    checksum: str | None = None
    done_at_ms: Milliseconds | None = None
    error: str | None = None
    note: str | None = None
    mend: bool = False
    was: Literal["pending", "partial", "done"] | None = None

    @property
    def version(self) -> InputVersion:
        return InputVersion(self.size, self.mtime_ns)

    @property
    def resumable(self) -> bool:
        """Whether the work can go on; not so for inputs that planning refused."""
        return bool(self.output)

    @property
    def pixels(self) -> int:
        """0 until they are known."""
        return (self.width or 0) * (self.height or 0)

    @property
    def finished(self) -> bool:
        """Whether its output was made, also where its input is gone since."""
        return "done" in (self.state, self.was)


class Run(msgspec.Struct, kw_only=True, frozen=True):
    """A start or a resume that had work. `batchgray` is the version that ran.

    `found` is the state in which it found the manifest: "running" says that the run before it died without a word.
    `seconds` is how long it worked, as its summary says; None while it does, and where it could not say.
    """

    at: Annotated[datetime, Meta(tz=True)]
    workers: Count
    batchgray: str = __version__
    found: RunState | None
    seconds: Seconds | None = None


class Interruption(msgspec.Struct, kw_only=True, frozen=True):
    """Times are UTC in ISO 8601; `run` counts `runs` from 0.

    `event_id` is the notice's id, the signal's name, or what is wrong with the disk (null: it is full).
    """

    at: str
    source: NoticeSource
    event_id: str | None
    deadline: str | None
    run: Count | None = None


class Manifest(msgspec.Struct, kw_only=True):
    """The document. `lineage` is drawn when it begins: the journal of one that was overwritten is never replayed.

    `output_root` is "." where the manifest lies in its output folder, else that folder's absolute path. `ignored`
    counts what was not taken when the input folders were last walked, by file type; `left_out` names the first of
    all that was left out then. `times` says whether outputs get the modification times of their inputs.
    """

    version: int = VERSION
    batchgray: str = __version__
    state: RunState = "running"
    generation: Count = 0
    run_id: FolderName
    lineage: FolderName = msgspec.field(default_factory=lambda: os.urandom(8).hex())
    options: PixelOptions
    max_pixels: Annotated[int, Meta(ge=1, le=MOST_PIXELS)]
    times: bool = False
    output_root: str
    output_root_base64: Bytes = msgspec.UNSET
    input_roots: list[str]
    input_roots_base64: ListBytes = msgspec.UNSET
    ignored: dict[str, Count] = msgspec.field(default_factory=dict)
    left_out: list[LeftOutKind] = msgspec.field(default_factory=list)
    runs: list[Run] = msgspec.field(default_factory=list)
    interruptions: list[Interruption] = msgspec.field(default_factory=list)
    images: list[Image] = msgspec.field(default_factory=list)  # last, so that it can be written a line an image

    def output_folder(self, manifest: Path) -> Path:
        """The output folder, absolute, of the manifest at this path; not where a link to it lies."""
        return Path(os.path.realpath(manifest)).parent / self.output_root

    def flight_folder(self, manifest: Path) -> Path:
        """The folder of what is in flight, of the manifest at this path."""
        return self.output_folder(manifest) / FLIGHT_FOLDER / self.run_id


class ImageChange(msgspec.Struct, kw_only=True, frozen=True):
    """A journal line: what is now true of an image. Absent fields stay as they were."""

    image: Count
    state: WorkState
    size: Count | msgspec.UnsetType = msgspec.UNSET
    mtime_ns: Nanoseconds | msgspec.UnsetType = msgspec.UNSET
    width: Side | msgspec.UnsetType = msgspec.UNSET
    height: Side | msgspec.UnsetType = msgspec.UNSET
    tiles_done: TileCount | msgspec.UnsetType = msgspec.UNSET
    tiles_total: TileCount | msgspec.UnsetType = msgspec.UNSET
    output_size: Count | msgspec.UnsetType = msgspec.UNSET
    checksum: str | msgspec.UnsetType = msgspec.UNSET
    done_at_ms: Milliseconds | msgspec.UnsetType = msgspec.UNSET
    note: str | msgspec.UnsetType | None = msgspec.UNSET
    error: str | None = None
    mend: bool | msgspec.UnsetType = msgspec.UNSET

    def apply(self, images: list[Image]) -> None:
        """Make it true. Raises IndexError."""
        target = images[self.image]
        for name, value in zip(_CHANGED, _changed_of(self), strict=True):
            if value is not msgspec.UNSET:
                setattr(target, name, value)


_CHANGED = ImageChange.__struct_fields__[1:]
_changed_of = operator.attrgetter(*_CHANGED)


def utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find_fault(document: Manifest, manifest: Path) -> str | None:
    """Why no run of batchgray would have written this document to the file `manifest`; None where one might have."""
    if document.output_root != "." and not document.output_root.startswith("/"):
        return f"the output folder {brief(document.output_root)} is neither `.` nor an absolute path"
    for folder in (document.output_root, *document.input_roots):
        if "\0" in folder:
            return f"there is no folder {brief(folder)}"
    taken: set[str] = set()
    roots, suffix = len(document.input_roots), SUFFIXES[document.options.format]
    for image in document.images:
        fault = _find_name_fault(image, suffix) if image.output else _find_refused_fault(image)
        fault = fault or _find_source_fault(image, roots) or _find_state_fault(image)
        if fault is None and image.output in taken:
            fault = f"two images have the output {brief(image.output)}"
        if fault is not None:
            return fault
        if image.output:
            taken.add(image.output)
    return find_output_clash(taken, own_names(manifest, document.output_folder(manifest)))


def find_output_clash(outputs: Collection[str], own: Collection[str]) -> str | None:
    """Which output is in the way of another, or of what is batchgray's `own`, where one is."""
    folders = folders_of(outputs)
    for name in sorted(folders.intersection(outputs)):
        return f"the output {brief(name)} is the folder of another"
    for name in sorted({FLIGHT_FOLDER, *own}.intersection(folders.union(outputs))):
        return f"an output would be in the way of batchgray's own {brief(name)}"
    return None


def _find_name_fault(image: Image, suffix: str) -> str | None:
    if is_plain(image.output) and image.output.endswith(suffix):
        return None
    if not is_inside(image.output):
        return f"the name {brief(image.output)} leads outside its folder"
    return f"no image comes out as {brief(image.output)}"


def _find_refused_fault(image: Image) -> str | None:
    return None if image.state == "failed" else f"{brief(image.source)} has no output"


def _find_source_fault(image: Image, roots: int) -> str | None:
    if not is_inside(image.source):
        return f"the name {brief(image.source)} leads outside its folder"
    return None if 0 <= image.root < roots else f"{brief(image.source)} has no input folder"


def _find_state_fault(image: Image) -> str | None:
    total, height, state = image.tiles_total, image.height, image.was or image.state
    sound = image.tiles_done <= (total or 0) and (total is None or (height is not None and 1 <= total <= height))
    sound = sound and (image.was is not None) == (image.state == "gone")
    if state in ("done", "partial"):
        sound = sound and image.width is not None and height is not None and total is not None
    if state == "done":
        sound = sound and image.checksum is not None and image.tiles_done == total
    if image.checksum is not None:  # "*" would stand for any file
        sound = sound and image.output_size is not None and ":" in image.checksum
    return None if sound else f"what it says of {brief(image.source)} does not fit together"
