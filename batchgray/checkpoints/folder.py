"""Checkpoints in folders: sidecars and planes in the run's own, partial JPEGs beside where the outputs will be."""

from collections.abc import Iterable, Iterator

import msgspec

from batchgray import tiles
from batchgray.checkpoints import band_plane, preview, sidecar
from batchgray.checkpoints.band_plane import BandPlane
from batchgray.checkpoints.sidecar import SidecarHeader
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage import integrity
from batchgray.storage.base import meaning
from batchgray.storage.durable import Folder


class FolderCheckpoints:
    """See `base.Checkpoints`: those of images that are converted with the options `pixels`.

    They lie in `folder`, partial JPEGs below `out`. Neither is closed here.
    """

    def __init__(self, folder: Folder, out: Folder, pixels: PixelOptions) -> None:
        self._folder, self._out, self._pixels = folder, out, pixels

    def save(self, task: Task, image: slots.SlotImage) -> SidecarHeader:
        """See `Checkpoints`."""
        spans = tiles.spans(image.flags)
        rows = [image.rows(first, last) for first, last in spans]
        return self._save(task, image.record, spans, [*image.metadata, *rows])

    def claim(self, task: Task, record: slots.SlotRecord, metadata: slots.Metadata) -> SidecarHeader:
        """See `Checkpoints`."""
        return self._save(task, record, [], [*metadata])

    def _save(
        self,
        task: Task,
        record: slots.SlotRecord,
        spans: list[tuple[int, int]],
        payload: list[bytes | memoryview],
    ) -> SidecarHeader:
        earlier = sidecar.header_of(self._folder, task.output)
        header = SidecarHeader(
            output=task.output,
            owns_preview=task.preview
            and (earlier.owns_preview if earlier else preview.is_free(self._out, task.output)),
            record=record,
            options=self._pixels,
            tiles=spans,
            payload=integrity.checksum(payload),
        )
        with meaning(task.output):
            sidecar.write(self._folder, header, payload)
        return header

    def find(self, task: Task) -> SidecarHeader | None:
        """See `Checkpoints`."""
        header = sidecar.header_of(self._folder, task.output)
        if header is None or header.options != self._pixels or not header.record.version.is_same(task.version):
            return None
        return msgspec.structs.replace(header, owns_preview=header.owns_preview and task.preview)

    def restore(self, output: str, slot: slots.Slot) -> slots.SlotImage | None:
        """See `Checkpoints`."""
        image = sidecar.restore(self._folder, output, slot)
        if image is not None and not image.tiles_done:  # it was begun in bands
            band_plane.fill(image, self._folder, output, self._pixels)
        return image

    def rows(self, output: str) -> Iterator[tuple[int, bytes]]:
        """See `Checkpoints`."""
        with meaning(output):
            yield from sidecar.stored_rows(self._folder, output)

    def metadata(self, output: str) -> slots.Metadata:
        """See `Checkpoints`."""
        with meaning(output):
            return sidecar.stored_metadata(self._folder, output)

    def held_bytes(self, width: int) -> int:
        """See `Checkpoints`."""
        return 0

    def open_plane(self, output: str, record: slots.SlotRecord) -> BandPlane:
        """See `Checkpoints`."""
        with meaning(output):
            return BandPlane(self._folder, output, record, self._pixels)

    def draw(self, header: SidecarHeader, jpeg: Iterable[bytes]) -> None:
        """See `Checkpoints`."""
        with meaning(header.output):
            preview.write(self._out, self._folder, header.output, jpeg)

    def discard_preview(self, output: str) -> None:
        """See `Checkpoints`."""
        with meaning(output):
            if _claims_preview(self._folder, output):
                preview.remove(self._out, output)

    def discard(self, output: str) -> None:
        """See `Checkpoints`."""
        with meaning(output):
            discard(self._folder, self._out, output)

    def remove(self, output: str) -> None:
        """See `Checkpoints`."""
        with meaning(output):
            _remove(self._folder, output)


def discard(folder: Folder, out: Folder, output: str) -> None:
    """Remove what is left of a begun image: first its partial JPEG, durably, then the sidecar that claims it.

    Raises OSError.
    """
    withdraw_preview(folder, out, output)
    _remove(folder, output)


def withdraw_preview(folder: Folder, out: Folder, output: str) -> None:
    """Remove the partial JPEG of an output, durably, wherever it is, if its sidecar claims it. Raises OSError."""
    if _claims_preview(folder, output):
        preview.remove(out, output, durably=True)


def _remove(folder: Folder, output: str) -> None:
    folder.remove(sidecar.name_of(output))
    band_plane.discard(folder, output)


def _claims_preview(folder: Folder, output: str) -> bool:
    header = sidecar.header_of(folder, output)
    return header is not None and header.owns_preview
