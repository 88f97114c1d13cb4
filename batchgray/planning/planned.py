"""The records of a plan: an image to convert, and a share of them."""

import os

import msgspec

from batchgray.manifest.records import Count, Nanoseconds
from batchgray.manifest.results import Result, Totals
from batchgray.records import InputVersion
from batchgray.spelling import Bytes, is_utf8


class PlannedImage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One image of a share: `source` below the share's input, `output` below the output place.

    `names` has both as bytes, with a zero byte between, where they are not UTF-8, as a folder's may not be. `replaces`
    is the checksum of what an earlier round made under the output's name, "" where it made nothing; "*" is anything.
    """

    source: str
    output: str
    size: Count
    mtime_ns: Nanoseconds
    etag: str = ""
    names: bytes = b""
    replaces: str = ""

    @property
    def version(self) -> InputVersion:
        """Which version of the input was planned."""
        return InputVersion(self.size, self.mtime_ns, self.etag)


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """So many images of one input: `input` counts the job's inputs from 0, `number` its shares from 1.

    It tells of all names of its `range` up to `through`, since the share before it in there: `ignored` counts by type
    what is not taken of them, `kept` are the totals of the images that nothing is to be done about. `noted` are those
    whose state is another without any work: their input is gone, or came back. A share may have no images but these.
    Of its images so many have `changed` since they were begun or done, and so many are `retried`, as they failed.
    """

    number: Count
    input: Count
    range: Count = 0
    through: str = ""
    through_base64: Bytes = msgspec.UNSET
    ignored: dict[str, Count]
    images: list[PlannedImage]
    noted: list[Result] = []
    kept: Totals = Totals()
    changed: Count = 0
    retried: Count = 0


def planned_image(source: str, output: str, version: InputVersion, replaces: str = "") -> PlannedImage:
    names = b"" if is_utf8(source) and is_utf8(output) else os.fsencode(f"{source}\0{output}")
    return PlannedImage(source, output, version.size, version.mtime_ns, version.etag, names, replaces)


def with_names(image: PlannedImage) -> PlannedImage:
    """An image that was read: where its names are not UTF-8, they were spelled for people."""
    if not image.names:
        return image
    source, output = map(os.fsdecode, image.names.split(b"\0"))
    return msgspec.structs.replace(image, source=source, output=output)
