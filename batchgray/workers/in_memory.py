"""The conversion of an image that fits into memory: decode, kernel tile by tile, encode; from a sidecar what is there.

A jitted or codec call holds off Python's signal handlers until it returns, so the edge between two tiles is where
SIGTERM is heard: an image whose tiles are all done is encoded and finished, any other is flushed (sidecar, then
partial JPEG). A PNG whose writing takes long is flushed too, between two pieces of it.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from batchgray import tiles
from batchgray.checkpoints import preview
from batchgray.checkpoints.base import Checkpoints
from batchgray.checkpoints.sidecar import SidecarHeader
from batchgray.codecs import encoding, opening
from batchgray.codecs.exif import orientation_alone
from batchgray.codecs.faults import joined
from batchgray.codecs.metadata import kept, note_of
from batchgray.codecs.opened import OpenedImage, SecondOpinion
from batchgray.codecs.transparency import colour_of
from batchgray.errors import ImageError
from batchgray.kernels import methods
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage.base import PlaceError
from batchgray.workers.interrupt import Interrupt, Interrupted
from batchgray.workers.messages import Flushed, Setup, flushed

# From here on bands take no more processor time, and less memory; with idle cores they are sooner done (measured:
# docs/performance.md).
LARGE_PIXELS = 64_000_000


class SoonerInBands(Exception):
    """An image is so large that it is to be converted in bands, whatever memory there is."""


class Made(NamedTuple):
    """An output in memory, in pieces, and what was done for it. `begun` says whether there is a sidecar."""

    record: slots.SlotRecord
    pieces: list[bytes]
    computed: int
    decoded: bool
    begun: bool


class Converter:
    """Converts one image after another in the slot.

    `reserve` sees that the slot has so many bytes, and that so many of codec memory are ours; whatever it raises goes
    to the caller. `tell` is called with what became durable.
    """

    def __init__(
        self,
        setup: Setup,
        slot: slots.Slot,
        checkpoints: Checkpoints,
        interrupt: Interrupt,
        reserve: Callable[[int, int], None],
        tell: Callable[[Flushed], None],
    ) -> None:
        self._setup, self._pixels = setup, setup.pixels
        self._slot, self._checkpoints, self._interrupt = slot, checkpoints, interrupt
        self._reserve, self._tell = reserve, tell
        self._kernel = methods.BY_METHOD[setup.pixels.method]
        self._checkpointed = False

    def make(self, task: Task, source: opening.Source, started: float, below: float = math.inf) -> Made:
        """Raises ImageError, PlaceError, Interrupted.

        And SoonerInBands for an image of `below` pixels or more, if there is more to do than to encode it.
        """
        self._checkpointed = False
        header = self._usable_sidecar(task, source)
        image, computed = self._restore_finished(task, header), 0
        decoded = image is None
        if image is None:
            image, computed = self._compute(task, source, header, started, below)
        try:
            pieces = self._encode(image)
        except Interrupted:
            self._flush(task, image)
            raise
        return Made(image.record, pieces, computed, decoded, begun=task.resumable or self._checkpointed)

    def open(self, source: opening.Source) -> OpenedImage:
        """The source, with the memory that opening it takes. Raises ImageError."""
        return opening.open_image(
            source,
            self._pixels.method,
            self._setup.max_pixels,
            colour_of(self._pixels.background),
            lambda scratch_bytes: self._reserve(slots.EMPTY_SLOT_BYTES, scratch_bytes),
        )

    def describe(self, source: OpenedImage) -> tuple[slots.SlotRecord, slots.Metadata]:
        """The record and the metadata of an output to be. Raises ImageError where there can be none."""
        if self._pixels.format == "jpeg":
            encoding.check_jpeg_sides(source.width, source.height)
        metadata = self._metadata_of(source)
        record = slots.SlotRecord(
            version=source.version,
            width=source.width,
            height=source.height,
            tile_rows=self._pixels.rows_for(source.width),
            colour=source.colour,
            exif_bytes=len(metadata.exif),
            xmp_bytes=len(metadata.xmp),
            iptc_bytes=len(metadata.iptc),
            note=self._note_of(source),
        )
        return record, metadata

    def draw_preview(self, task: Task) -> None:
        """The partial JPEG of an image, from its sidecar. Raises PlaceError."""
        header = self._checkpoints.find(task)
        image = self._checkpoints.restore(task.output, self._slot) if header else None
        if header and image:
            self._save_preview(header, image)

    def _usable_sidecar(self, task: Task, source: opening.Source) -> SidecarHeader | None:
        """The header of an earlier run's finished tiles, if they are of the source as it is now."""
        header = self._checkpoints.find(task) if task.resumable else None
        return header if header and opening.version_of(source).is_same(header.record.version) else None

    def _restore_finished(self, task: Task, header: SidecarHeader | None) -> slots.SlotImage | None:
        """An image of which only the encoding is missing, without opening its source."""
        if header is None or header.tiles_done < header.record.tiles_total:
            return None
        record = header.record
        if record.width * record.height > self._setup.max_pixels:
            return None  # its source will say whether it is really so large
        try:
            if self._pixels.format == "jpeg":
                encoding.check_jpeg_sides(record.width, record.height)
            self._reserve(record.slot_bytes, 0)
        except ImageError:
            return None
        return self._checkpoints.restore(task.output, self._slot)

    def _compute(
        self,
        task: Task,
        source: opening.Source,
        header: SidecarHeader | None,
        started: float,
        below: float = math.inf,
    ) -> tuple[slots.SlotImage, int]:
        """Decode, and run the kernel over the tiles that are not there yet.

        Returns the image and how many tiles had to be computed.
        """
        opened = self.open(source)
        try:
            if opened.width * opened.height >= below:
                raise SoonerInBands
            image, computed = self._decode(task, opened, header)
        except SecondOpinion as wanted:
            with contextlib.closing(wanted.opened):
                image, computed = self._decode(task, wanted.opened, header)
        finally:
            opened.close()
        opening.check_unchanged(source, image.record.version)
        if image.record.colour:
            self._run_kernel(task, image)
        else:
            image.flags[:] = b"\1" * len(image.flags)
        if time.monotonic() - started >= self._setup.checkpoint:
            self._checkpoint(task, image)  # so that a power cut while it is encoded doesn't cost the decoding
        return image, computed

    def _decode(self, task: Task, source: OpenedImage, header: SidecarHeader | None) -> tuple[slots.SlotImage, int]:
        """The source in the slot, with all notes; and how many tiles are missing. Raises ImageError, SecondOpinion."""
        image = self._lay_out(task, source, header)
        missing = image.record.tiles_total - image.tiles_done
        with self._interrupt.ending_at_once():
            note = source.decode(image)
        return self._slot.annotate(image, joined(self._note_of(source), note)), missing

    def _lay_out(self, task: Task, source: OpenedImage, header: SidecarHeader | None) -> slots.SlotImage:
        """The slot, long enough and laid out for the source, with the tiles that are finished in place."""
        record, metadata = self.describe(source)
        self._reserve(record.slot_bytes, source.scratch_bytes)
        restored = header and header.record.is_of(record) and self._checkpoints.restore(task.output, self._slot)
        return restored or self._slot.begin(record, metadata)

    def _metadata_of(self, source: OpenedImage) -> slots.Metadata:
        if self._pixels.metadata == "strip":
            return slots.Metadata(orientation_alone(source.exif))
        return kept(source.exif, source.besides, self._pixels.format)

    def _note_of(self, source: OpenedImage) -> str | None:
        if self._pixels.metadata == "strip":
            return source.note
        return joined(source.note, note_of(source.besides, self._pixels.format))

    def _run_kernel(self, task: Task, image: slots.SlotImage) -> None:
        """Tile by tile; a flag goes up after its tile is written.

        Raises Interrupted, with the finished tiles flushed.
        """
        width, rgb, gray = image.record.width, image.rgb, image.gray
        checkpoint_at = time.monotonic() + self._setup.checkpoint
        for tile in tiles.unfinished(bytes(image.flags), image.record.height, image.record.tile_rows):
            if self._interrupt.heard:
                self._flush(task, image)
                raise Interrupted
            first, last = tile.top * width, tile.bottom * width
            self._kernel(rgb[3 * first : 3 * last], gray[first:last])
            image.flags[tile.index] = 1
            if time.monotonic() >= checkpoint_at:
                self._checkpoint(task, image)
                checkpoint_at = time.monotonic() + self._setup.checkpoint

    def _checkpoint(self, task: Task, image: slots.SlotImage) -> SidecarHeader:
        """Make the finished tiles durable and say so."""
        header = self._checkpoints.save(task, image)
        self._tell(flushed(task, header.record, header.tiles_done))
        self._checkpointed = True
        return header

    def _flush(self, task: Task, image: slots.SlotImage) -> None:
        """Finished tiles to the sidecar, then to the partial JPEG; an image without one stays as it was."""
        if image.tiles_done:
            self._save_preview(self._checkpoint(task, image), image)

    def _save_preview(self, header: SidecarHeader, image: slots.SlotImage) -> None:
        if not header.owns_preview:
            return
        preview.blacken_unfinished(image)
        record = image.record
        try:
            quality = self._pixels.quality
            jpeg = encoding.encode_jpeg(image.gray, record.width, record.height, quality, image.metadata)
            self._checkpoints.draw(header, jpeg)
        except (ImageError, PlaceError):
            pass  # it is for people to look at; what resume needs is in the sidecar

    def _encode(self, image: slots.SlotImage) -> list[bytes]:
        if self._pixels.format == "png":
            return list(self._png(image))
        record, quality = image.record, self._pixels.quality
        return encoding.encode_jpeg(image.gray, record.width, record.height, quality, image.metadata)

    def _png(self, image: slots.SlotImage) -> Iterator[bytes]:
        """In pieces; given up at SIGTERM if it takes long. Raises Interrupted."""
        from batchgray.codecs import png  # compiled when it is first needed

        record, effort = image.record, self._pixels.compression
        for piece in png.encode(image.gray, record.width, record.height, effort, image.metadata):
            if self._interrupt.heard and png.takes_long(effort):
                raise Interrupted
            yield piece
