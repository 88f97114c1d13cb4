"""Images that were begun: folders with their sidecars, and slots."""

import contextlib
import os
import tempfile
from pathlib import Path
from random import Random

from batchgray.checkpoints import sidecar
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.options import PixelOptions
from batchgray.planes import slots
from batchgray.records import InputVersion, Task
from batchgray.storage import durable

VERSION = InputVersion(1234, 5678)
TASK = Task(index=3, source="/in/a/b.png", output="a/b.jpg", version=VERSION)
OPTIONS = PixelOptions(tile_rows=8)
EXIF = slots.Metadata(b"EXIF")
PREVIEW = "a/b.partial.jpg"


class Folders:
    """An output folder with a folder of what is in flight, and slots that are closed at the end."""

    def __init__(self, stack, out):
        self._stack = stack
        (out / "a").mkdir(parents=True)
        (out / "flight").mkdir()
        self.out, self.flight = (stack.enter_context(durable.Folder.at(folder)) for folder in (out, out / "flight"))

    def slot(self, record):
        fd = slots.make_memory()
        self._stack.callback(os.close, fd)
        slots.resize_memory(fd, record.slot_bytes)
        return slots.Slot(fd)

    def begun(self, flags=(1, 0, 1), metadata=EXIF, width=5, height=20, colour=True):
        """An image with these tiles finished; the pixels of all of them are random."""
        record = slots.SlotRecord(
            version=VERSION,
            width=width,
            height=height,
            tile_rows=8,
            colour=colour,
            exif_bytes=len(metadata.exif),
            xmp_bytes=len(metadata.xmp),
            iptc_bytes=len(metadata.iptc),
            note="first of 2",
        )
        image = self.slot(record).begin(record, metadata)
        image.gray[:] = Random(width).randbytes(len(image.gray))
        image.flags[:] = bytes(flags)
        return image

    def write(self, image, task=TASK, options=OPTIONS):
        return self.checkpoints(options).save(task, image)

    def checkpoints(self, options=OPTIONS):
        return FolderCheckpoints(self.flight, self.out, options)

    def draw(self, header, *pieces):
        """The partial JPEG."""
        self.checkpoints().draw(header, pieces)

    def discard(self, output=TASK.output):
        """The image that was begun."""
        self.checkpoints().discard(output)

    def restored(self, record):
        """The image that `restore` gives, and the slot that it was put into."""
        slot = self.slot(record)
        return self.checkpoints().restore(TASK.output, slot), slot

    @property
    def sidecar(self):
        return self.flight.path / sidecar.name_of(TASK.output)

    @property
    def preview(self):
        return self.out.path / PREVIEW


@contextlib.contextmanager
def making_folders():
    with contextlib.ExitStack() as stack:
        yield Folders(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())) / "out")
