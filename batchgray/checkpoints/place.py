"""Checkpoints in a place, for a machine whose own disk may be gone: sidecars and partial JPEGs as objects.

    PREFIX/HASH.tiles    the sidecar of a begun image
    PREFIX/HASH.bands-…  the finished bands of one in bands (see `band_pieces`)
    NAME.partial.jpg     its partial JPEG, where its output will be

A machine works on copies in a folder of its own, and puts what is new whenever they were written.
"""

import contextlib
from collections.abc import Iterable, Iterator

import msgspec

from batchgray.checkpoints import band_pieces, preview, sidecar
from batchgray.checkpoints.band_pieces import PlacePlane
from batchgray.checkpoints.band_plane import BandPlane
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.checkpoints.sidecar import SidecarHeader
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import Task
from batchgray.storage import integrity
from batchgray.storage.base import Missing, Place, PlaceError, Put, meaning
from batchgray.storage.durable import Folder


class PlaceCheckpoints:
    """See `base.Checkpoints`: in `place`, sidecars below `prefix`; the copies lie in `folder`."""

    def __init__(self, place: Place, prefix: str, folder: Folder, pixels: PixelOptions) -> None:
        self._place, self._prefix, self._folder = place, prefix, folder
        self._pixels = pixels
        self._copies = FolderCheckpoints(folder, folder, pixels)

    def save(self, task: Task, image: slots.SlotImage) -> SidecarHeader:
        """See `Checkpoints`."""
        header = self._copies.save(task, image)
        self._put_copy(task.output)
        return header

    def claim(self, task: Task, record: slots.SlotRecord, metadata: slots.Metadata) -> SidecarHeader:
        """See `Checkpoints`."""
        header = self._copies.claim(task, record, metadata)
        self._put_copy(task.output)
        return header

    def find(self, task: Task) -> SidecarHeader | None:
        """See `Checkpoints`. An input has one version in a job, so its copies have one too."""
        name = sidecar.name_of(task.output)
        with meaning(task.output):
            if self._folder.stat(name) is None:
                self._fetch(task.output, name)
        return self._copies.find(msgspec.structs.replace(task, version=task.version.of_copy()))

    def restore(self, output: str, slot: slots.Slot) -> slots.SlotImage | None:
        """See `Checkpoints`."""
        header = sidecar.header_of(self._folder, output)
        if header is not None and not header.tiles:  # it was begun in bands, perhaps elsewhere
            with contextlib.closing(self.open_plane(output, header.record)) as plane:
                plane.checkpoint()
        return self._copies.restore(output, slot)

    def rows(self, output: str) -> Iterator[tuple[int, bytes]]:
        """See `Checkpoints`."""
        return self._copies.rows(output)

    def metadata(self, output: str) -> slots.Metadata:
        """See `Checkpoints`."""
        return self._copies.metadata(output)

    def held_bytes(self, width: int) -> int:
        """See `Checkpoints`."""
        return band_pieces.held_bytes(width)

    def open_plane(self, output: str, record: slots.SlotRecord) -> BandPlane:
        """See `Checkpoints`."""
        with meaning(output):
            return PlacePlane(self._folder, output, record, self._pixels, self._place, self._prefix)

    def draw(self, header: SidecarHeader, jpeg: Iterable[bytes]) -> None:
        """See `Checkpoints`."""
        key, data = preview.name_of(header.output), preview.with_trailer(jpeg)
        if self._place.put_absent(key, data) is Put.OTHER and preview.stands_in(self._place, key):
            self._place.put(key, data)

    def discard_preview(self, output: str) -> None:
        """See `Checkpoints`."""
        header = sidecar.header_of(self._folder, output)
        key = preview.name_of(output)
        if header is not None and header.owns_preview and preview.stands_in(self._place, key):
            self._place.delete(key)

    def discard(self, output: str) -> None:
        """See `Checkpoints`."""
        self.discard_preview(output)
        self.remove(output)

    def remove(self, output: str) -> None:
        """See `Checkpoints`."""
        self._copies.remove(output)
        self._remove_objects(output)

    def withdraw(self, output: str) -> None:
        """Remove what was put late of an image that another machine has finished meanwhile; it may be nothing."""
        with contextlib.suppress(PlaceError):
            self._place.stat(output)
            key = preview.name_of(output)
            if preview.stands_in(self._place, key):
                self._place.delete(key)
            self._remove_objects(output)

    def left(self) -> Iterator[str]:
        """The outputs whose sidecars are there, so that all of them may be discarded; what is none is removed."""
        for entry in self._place.list(f"{self._prefix}/"):
            name = entry.key.removeprefix(f"{self._prefix}/")
            header = None
            if name.endswith(sidecar.SUFFIX):
                self._download(entry.key, name)
                header = sidecar.header_under_its_name(self._folder, name)
            if header is not None:
                yield header.output
            else:
                self._place.delete(entry.key)

    def names(self) -> set[str]:
        """The short names (see `integrity.short_name`) of the outputs whose sidecars are there."""
        keys = (entry.key for entry in self._place.list(f"{self._prefix}/"))
        names = (key.removeprefix(f"{self._prefix}/") for key in keys if key.endswith(sidecar.SUFFIX))
        return {name.removesuffix(sidecar.SUFFIX) for name in names}

    def _put_copy(self, output: str) -> None:
        with meaning(output), self._folder.open(sidecar.name_of(output)) as file:
            self._place.put(self._key(output), file)

    def _remove_objects(self, output: str) -> None:
        """The sidecar goes last: without it nobody would look for the others."""
        band_pieces.remove(self._place, self._prefix, output)
        self._place.delete(self._key(output))

    def _fetch(self, output: str, name: str) -> None:
        with contextlib.suppress(Missing):
            self._download(self._key(output), name)

    def _download(self, key: str, name: str) -> None:
        data = self._place.get(key)
        with meaning(key), self._folder.saving(name, f"{integrity.short_name(name)}.tmp") as file:
            file.append(data)

    def _key(self, output: str) -> str:
        return f"{self._prefix}/{sidecar.name_of(output)}"
