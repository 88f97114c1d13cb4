"""Checkpoints of begun images, as worker and supervisor see them, wherever they are kept."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from batchgray.checkpoints.band_plane import BandPlane
from batchgray.checkpoints.sidecar import SidecarHeader
from batchgray.planes import slots
from batchgray.records import Task


class Checkpoints(Protocol):
    """What another run, on another machine too, goes on from. All methods raise PlaceError."""

    def save(self, task: Task, image: slots.SlotImage) -> SidecarHeader:
        """Make the finished tiles durable. On an error an earlier sidecar stays as it was."""

    def claim(self, task: Task, record: slots.SlotRecord, metadata: slots.Metadata) -> SidecarHeader:
        """A sidecar without tiles, for an image whose plane is a file of its own (see `band_plane`)."""

    def find(self, task: Task) -> SidecarHeader | None:
        """The header of the task's sidecar if its tiles are of this version of the input and these options; else None.

        A claim to a partial JPEG whose name is another image's output now is void.
        """

    def restore(self, output: str, slot: slots.Slot) -> slots.SlotImage | None:
        """Lay out a sidecar's image in `slot`, with what is finished in place and flagged; None where it is damaged.

        The slot must be long enough: the `slot_bytes` of the header's record. The finished bands of an image that was
        begun in bands are in place too.
        """

    def rows(self, output: str) -> Iterator[tuple[int, bytes]]:
        """The rows of a sidecar's tiles, each piece with its first byte's place in the plane; of a damaged one none."""

    def metadata(self, output: str) -> slots.Metadata:
        """What a sidecar has of its image's metadata; of a damaged one none."""

    def held_bytes(self, width: int) -> int:
        """About what a checkpoint of an image in bands, so wide, holds in memory."""

    def open_plane(self, output: str, record: slots.SlotRecord) -> BandPlane:
        """The plane of an image in bands, with the bands of an earlier run that are whole."""

    def draw(self, header: SidecarHeader, jpeg: Iterable[bytes]) -> None:
        """Put the partial JPEG where the sidecar claims it, unless something else stands there by now."""

    def discard_preview(self, output: str) -> None:
        """Remove the partial JPEG of an output, if its sidecar claims it; durable when its folder is."""

    def discard(self, output: str) -> None:
        """Remove what is left of a begun image: first its partial JPEG, durably, then the sidecar that claims it."""

    def remove(self, output: str) -> None:
        """Remove the sidecar, and the plane of an image that has one, but no partial JPEG."""
