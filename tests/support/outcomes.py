"""What becomes of a file of these bytes: its pixels and what is told of them, or why there are none."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from harness import decode

from batchgray.codecs import opening
from batchgray.errors import ImageError


def outcome(data: bytes, background=None):
    """(height and width, colours, notes, EXIF, dropped metadata) of a file of these bytes, or the reason why not.

    Gray counts as the colours that it stands for: whether the kernel is asked for it makes no difference to it.
    """
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(data)
        file.flush()
        try:
            with contextlib.closing(opening.open_image(file.name, "bt601", 10**6, background)) as opened:
                shape = opened.height, opened.width, 3 if opened.colour else 1
                plane = memoryview(bytearray(int(np.prod(shape))))
                note = decode(opened, plane)
                pixels = np.broadcast_to(np.frombuffer(plane, np.uint8).reshape(shape), (*shape[:2], 3)).tobytes()
                return shape[:2], pixels, (opened.note, note), opened.exif, opened.besides
        except ImageError as error:
            return str(error)


def outcome_with_pillow(data: bytes, background=None):
    """The same where Pillow has to read everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "_READERS", {})
        return outcome(data, background)
