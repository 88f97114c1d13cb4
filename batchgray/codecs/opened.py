"""OpenedImage, which `opening` hands out and `jpeg` and `pillow` make: its dimensions are known, and it can decode."""

from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

from batchgray.codecs.excerpt import Contents
from batchgray.codecs.faults import ImageFailures
from batchgray.codecs.limits import Limits
from batchgray.codecs.metadata import Besides
from batchgray.codecs.transparency import Colour
from batchgray.options import Method
from batchgray.planes.slots import SlotImage as Planes
from batchgray.records import InputVersion


class ProbeInput(NamedTuple):
    """What a probe is given: an input, for what method and over what background, and what it may cost.

    `fd` is open as long as it is probed, and None where there is no file; `data` is the opened image's to let go of.
    """

    fd: int | None
    data: Contents
    version: InputVersion
    method: Method
    limits: Limits
    background: Colour | None


@dataclass
class OpenedImage:
    """An input whose header was read: its dimensions are known and nothing is decoded yet.

    `colour` says whether `decode` fills the RGB plane (and the kernel is needed) or the gray plane itself;
    `besides` is metadata of other kinds than EXIF;
    `scratch_bytes` is about what the codec will hold besides the planes.
    """

    version: InputVersion
    width: int
    height: int
    colour: bool
    exif: bytes
    besides: Besides
    note: str | None
    scratch_bytes: int

    def decode(self, planes: Planes) -> str | None:
        """Decode into `planes`. Returns a note where the decoder had to be lenient, or something was left out.

        Raises ImageError whatever the decoder meets, SecondOpinion.
        """
        with _FAILURES:
            return self._decode(planes)

    def _decode(self, planes: Planes) -> str | None:
        raise NotImplementedError

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Gray of shape (H, W), or R, G and B of (H, W, 3), and alpha of (H, W), as uint8; of all but JPEGs.

        Raises whatever a library raises.
        """
        raise NotImplementedError

    def file_to_draw(self) -> BinaryIO:
        """The input, or what is left of it without its metadata."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""


class SecondOpinion(Exception):
    """A decoder gave up where another may not: `opened` is the same image for that one, which takes more memory."""

    def __init__(self, opened: OpenedImage) -> None:
        super().__init__()
        self.opened = opened


_FAILURES = ImageFailures(SecondOpinion)
