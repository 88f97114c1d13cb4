"""An opened input, as `jpegsource` and `pillowsource` make it, and what both have to say of what libraries tell."""

import mmap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from batchgray.codecs.containers import Contents
from batchgray.errors import ImageError, shown
from batchgray.planes.slots import Image as Planes
from batchgray.records import SourceIdentity

_BRIEF = 250  # characters of what a library says


Reserve = Callable[[int], None]


def reserve_nothing(scratch_bytes: int) -> None:
    """For who need not ask."""


@dataclass(frozen=True)
class Limits:
    """What an image may cost. `reserve` is called before so many bytes are used; it may wait, or raise ImageError."""

    max_pixels: int
    reserve: Reserve


@dataclass
class Source:
    """An opened input: its dimensions are known and nothing is decoded yet.

    `colour` says whether `decode` fills the RGB plane (and the kernel is needed) or the gray plane itself;
    `scratch_bytes` is about what the codec will hold besides the planes.
    """

    identity: SourceIdentity
    width: int
    height: int
    colour: bool
    exif: bytes
    note: str | None
    scratch_bytes: int

    def decode(self, planes: Planes) -> str | None:
        """Decode into `planes`. Returns a note where the decoder had to be lenient, or something was left out.

        Raises ImageError, SecondOpinion.
        """
        raise NotImplementedError

    def file_to_draw(self) -> BinaryIO:
        """The input, or what is left of it without its metadata."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""


class SecondOpinion(Exception):
    """A decoder gave up where another may not: `source` is the same input for that one, which takes more memory."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source


def check_dimensions(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError for an image without pixels, or with more than the user wants to see."""
    if width < 1 or height < 1:
        raise ImageError(f"no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} is {width * height:,} pixels, over the limit of {max_pixels:,}; "
            "if you trust the file, raise --max-pixels"
        )


def joined(*notes: str | None) -> str | None:
    """Notes as one."""
    return "; ".join(filter(None, notes)) or None


def let_go(data: Contents) -> None:
    """Unmap a file's bytes, where they are mapped."""
    if isinstance(data, mmap.mmap):
        data.close()


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Python's warnings stay off the terminal; the first and the last that tell something of the file are kept."""
    kept: list[str] = []

    def keep(message: Warning | str, *_: object, **__: object) -> None:
        kept[1:] = [str(message)]

    with warnings.catch_warnings():
        warnings.simplefilter("always")  # any other filter remembers every text it has seen
        warnings.filterwarnings("ignore", message="Palette images with Transparency")
        warnings.showwarning = keep
        yield kept


def library_reason(error: BaseException) -> str:
    """What a library raised, in one line."""
    text = brief(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def brief(text: str) -> str:
    """What a library says, on one line, and not longer than anybody would read."""
    text = shown(" ".join(text[: 4 * _BRIEF].split()))
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}..."
