"""Checkpoints in a place, for a machine whose own disk may be gone: sidecars and partial JPEGs as objects.

    PREFIX/HASH.tiles   the sidecar of a begun image
    NAME.partial.jpg    its partial JPEG, where its output will be

A machine works on a copy of each sidecar in a folder of its own, and puts it whenever it was written. The plane of an
image in bands stays on the machine: such an image begins anew elsewhere.
"""

import contextlib
from collections.abc import Iterable, Iterator

import msgspec

from batchgray.checkpoints import preview, sidecar
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

    keeps_planes = False

    def __init__(self, place: Place, prefix: str, folder: Folder, pixels: PixelOptions) -> None:
        self._place, self._prefix, self._folder = place, prefix, folder
        self._copies = FolderCheckpoints(folder, folder, pixels)

    def save(self, task: Task, image: slots.SlotImage) -> SidecarHeader:
        """See `Checkpoints`."""
        header = self._copies.save(task, image)
        with meaning(task.output), self._folder.open(sidecar.name_of(task.output)) as file:
            self._place.put(self._key(task.output), file)
        return header

    def claim(self, task: Task, record: slots.SlotRecord, metadata: slots.Metadata) -> SidecarHeader:
        """See `Checkpoints`. No partial JPEG is claimed, as no other machine would know whose it is."""
        return self._copies.claim(msgspec.structs.replace(task, preview=False), record, metadata)

    def find(self, task: Task) -> SidecarHeader | None:
        """See `Checkpoints`. An input has one version in a job, so its copies have one too."""
        name = sidecar.name_of(task.output)
        with meaning(task.output):
            if self._folder.stat(name) is None:
                self._fetch(task.output, name)
        return self._copies.find(msgspec.structs.replace(task, version=task.version.of_copy()))

    def restore(self, output: str, slot: slots.Slot) -> slots.SlotImage | None:
        """See `Checkpoints`."""
        return self._copies.restore(output, slot)

    def rows(self, output: str) -> Iterator[tuple[int, bytes]]:
        """See `Checkpoints`."""
        return self._copies.rows(output)

    def metadata(self, output: str) -> slots.Metadata:
        """See `Checkpoints`."""
        return self._copies.metadata(output)

    def open_plane(self, output: str, record: slots.SlotRecord) -> BandPlane:
        """See `Checkpoints`."""
        return self._copies.open_plane(output, record)

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
        self._place.delete(self._key(output))

    def withdraw(self, output: str) -> None:
        """Remove what was put late of an image that another machine has finished meanwhile; it may be nothing."""
        with contextlib.suppress(PlaceError):
            self._place.stat(output)
            key = preview.name_of(output)
            if preview.stands_in(self._place, key):
                self._place.delete(key)
            self._place.delete(self._key(output))

    def left(self) -> Iterator[str]:
        """The outputs whose sidecars are there."""
        for entry in self._place.list(f"{self._prefix}/"):
            name = entry.key.removeprefix(f"{self._prefix}/")
            self._download(entry.key, name)
            header = sidecar.header_under_its_name(self._folder, name)
            if header is not None:
                yield header.output
            else:
                self._place.delete(entry.key)

    def names(self) -> set[str]:
        """The short names (see `integrity.short_name`) of the outputs whose sidecars are there."""
        prefix = f"{self._prefix}/"
        return {entry.key.removeprefix(prefix).removesuffix(sidecar.SUFFIX) for entry in self._place.list(prefix)}

    def _fetch(self, output: str, name: str) -> None:
        with contextlib.suppress(Missing):
            self._download(self._key(output), name)

    def _download(self, key: str, name: str) -> None:
        data = self._place.get(key)
        with meaning(key), self._folder.saving(name, f"{integrity.short_name(name)}.tmp") as file:
            file.append(data)

    def _key(self, output: str) -> str:
        return f"{self._prefix}/{sidecar.name_of(output)}"
