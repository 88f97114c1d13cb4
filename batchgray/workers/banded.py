"""The conversion of an image that is larger than memory: band by band into a file, then from the file to the encoder.

    BandReader --RGB--> kernel --gray--> BandPlane (checkpoints) --> jpeg_bands or png --> N-M.out

What is in memory at a time is a band, and what the decoder holds. JPEG and PNG can only be read from the top: a
resumed conversion passes over what is finished, and has the rest to compute.
"""

import mmap
import time
from collections.abc import Callable, Iterator

import numpy as np

from batchgray.checkpoints.band_plane import band_rows
from batchgray.checkpoints.base import Checkpoints
from batchgray.codecs import opening, transparency
from batchgray.codecs.band_plan import BandPlan
from batchgray.codecs.band_reader import BandReader
from batchgray.codecs.opened import OpenedImage
from batchgray.errors import ImageError
from batchgray.kernels import methods
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage.base import PlaceError
from batchgray.storage.scratch import Scratch, ScratchFile
from batchgray.workers.interrupt import Interrupt
from batchgray.workers.messages import Flushed, flushed

# A checkpoint takes its time too, and the interval bounds both.
_SHARE_OF_INTERVAL = 0.5


class Conversion:
    """One image on its way. `flushed` is called with what became durable; `note` tells what reading left out."""

    def __init__(
        self,
        task: Task,
        record: slots.SlotRecord,
        metadata: slots.Metadata,
        pixels: PixelOptions,
        checkpoints: Checkpoints,
        scratch: Scratch,
        flushed: Callable[[Flushed], None],
    ) -> None:
        """Takes up the finished bands of an earlier run. Raises PlaceError."""
        self._task, self._record, self._metadata, self._pixels = task, record, metadata, pixels
        self._checkpoints, self._scratch, self._flushed = checkpoints, scratch, flushed
        header = checkpoints.find(task)
        self._claim = header if header and header.record.is_of(record) else None
        self.plane = checkpoints.open_plane(task.output, record)
        if self._claim and self._claim.tiles:
            self.plane.take_up(checkpoints.rows(task.output))
            self.plane.ignored |= transparency.IGNORED in (self._claim.record.note or "")
        self.tiles_missing = record.tiles_total - self.plane.tiles_done

    def convert(self, source: OpenedImage, plan: BandPlan, seconds: float, interrupt: Interrupt) -> None:
        """Read and convert what is missing, with a checkpoint about every so many seconds and one at the end.

        When SIGTERM is heard between two bands, all that is finished is flushed. Raises ImageError, PlaceError, and
        what `interrupt.check` raises.
        """
        kernel = methods.BY_METHOD[self._pixels.method]
        missing = [band for band in self.plane.bands() if not self.plane.finished(band.index)]
        reader = BandReader(self._task.source, source, plan, transparency.colour_of(self._pixels.background))
        try:
            read_to = None
            checkpoint_at = time.monotonic() + seconds * _SHARE_OF_INTERVAL
            for band in missing:
                if band.top == read_to:
                    rows = reader.rows(band.top, band.bottom)
                else:  # there is much to pass over, or all of a progressive file to decode
                    if read_to is not None:
                        self.checkpoint()
                    with interrupt.ending_at_once():
                        rows = reader.rows(band.top, band.bottom)
                read_to = band.bottom
                self.plane.ignored |= reader.ignored
                self.plane.write(band.index, _gray_of(rows, kernel) if source.colour else rows.data)
                if interrupt.heard and band is not missing[-1]:
                    self.flush()
                    interrupt.check()
                if time.monotonic() >= checkpoint_at:
                    self.checkpoint()
                    checkpoint_at = time.monotonic() + seconds * _SHARE_OF_INTERVAL
        finally:
            reader.close()
        opening.check_unchanged(self._task.source, self._record.version)
        self.checkpoint()

    def encode(self, interrupt: Interrupt) -> ScratchFile:
        """The plane, which is complete, as the output.

        A JPEG is finished whatever comes, as its partial JPEG would take as long; a PNG is given up at SIGTERM. Raises
        ImageError, PlaceError, and what `interrupt.check` raises.
        """
        with self._scratch.new_file() as file:
            for piece in self._jpeg() if self._pixels.format == "jpeg" else self._png(interrupt):
                file.write(piece)
        return file

    @property
    def note(self) -> str | None:
        return transparency.IGNORED if self.plane.ignored else None

    def checkpoint(self) -> None:
        """Make the finished bands durable and say so. Raises PlaceError."""
        if self._claim is None:
            self._claim = self._checkpoints.claim(self._task, self._record, self._metadata)
        self.plane.checkpoint()
        self._flushed(flushed(self._task, self._record, self.plane.tiles_done))

    def flush(self) -> None:
        """Checkpoint, then the partial JPEG."""
        self.checkpoint()
        if self._claim is not None and self._claim.owns_preview:
            try:
                self._checkpoints.draw(self._claim, self._jpeg())
            except (ImageError, PlaceError):
                pass  # it is for people to look at; what resume needs is durable

    def discard(self) -> None:
        """The image can't be converted: nothing of it is worth its space. Raises PlaceError."""
        if self._task.preview:
            self._checkpoints.discard(self._task.output)
        else:
            self._checkpoints.remove(self._task.output)

    def close(self) -> None:
        self.plane.close()

    def _jpeg(self) -> Iterator[bytes]:
        """What is finished as a JPEG, in pieces; the rest black. Raises ImageError."""
        from batchgray.codecs import jpeg_bands  # compiled when it is first needed

        record = self._record
        encoder = jpeg_bands.Encoder(record.width, record.height, self._pixels.quality, self._metadata)
        black = bytes(self.plane.band_rows * record.width)
        for band in self.plane.bands():
            if self.plane.finished(band.index):
                yield encoder.encode(self.plane.read(band.index))
            elif band.bottom < record.height:
                yield encoder.encode(black)
            else:
                yield encoder.encode(black[: (band.bottom - band.top) * record.width])
        yield encoder.finish()

    def _png(self, interrupt: Interrupt) -> Iterator[bytes]:
        """The plane as a PNG, in pieces. Raises PlaceError, and what `interrupt.check` raises."""
        from batchgray.codecs import png  # compiled when it is first needed

        record, gray = self._record, self.plane.map()
        for piece in png.encode(gray, record.width, record.height, self._pixels.compression, self._metadata):
            if interrupt.heard:
                self.flush()
                interrupt.check()
            yield piece
            gray.madvise(mmap.MADV_DONTNEED)  # it is in the file, and need not count as this process's memory


def needed_bytes(plan: BandPlan, width: int, height: int, pixels: PixelOptions) -> int:
    """About what the conversion holds at a time.

    That is what reading holds, the band in colour and in gray, and its JPEG; of a PNG rather what its writing holds.
    """
    rows = band_rows(width)
    band = 8 * width * rows
    if pixels.format == "png":
        from batchgray.codecs import png

        band = max(band, png.scratch_bytes(width, pixels.compression))
    return plan.scratch_bytes(height, rows) + band


def _gray_of(rgb: np.ndarray, kernel: methods.Kernel) -> memoryview:
    gray = np.empty(rgb.size // 3, np.uint8)
    kernel(rgb, gray)
    return gray.data
