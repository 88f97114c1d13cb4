"""Which inputs can be read in bands, how, and what that takes; and why the others can't.

The pixels must be those of decoding the whole, to the bit. That was tested kind by kind; a kind that `band_reader`'s
library reads otherwise, or that was not tested, is refused with its reason.
"""

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batchgray.codecs import jpeg
from batchgray.codecs import jpeg_markers as markers
from batchgray.codecs import tiff_outline as tiff
from batchgray.codecs.faults import image_failures
from batchgray.codecs.jpeg_layout import JpegLayout
from batchgray.codecs.jpeg_outline import JpegOutline
from batchgray.codecs.opened import OpenedImage
from batchgray.codecs.opening import open_unchanged
from batchgray.codecs.png_input import OpenedPng
from batchgray.codecs.png_outline import PngOutline
from batchgray.codecs.png_rows import PngRows
from batchgray.codecs.signatures import HEAD_BYTES, Format, format_of
from batchgray.codecs.tiff_input import OpenedTiff
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.errors import ImageError
from batchgray.options import Method

# The library keeps this many rows of its own (measured: 792) between the decoder and us.
_CACHED_ROWS = 800
_TABLE_BYTES = 32  # of libtiff's, for each number in a table of strips or tiles
_MCUS_TOGETHER = 16  # rows of MCUs in a slice; those around it are decoded twice
_ROWS_TOGETHER = 128  # at least, of a TIFF: where bands don't end with a piece, one is read twice
_LARGEST_PIECE = 32 << 20  # bytes as decoded, of a TIFF that is read by several threads
_LONGEST_STRIP = 128  # rows; higher ones of a TIFF are read row by row


@dataclass(frozen=True)
class BandPlan:
    """How an input is to be read in bands.

    `row_bytes` is what the decoder makes of a row, `held_bytes` what it holds besides rows. `parts` are what it gets to
    read of the file (see `Excerpt`): what its picture needs.
    """

    format: Format
    row_bytes: int
    held_bytes: int
    parts: tuple[slice | bytes, ...]
    luma: bool = False  # what is read as R is Y'
    alpha: bool = True  # what follows gray or the colours, where something does, is alpha
    pieces: "Pieces | None" = None
    slices: "JpegLayout | None" = None  # how it is read without libvips, as is what is read `here`
    here: bool = False

    @property
    def needs_libvips(self) -> bool:
        return self.slices is None and not self.here

    @property
    def rows_together(self) -> int:
        """Rows that are read at once at least."""
        if self.slices:
            return _MCUS_TOGETHER * self.slices.mcu_height
        return self.pieces.rows * -(-_ROWS_TOGETHER // self.pieces.rows) if self.pieces else 1

    def scratch_bytes(self, height: int, band_rows: int, cores: int = 1) -> int:
        """About what reading holds for so many threads.

        That is the library's rows; and for each its band, our copy of that, and its 8-bit half.
        """
        if self.here and not self.pieces:
            return self.held_bytes + cores * 2 * self.row_bytes * min(height, band_rows)
        if self.slices:
            rows = band_rows + 2 * self.slices.mcu_height * (1 + self.slices.rows_around)
            return cores * 2 * self.row_bytes * min(height, rows)
        if self.pieces:
            return cores * (self.held_bytes + 4 * self.row_bytes * min(height, band_rows + 2 * self.pieces.rows))
        return self.held_bytes + self.row_bytes * (min(height, _CACHED_ROWS) + 3 * band_rows * cores)


class Pieces(NamedTuple):
    """An input whose rows can be read from any piece of so many rows on: strips, or rows of tiles.

    `parts` tells what a library gets to read of the mapped file for the rows from the first to the last (exclusive).
    """

    rows: int
    parts: Callable[[mmap.mmap, tuple[int, int]], Sequence[slice | bytes]]


def plan_bands(path: str, opened: OpenedImage, method: Method, by_libvips: bool = False) -> BandPlan:
    """How to read an input that was opened before in bands. Raises ImageError where that can't be done.

    With `by_libvips` libvips reads what could be read without it, as it knows a way round many faults.
    """
    with (
        image_failures,
        open_unchanged(path, opened.version) as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data,
    ):
        return _plan(data, opened, method, by_libvips)


def _plan(data: mmap.mmap, opened: OpenedImage, method: Method, by_libvips: bool) -> BandPlan:
    match format_of(data[:HEAD_BYTES]):
        case "JPEG":
            return _plan_jpeg(data, opened, method, by_libvips)
        case "PNG":
            return _plan_png(data, opened, by_libvips)
        case "TIFF":
            return _plan_tiff(data, opened, by_libvips)
    raise ImageError("only JPEG, PNG and TIFF can be converted in bands")


# JPEG

# An Adobe marker that says "no colour transform", behind SOI.
_UNTRANSFORMED = b"\xff\xd8" + markers.made(markers.APP14, b"Adobe\0\x64\0\0\0\0\0")


def _plan_jpeg(data: mmap.mmap, opened: OpenedImage, method: Method, by_libvips: bool) -> BandPlan:
    outline = JpegOutline.walk(data)
    colorspace = jpeg.colorspace_of(data, outline)
    if method == "luma" and colorspace not in ("Gray", "YCbCr", "CMYK", "YCCK"):
        raise ImageError(f"the Y' of a JPEG that holds {colorspace or 'such samples'} can't be had in bands")
    luma = method == "luma" and colorspace == "YCbCr"
    sliceable = colorspace in ("Gray", "YCbCr") or (colorspace == "RGB" and method != "luma")
    slices = JpegLayout.of(data, outline) if sliceable and not by_libvips else None
    if slices:
        row_bytes = opened.width * (3 if opened.colour else 1)
        return BandPlan(format="JPEG", row_bytes=row_bytes, held_bytes=0, parts=(), slices=slices)
    return BandPlan(
        format="JPEG",
        row_bytes=outline.components * opened.width,
        # libjpeg keeps all 16-bit coefficients of a progressive file.
        held_bytes=int(2 * outline.samples * opened.width * opened.height) if outline.progressive else 0,
        parts=_adobe_patched(data, outline) if luma else tuple(outline.parts(data)),
        luma=luma,
    )


def _adobe_patched(data: mmap.mmap, outline: JpegOutline) -> tuple[slice | bytes, ...]:
    """A JPEG of Y', Cb and Cr that says it holds R, G and B: so a library that can't give Y' alone gives all three.

    A JFIF marker would be believed first, and another Adobe marker later, so they are left out.
    """
    _soi, *parts = outline.parts(data, left_out=(markers.APP0, markers.APP14))
    return _UNTRANSFORMED, *parts


# PNG

_SPLIT_BYTES = 4  # of a pixel, at most: colours and alpha
_PNG_CHANNELS = {0: 2, 2: 4, 3: 4, 4: 2, 6: 4}  # of each colour type, with alpha


def _plan_png(data: mmap.mmap, opened: OpenedImage, by_libvips: bool) -> BandPlan:
    outline = PngOutline.walk(data)
    if outline.frames > 1 or outline.animated:
        raise ImageError("an animated PNG can't be converted in bands")
    if isinstance(opened, OpenedPng) and not by_libvips:
        row_bytes = PngRows(data, outline).row_bytes + _SPLIT_BYTES * opened.width
        return BandPlan(format="PNG", row_bytes=row_bytes, held_bytes=opened.scratch_bytes, parts=(), here=True)
    row_bytes = _PNG_CHANNELS.get(outline.colour_type, 4) * (2 if outline.depth > 8 else 1) * outline.width
    # Interlaced rows come in seven passes, so the library holds them all.
    held_bytes = row_bytes * outline.height if outline.interlaced else 0
    return BandPlan(format="PNG", row_bytes=row_bytes, held_bytes=held_bytes, parts=tuple(outline.parts(data)))


# TIFF

_PHOTOMETRICS = {tiff.WHITE_IS_ZERO, tiff.BLACK_IS_ZERO, tiff.RGB, tiff.PALETTE, tiff.CMYK}
_COMPRESSIONS = {tiff.UNCOMPRESSED, 2, 3, 4, 5, tiff.JPEG, 8, 32773, 32946}  # CCITT, LZW, deflate, PackBits


def _plan_tiff(data: mmap.mmap, opened: OpenedImage, by_libvips: bool) -> BandPlan:
    outline = TiffOutline.walk(data)
    if isinstance(opened, OpenedTiff) and not by_libvips:
        row_bytes = opened.rows.channels * opened.width
        if pieces := _tiff_pieces(outline, data, opened, row_bytes, {}):
            held = opened.rows.scratch_bytes
            return BandPlan(format="TIFF", row_bytes=row_bytes, held_bytes=held, parts=(), pieces=pieces, here=True)
    compression = outline.value(data, tiff.COMPRESSION, tiff.UNCOMPRESSED)
    photometric = outline.value(data, tiff.PHOTOMETRIC, -1)
    samples, bits = outline.value(data, tiff.SAMPLES, 1), max(outline.values(data, tiff.BITS, (1,)))
    extras = outline.values(data, tiff.EXTRA_SAMPLES)
    if outline.value(data, tiff.ORIENTATION, 1) != 1:
        raise ImageError("a TIFF that is to be turned can't be converted in bands")
    if compression not in _COMPRESSIONS:
        raise ImageError(f"a TIFF of compression {compression} can't be converted in bands")
    if photometric not in _PHOTOMETRICS and (photometric, compression) != (tiff.YCBCR, tiff.JPEG):
        raise ImageError(f"a TIFF of photometric interpretation {photometric} can't be converted in bands")
    if tiff.PREMULTIPLIED_ALPHA in extras:
        raise ImageError("a TIFF whose alpha is multiplied in already can't be converted in bands")
    if set(outline.values(data, tiff.SAMPLE_FORMAT, (1,))) != {tiff.UNSIGNED} or bits not in (1, 2, 4, 8, 16):
        raise ImageError("a TIFF of other than unsigned 8 or 16 bits can't be converted in bands")
    if samples > 1 and outline.value(data, tiff.PLANES, 1) == tiff.SEPARATE:
        raise ImageError("a TIFF that holds its colours one after another can't be converted in bands")
    changes = {tiff.PLANES: 1} if samples == 1 and tiff.PLANES in outline.entries else {}  # it is all the same
    row_bytes = opened.width * (3 if photometric == tiff.PALETTE else samples) * (2 if bits > 8 else 1)
    return BandPlan(
        format="TIFF",
        row_bytes=row_bytes,
        held_bytes=_tiff_held(outline, data, opened, row_bytes),
        parts=tuple(outline.parts(data, changes)),
        alpha=tiff.NO_ALPHA not in extras[:1],  # what else follows counts for nothing
        pieces=_tiff_pieces(outline, data, opened, row_bytes, changes),
    )


def _tiff_pieces(
    outline: TiffOutline, data: mmap.mmap, opened: OpenedImage, row_bytes: int, changes: Mapping[int, int]
) -> Pieces | None:
    """Its strips or tiles, if they are small enough to be read by themselves."""
    pieces = outline.pieces_of(data, opened.width, opened.height)
    if pieces is None or pieces.rows * row_bytes > _LARGEST_PIECE or pieces.rows >= opened.height:
        return None
    return Pieces(pieces.rows, lambda mapped, rows: outline.parts_of_rows(mapped, pieces, rows, changes))


def _tiff_held(outline: TiffOutline, data: mmap.mmap, opened: OpenedImage, row_bytes: int) -> int:
    """The rows of a strip, or a row of tiles twice, as they are decoded together; and the longest of them as stored."""
    if tiff.TILE_ROWS in outline.entries:
        tile_width = max(1, outline.value(data, tiff.TILE_WIDTH, 1))
        across = -(-opened.width // tile_width) * tile_width * (row_bytes // opened.width)
        decoded = 3 * across * outline.value(data, tiff.TILE_ROWS, 1)
    else:
        rows = min(outline.value(data, tiff.STRIP_ROWS, opened.height), opened.height)
        decoded = row_bytes * (rows if rows <= _LONGEST_STRIP else 1)
    compressed = outline.value(data, tiff.COMPRESSION, tiff.UNCOMPRESSED) != tiff.UNCOMPRESSED
    return decoded + _TABLE_BYTES * outline.numbers + (outline.longest_piece(data) if compressed else 0)
