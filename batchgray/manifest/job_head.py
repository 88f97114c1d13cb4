"""The head of a job, OUT/manifest.json: what is converted, and how. It is put once, and never changed.

What becomes of the images is in the logs of the job's shares (see `share_log`). A batchgray that knows of no jobs
refuses the head as a manifest of a later version.
"""

import itertools
import re
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from batchgray import errors
from batchgray._version import __version__
from batchgray.manifest.records import FolderName
from batchgray.manifest.results import Totals
from batchgray.options import MOST_PIXELS, PixelOptions
from batchgray.spelling import Bytes, ListBytes
from batchgray.storage.base import Missing, Place, Put
from batchgray.storage.run_folder import FLIGHT_FOLDER
from batchgray.storage.sealing import OtherVersion, SealedRecords, UnreadableRecord
from batchgray.texts import brief

VERSION = 2
HEAD_KEY = "manifest.json"

_LONGEST = 1 << 24
_NAME = re.compile(rb'"job"\s*:\s*"([0-9a-f]{8})"')
_JOB = re.compile(rb'\s*\{\s*"version"\s*:\s*2\s*,\s*"batchgray"\s*:\s*"[^"]*"\s*,\s*"kind"\s*:\s*"job"')
_PLAIN = re.compile(rb'\s*\{\s*"version"\s*:\s*1\s*,\s*"batchgray"')


class JobInput(NamedTuple):
    """A folder or URL that is listed. `mirrored` is what stands before its output names; `files`, unless empty, are all
    that is taken of it.
    """

    place: str
    mirrored: str
    files: list[str]


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A single file or object that was named as an INPUT, in the input of this number."""

    input: int
    name: str
    name_base64: Bytes = msgspec.UNSET


class JobHead(msgspec.Struct, frozen=True, kw_only=True):
    """What all machines that work on a job have in common. `inputs` are folders, absolute, or URLs.

    `mirrored` is what stands before the output names of each, and `files` are those of which not all is taken.

    `job` names the place of plan and logs: `.batchgray/JOB/` below the output place. `state` and `totals` are what the
    last round that is over came to, for whoever reads no more than the head: the results are what counts.

    `times` says whether outputs get the modification times of their inputs, which takes folders for both.

    With `overwrite` its first round replaces outputs that are there; `overwritten` is the job that was here before.
    """

    version: int = VERSION
    batchgray: str = __version__
    kind: Literal["job"] = "job"
    job: FolderName
    options: PixelOptions
    max_pixels: Annotated[int, Meta(ge=1, le=MOST_PIXELS)]
    inputs: list[str]
    inputs_base64: ListBytes = msgspec.UNSET
    mirrored: list[str] = []
    mirrored_base64: ListBytes = msgspec.UNSET
    files: list[InputFile] = []
    include: list[str]
    exclude: list[str]
    times: bool = False
    overwrite: bool = False
    overwritten: FolderName | msgspec.UnsetType = msgspec.UNSET
    state: Literal["complete", "complete_with_failures"] | msgspec.UnsetType = msgspec.UNSET
    totals: Totals | msgspec.UnsetType = msgspec.UNSET

    @property
    def listed(self) -> list[JobInput]:
        """Its inputs."""
        files: dict[int, list[str]] = {}
        for file in self.files:
            files.setdefault(file.input, []).append(file.name)
        pairs = enumerate(itertools.zip_longest(self.inputs, self.mirrored, fillvalue=""))
        return [JobInput(place, mirrored, files.get(index, [])) for index, (place, mirrored) in pairs]

    @property
    def prefix(self) -> str:
        """What the keys of all that is the job's own begin with."""
        return f"{FLIGHT_FOLDER}/{self.job}"

    @property
    def begun(self) -> str:
        """What the keys of its checkpoints begin with."""
        return f"{self.prefix}/begun"


_HEADS = SealedRecords(JobHead, _LONGEST, VERSION)


def is_head(beginning: bytes) -> bool:
    """Whether a document that begins so is the head of a job."""
    return _JOB.match(beginning) is not None


def begin(out: Place, head: JobHead) -> JobHead:
    """Put a head into the place of the outputs, unless one is there. Returns the one that is there now.

    Raises PlaceError, and what `read` raises.
    """
    return head if out.put_absent(HEAD_KEY, _HEADS.line(head)) is Put.CREATED else read(out)


def begin_afresh(out: Place, head: JobHead) -> JobHead:
    """Put a head in the place of the one of the job that it overwrites. Raises PlaceError, and what `job_in` raises.

    Returns the one that is there now: that of another job, where somebody else was sooner.
    """
    if head.overwritten is msgspec.UNSET:
        return begin(out, head)
    if job_in(out) == head.overwritten:
        out.put(HEAD_KEY, _HEADS.line(head))
    return read(out)


def move_inputs(out: Place, head: JobHead) -> None:
    """Put into the head where its inputs are now. Raises PlaceError."""
    out.put(HEAD_KEY, _HEADS.line(head))


def job_in(out: Place) -> str | None:
    """Which job the head is of, where there is one, or the ruin of one. Raises PlaceError, and what `read` raises."""
    try:
        head = find(out)
    except errors.DamagedManifest:
        if (name := _NAME.search(out.get(HEAD_KEY, end=_LONGEST))) is None:
            raise
        return name[1].decode()
    return None if head is None else head.job


def tell_totals(out: Place, head: JobHead, totals: Totals) -> None:
    """Put into the head what a round that is over came to. Raises PlaceError."""
    state: Literal["complete", "complete_with_failures"] = "complete_with_failures" if totals.failed else "complete"
    out.put(HEAD_KEY, _HEADS.line(msgspec.structs.replace(head, state=state, totals=totals)))


def find(out: Place) -> JobHead | None:
    """The head, where there is one. Raises PlaceError, and what `read` raises."""
    try:
        return read(out)
    except errors.NoSuchManifest:
        return None


def read(out: Place) -> JobHead:
    """Raises PlaceError, NoSuchManifest, IsNoJob, ForeignManifest, DamagedManifest, FutureManifest."""
    name = name_in(out)
    try:
        data = out.get(HEAD_KEY, end=_LONGEST)
    except Missing:
        raise errors.NoSuchManifest(name) from None
    if _PLAIN.match(data):
        raise errors.IsNoJob(name)
    try:
        return _HEADS.decode_line(data)
    except OtherVersion as error:
        raise errors.FutureManifest(name, error.version, VERSION) from None
    except UnreadableRecord as error:
        if is_head(data):
            raise errors.DamagedManifest(name, brief(str(error))) from None
        raise errors.ForeignManifest(name, "it is not a manifest") from None


def name_in(out: Place) -> str:
    """How the head of a place is called."""
    return f"{out.name.rstrip('/')}/{HEAD_KEY}"
