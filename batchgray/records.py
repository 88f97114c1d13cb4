"""What everything speaks of: which version of an input, and one image to convert."""

import zlib
from typing import TYPE_CHECKING, Annotated

import msgspec

from batchgray import spelling

if TYPE_CHECKING:
    import os

_LAST_SECOND = 2**31 - 1  # that all file systems can tell of


class InputVersion(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which version of an input; opaque, but for the size, to all that only has to know whether it is the same one.

    In a folder that is the size in bytes and the modification time in nanoseconds, in an object store the size and the
    ETag that it gave to the content. A file system can tell of times that 64 bits of nanoseconds can't; of these the
    lower 64 bits stand for the time.
    """

    size: int
    mtime_ns: int
    etag: str = ""

    def __post_init__(self) -> None:
        if not -(2**63) <= self.mtime_ns < 2**63:
            msgspec.structs.force_setattr(self, "mtime_ns", (self.mtime_ns + 2**63) % 2**64 - 2**63)

    @classmethod
    def of(cls, found: "os.stat_result") -> "InputVersion":
        """Of the file that the system tells of."""
        return cls(found.st_size, found.st_mtime_ns)

    def of_copy(self) -> "InputVersion":
        """The version of a copy on a local disk: it is given a time in whole seconds, as every file system has them.

        Where the version has an ETag, the time stands for that: stores tell no other that can be relied on.
        """
        seconds = zlib.crc32(self.etag.encode()) & _LAST_SECOND if self.etag else self.mtime_ns // 10**9
        return InputVersion(self.size, min(max(0, seconds), _LAST_SECOND) * 10**9)

    def is_same(self, other: "InputVersion") -> bool:
        """Whether it is this version of the input, as far as can be told. That is decided here alone."""
        return self == other


LINKED_FOLDERS = "links to folders"
CIRCLES = "links back to a folder above"
MANY_WAYS = "folders that many links lead to"


class LeftOutKind(msgspec.Struct, frozen=True, kw_only=True):
    """What was left out for one reason: how many files, links and folders, and the first of their paths.

    `kind` is a file type in lower case, or a reason in words.
    """

    kind: str
    count: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    sources: list[str]
    sources_base64: spelling.ListBytes = msgspec.UNSET


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One image to convert. `index` is its place in the manifest; `output` is relative to the output folder.

    `replaces` says what may be at the output's name already: "" nothing, "*" anything, else the checksum of the file
    that an earlier conversion put there. `preview` says whether a partial JPEG may be drawn: not where its name is
    another image's output. `output_time` is the modification time in nanoseconds that an output is to have in the end,
    where that is asked for and can't be told by the version.
    """

    index: int
    source: str
    source_base64: spelling.Bytes = msgspec.UNSET
    output: str
    output_base64: spelling.Bytes = msgspec.UNSET
    version: InputVersion
    replaces: str = ""
    preview: bool = True
    output_time: int = 0
    resumable: bool = False  # there is a sidecar
