"""What an image may cost, and what its header can't possibly promise: checked before a library believes it.

A header costs nothing to write. A kilobyte can promise a gigapixel, a progressive JPEG twenty thousand passes over the
picture, a TIFF pages without end, a PNG text that unfolds to gigabytes; and libraries believe them. So the `*_outline`
modules walk a file's own structure first, with a bound on every step, and hand on only what the picture needs.
"""

from collections.abc import Callable
from typing import NamedTuple

from batchgray.errors import ImageError

MOST_FRAMES = 1000  # counted; who wants to know of more opens the file

# The picture that the smallest file can hold costs no more than this many pixels anyway: a fraction of a second.
_HARMLESS_PIXELS = 16_000_000

# The most that one byte can unfold to. Deflate: 258 bytes for two bits. LZW: a string of 4096 for twelve bits.
DEFLATE_RATIO = 1032
LZW_RATIO = 4096 * 8 // 12

_WHOLE_BYTES = 512 << 20  # of a format that libraries read as a whole

Reserve = Callable[[int], None]


def reserve_nothing(scratch_bytes: int) -> None:
    """For who need not ask."""


class Limits(NamedTuple):
    """What an image may cost. `reserve` is called before so many bytes are used; it may wait, or raise ImageError."""

    max_pixels: int
    reserve: Reserve


def check_dimensions(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError for an image without pixels, or with more than the user wants to see."""
    if width < 1 or height < 1:
        raise ImageError(f"no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} is {width * height:,} pixels, over the limit of {max_pixels:,}; "
            "if you trust the file: `batchgray run ... --max-pixels N`"
        )


def check_plausible(width: int, height: int, least_bytes: int, file_bytes: int) -> None:
    """Raise ImageError where even the best compression would need more bytes than there are."""
    if width * height > _HARMLESS_PIXELS and file_bytes < least_bytes:
        raise ImageError(
            f"damaged: its header promises {width} x {height} pixels, which {file_bytes:,} bytes can't hold"
        )


def check_read_as_a_whole(file_bytes: int) -> None:
    """Raise ImageError where a file is too long for a library that needs all of it in memory."""
    if file_bytes > _WHOLE_BYTES:
        raise ImageError(f"{file_bytes:,} bytes, over the {_WHOLE_BYTES:,} that a file of its format can have here")
