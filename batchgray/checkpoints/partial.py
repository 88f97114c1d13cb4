"""Partial images: the sidecar that a begun image resumes from, and the partial JPEG for people to look at.

The sidecar holds the finished tiles' exact gray bytes. The partial JPEG can't be the store: decoding and encoding it
again changes finished pixels. A sidecar is one line of sealed JSON (SidecarHeader), then the source's EXIF, then the
finished tiles, top to bottom.

A partial JPEG is batchgray's own only if it says so itself, after its end, where no viewer looks and what another
program writes has nothing. So it is never written over, or cleaned up with, somebody else's file, whenever that comes.
The sidecar, which is durable before it, claims its name, so that it is known where to clean up.
"""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from io import BufferedReader
from typing import BinaryIO

import msgspec

from batchgray import spelling, tiles
from batchgray.checkpoints import bandstore
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage import integrity
from batchgray.storage.durable import Folder
from batchgray.storage.names import is_plain
from batchgray.storage.sealing import SealedRecords, UnreadableRecord

_VERSION = 1  # of sidecars
_COPY_BYTES = 8 << 20
_LONGEST_SIDE = 2**31 - 1
_LONGEST_EXIF = 65527  # bytes; what one segment of a JPEG holds
_LONGEST_NAME = 255  # bytes; NAME_MAX
_TRAILER = b"\nbatchgray: partial image of %019d bytes\n"
_NO_FOLDER_OF_OURS = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # gone, somebody else's, or out of the output folder


class SidecarHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the tiles belong to. They are worth nothing for another version of the source or other pixel options."""

    version: int = _VERSION
    output: str
    output_base64: spelling.Bytes = msgspec.UNSET
    owns_preview: bool
    record: slots.SlotRecord
    options: PixelOptions
    tiles: list[tuple[int, int]]
    payload: str

    @property
    def tiles_done(self) -> int:
        return sum(last - first for first, last in self.tiles)

    @property
    def pixels(self) -> int:
        """How many pixels its tiles have."""
        rows, height = self.record.tile_rows, self.record.height
        return self.record.width * sum(min(last * rows, height) - first * rows for first, last in self.tiles)


_HEADERS = SealedRecords(SidecarHeader, longest=1 << 20, version=_VERSION)


def sidecar_name(output: str) -> str:
    """Under which name the sidecar of an output lies in the folder of what is in flight."""
    return f"{integrity.short_name(output)}.tiles"


def write_sidecar(flight: Folder, out: Folder, task: Task, options: PixelOptions, image: slots.Image) -> SidecarHeader:
    """Make the finished tiles durable. Raises OSError; an earlier sidecar then stays as it was."""
    spans = tiles.spans(image.flags)
    rows = [image.rows(first, last) for first, last in spans]
    return _save(flight, out, task, options, image.record, spans, [image.exif, *rows])


def write_claim(
    flight: Folder, out: Folder, task: Task, options: PixelOptions, record: slots.SlotRecord, exif: bytes
) -> SidecarHeader:
    """A sidecar without tiles, for an image whose plane is a file of its own (see `bandstore`). Raises OSError."""
    return _save(flight, out, task, options, record, [], [exif])


def _save(
    flight: Folder,
    out: Folder,
    task: Task,
    options: PixelOptions,
    record: slots.SlotRecord,
    spans: list[tuple[int, int]],
    payload: list[bytes | memoryview],
) -> SidecarHeader:
    name = sidecar_name(task.output)
    earlier = read_header(flight, name)
    if earlier and earlier.output != task.output:
        earlier = None
    header = SidecarHeader(
        output=task.output,
        owns_preview=task.preview and (earlier.owns_preview if earlier else _is_free(out, preview_name(task.output))),
        record=record,
        options=options,
        tiles=spans,
        payload=integrity.checksum(payload),
    )
    with flight.saving(name, f"{integrity.short_name(task.output)}.tmp") as file:
        file.append(_HEADERS.line(header))
        for chunk in payload:
            file.append(chunk)
    return header


def _is_free(out: Folder, name: str) -> bool:
    """Whether nothing but a partial JPEG stands under a name below the output folder.

    Nor a link on the way that leads out of it.
    """
    folder, _, last = name.rpartition("/")
    try:
        with out.below(folder) as holding:
            return _is_ours_or_free(holding, last)
    except OSError as error:
        return error.errno == errno.ENOENT


def _is_ours_or_free(folder: Folder, name: str) -> bool:
    return folder.stat(name) is None or _is_ours(folder, name)


def _is_ours(folder: Folder, name: str) -> bool:
    """Whether a partial JPEG stands under that name, as it was drawn."""
    try:
        with folder.open(name) as file:
            end = os.fstat(file.fileno()).st_size - len(_TRAILER % 0)
            return end > 0 and file.seek(end) == end and file.read() == _TRAILER % end
    except OSError:
        return False


def read_header(flight: Folder, name: str) -> SidecarHeader | None:
    """The header of the sidecar of that name; None where there is none, or anything about it is doubtful."""
    try:
        with flight.open(name) as file:
            return _read_header(file)
    except OSError:
        return None


def matching_header(flight: Folder, task: Task, options: PixelOptions) -> SidecarHeader | None:
    """The header of the task's sidecar if its tiles are of this version of the source and these options; else None.

    A claim to a partial JPEG whose name is another image's output now is void.
    """
    header = read_header(flight, sidecar_name(task.output))
    if header is None or header.output != task.output or header.options != options:
        return None
    if header.record.identity != task.identity:
        return None
    return msgspec.structs.replace(header, owns_preview=header.owns_preview and task.preview)


def restore(flight: Folder, output: str, slot: slots.Slot) -> slots.Image | None:
    """Lay out a sidecar's image in `slot`, with its finished tiles in place and flagged; None where it is damaged.

    The slot must be long enough: the `slot_bytes` of the header's record.
    """
    try:
        with flight.open(sidecar_name(output)) as file:
            header = _read_header(file)
            if header is None or header.record.slot_bytes > slot.size:
                return None
            exif = file.read(header.record.exif_bytes)
            image = slot.begin(header.record, exif)
            filled: list[bytes | memoryview] = [exif]
            for first, last in header.tiles:
                rows = image.rows(first, last)
                if _read_into(file, rows) < len(rows):
                    return None
                filled.append(rows)
    except OSError:
        return None
    if integrity.checksum(filled) != header.payload:
        return None
    for first, last in header.tiles:
        image.flags[first:last] = b"\1" * (last - first)
    return image


def stored_rows(flight: Folder, output: str) -> Iterator[tuple[int, bytes]]:
    """The rows of a sidecar's tiles in pieces, each with its first byte's place in the plane; of a damaged one none.

    Raises OSError.
    """
    with flight.open(sidecar_name(output)) as file:
        header = _read_header(file)
        begin = file.tell()
        if header is None or integrity.checksum(iter(lambda: file.read(_COPY_BYTES), b"")) != header.payload:
            return
        file.seek(begin + header.record.exif_bytes)
        for first, last in header.tiles:
            top = first * header.record.tile_rows
            bottom = min(last * header.record.tile_rows, header.record.height)
            at, end = top * header.record.width, bottom * header.record.width
            while at < end:
                piece = file.read(min(_COPY_BYTES, end - at))
                yield at, piece
                at += len(piece)


def blacken_unfinished(image: slots.Image) -> None:
    """Make the rows of unfinished tiles black, for the partial JPEG."""
    for tile in tiles.unfinished(image.flags, image.record.height, image.record.tile_rows):
        rows = image.rows(tile.index, tile.index + 1)
        rows[:] = bytes(len(rows))


def write_preview(flight: Folder, out: Folder, header: SidecarHeader, jpeg: Iterable[bytes]) -> None:
    """Put the partial JPEG where the sidecar claims it, unless something else stands there by now.

    Raises OSError; LeadsOutside where a link does.
    """
    folder, _, name = preview_name(header.output).rpartition("/")
    temporary, size = f"{integrity.short_name(header.output)}.preview", 0
    with out.below(folder, make=True) as holding:
        if _is_ours_or_free(holding, name):
            with holding.saving(name, temporary, flight) as file:
                for piece in jpeg:
                    file.append(piece)
                    size += len(piece)
                file.append(_TRAILER % size)


def discard_preview(flight: Folder, folder: Folder, output: str) -> None:
    """Remove the partial JPEG of an output, which is to stand in `folder`, if its sidecar claims it."""
    header = read_header(flight, sidecar_name(output))
    if header and header.output == output and header.owns_preview:
        _remove_preview(folder, output)


def _remove_preview(folder: Folder, output: str) -> None:
    name = preview_name(output).rpartition("/")[2]
    with contextlib.suppress(OSError):  # no longer ours to change
        if _is_ours(folder, name):
            folder.remove(name)


def discard(flight: Folder, out: Folder, output: str) -> None:
    """Remove what is left of a begun image: first its partial JPEG, durably, then the sidecar that claims it."""
    withdraw_preview(flight, out, output)
    remove(flight, output)


def withdraw_preview(flight: Folder, out: Folder, output: str) -> None:
    """Remove the partial JPEG of an output, durably, wherever it is, if its sidecar claims it. Raises OSError."""
    with _folder_of(out, output) as folder:
        if folder is not None:
            discard_preview(flight, folder, output)
            folder.sync()


def remove_stray_preview(out: Folder, output: str) -> None:
    """Remove the partial JPEG of an output whose sidecar was lost: of a tree that was copied without it."""
    with _folder_of(out, output) as folder:
        if folder is not None:
            _remove_preview(folder, output)


@contextlib.contextmanager
def _folder_of(out: Folder, output: str) -> Iterator[Folder | None]:
    """The folder that an output is to stand in; None where there is none of ours."""
    try:
        folder = out.below(output.rpartition("/")[0])
    except OSError as error:
        if error.errno not in _NO_FOLDER_OF_OURS:
            raise
        yield None
    else:
        with folder:
            yield folder


def remove(flight: Folder, output: str) -> None:
    """Remove the sidecar, and the plane of an image that has one. Raises OSError."""
    flight.remove(sidecar_name(output))
    bandstore.discard(flight, output)


def preview_name(output: str) -> str:
    """`a/b.partial.jpg` for `a/b.jpg`."""
    return f"{output.rpartition('.')[0]}.partial.jpg"


def has_room_for_preview(output: str) -> bool:
    """Whether the partial JPEG's name is not too long for a file system."""
    return len(os.fsencode(preview_name(output).rpartition("/")[2])) <= _LONGEST_NAME


def _read_header(file: BinaryIO) -> SidecarHeader | None:
    """The first line of an open sidecar, if what follows is as long as it says."""
    try:
        header = _HEADERS.read_line(file)
    except UnreadableRecord:
        return None
    if not _is_sound(header):
        return None
    rest = os.fstat(file.fileno()).st_size - file.tell()
    return header if rest == header.record.exif_bytes + header.pixels else None


def _is_sound(header: SidecarHeader) -> bool:
    """Whether batchgray would write such a header: its seal is no signature, anybody can make one."""
    record = header.record
    if not (1 <= record.width <= _LONGEST_SIDE and 1 <= record.height <= _LONGEST_SIDE):
        return False
    if record.tile_rows != header.options.rows_for(record.width) or not 0 <= record.exif_bytes <= _LONGEST_EXIF:
        return False
    if len(msgspec.json.encode(record)) > slots.RECORD_BYTES or not is_plain(header.output):
        return False
    edges = [edge for span in header.tiles for edge in span]
    return all(a < b for a, b in itertools.pairwise([-1, *edges, record.tiles_total + 1]))


def _read_into(file: BufferedReader, target: memoryview) -> int:
    filled = 0
    while filled < len(target):
        count = file.readinto(target[filled : filled + _COPY_BYTES])
        if not count:
            break
        filled += count
    return filled
