"""What is checked of each format before Pillow opens it, and what Pillow then gets to read: `PROBES`, one a format.

JPEG, PNM and HEIF have their own ways (`jpeg`, `pnm`, `heif`).
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

from PIL import TiffImagePlugin

from batchgray.codecs import tiff_outline
from batchgray.codecs.excerpt import Contents, excerpt
from batchgray.codecs.exif import fitting
from batchgray.codecs.faults import joined
from batchgray.codecs.gif_outline import GifOutline
from batchgray.codecs.heif import OpenedHeif
from batchgray.codecs.jpeg2000_outline import Jpeg2000Outline
from batchgray.codecs.limits import check_dimensions, check_read_as_a_whole
from batchgray.codecs.notes import depth_note, frames_note
from batchgray.codecs.opened import OpenedImage, ProbeInput
from batchgray.codecs.pillow import OpenedWithPillow, UnknownMode, open_as
from batchgray.codecs.png_outline import PngOutline
from batchgray.codecs.pnm import OpenedPnm
from batchgray.codecs.samples import Samples, of_tiff, unknown_tiff
from batchgray.codecs.signatures import Format
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.codecs.webp_outline import WebpOutline
from batchgray.errors import ImageError

# Bytes that a format's library holds besides the planes.
_WHOLE_SCRATCH = 19  # a pixel, where files are read as a whole: a canvas or two more than Pillow's own
_COPIES = 2  # of a file that is read as a whole
_CANVASES = 8  # a pixel of a WebP that is opened
_TILE_SCRATCH = 9  # a pixel and component of a JPEG 2000: a tile as 32-bit numbers and as bytes, and Pillow's own
_STRIP_SCRATCH = 100  # for each number in a TIFF's tables

_BMP_LONGEST_HEADER = 124  # bytes; BITMAPV5HEADER


def _probe_png(given: ProbeInput) -> OpenedImage:
    outline = PngOutline.walk(given.data)
    check_dimensions(outline.width, outline.height, given.limits.max_pixels)
    opened = OpenedWithPillow.probe(given, "PNG", outline.without_metadata(given.data))
    opened.exif, opened.besides = fitting(outline.exif), outline.besides
    opened.note = joined(frames_note(outline.frames), depth_note(outline.depth))
    if outline.transparent:
        _take_key(opened, outline)
    return opened


def _take_key(opened: OpenedWithPillow, outline: PngOutline) -> None:
    """One value of a PNG's gray or colours is transparent."""
    if outline.depth == 16 and opened.samples.colour:
        # Pillow drops the lower bits before anybody could compare them.
        if opened.background is not None:
            raise ImageError("a transparent colour of 16 bits a sample, which --background can't composite")
        opened.unkeyed = True
        return
    scale = 255 // ((1 << outline.depth) - 1) if outline.depth < 8 else 1
    opened.take_samples(replace(opened.samples, key=tuple(scale * value for value in outline.transparent)))


def _probe_gif(given: ProbeInput) -> OpenedImage:
    outline = GifOutline.walk(given.data)
    opened = OpenedWithPillow.probe(given, "GIF", outline.without_metadata(given.data))
    opened.besides = outline.besides
    opened.note = frames_note(outline.frames)
    opened.take_samples(replace(opened.samples, window=outline.window))
    return opened


def _probe_webp(given: ProbeInput) -> OpenedImage:
    outline = WebpOutline.walk(given.data)
    check_dimensions(outline.width, outline.height, given.limits.max_pixels)
    # Pillow reads the file and lays out its canvases when it opens it.
    given.limits.reserve(_COPIES * outline.kept_bytes + _CANVASES * outline.width * outline.height)
    opened = OpenedWithPillow.probe(given, "WEBP", outline.without_metadata(given.data))
    opened.exif, opened.besides = fitting(outline.exif), outline.besides
    opened.note = frames_note(outline.frames)
    opened.scratch_bytes = _WHOLE_SCRATCH * outline.width * outline.height + _COPIES * outline.kept_bytes
    return opened


def _probe_avif(given: ProbeInput) -> OpenedImage:
    """Its library reads the whole file when it opens it."""
    check_read_as_a_whole(len(given.data))
    given.limits.reserve(_COPIES * len(given.data))
    with _whole_file(given) as file:
        image = open_as("AVIF", file)
        opened = OpenedWithPillow.of(given, image, file)
        opened.note = frames_note(getattr(image, "n_frames", 1))
    opened.scratch_bytes = _WHOLE_SCRATCH * opened.width * opened.height + _COPIES * len(given.data)
    return opened


def _probe_bmp(given: ProbeInput) -> OpenedImage:
    """Pillow reads no more than its header, which would be read before it is looked at, however long."""
    length = int.from_bytes(given.data[14:18], "little")
    if length > _BMP_LONGEST_HEADER:
        raise ImageError(f"damaged: a BMP with a header of {length:,} bytes")
    with _whole_file(given) as file:
        return OpenedWithPillow.probe(given, "BMP", file)


def _probe_dib(given: ProbeInput) -> OpenedImage:
    with _whole_file(given) as file:
        return OpenedWithPillow.probe(given, "DIB", file)


def _probe_jpeg2000(given: ProbeInput) -> OpenedImage:
    outline = Jpeg2000Outline.walk(given.data)
    check_dimensions(outline.width, outline.height, given.limits.max_pixels)
    opened = OpenedWithPillow.probe(given, "JPEG2000", outline.for_pillow(given.data))
    opened.exif, opened.besides = fitting(outline.exif), outline.besides
    opened.note = joined(frames_note(outline.frames), depth_note(outline.components[0].bits))
    components = len(outline.components)
    converted = 3 if outline.palette or opened.mode == "CMYK" else 0
    opened.scratch_bytes = (_TILE_SCRATCH * components + converted) * outline.width * outline.height
    if outline.palette:
        opened.take_samples(Samples("L", colour=True, palette=outline.palette))
    elif opened.samples.has_alpha:
        opened.take_samples(replace(opened.samples, opaque=not outline.alpha))
    return opened


@contextmanager
def _whole_file(given: ProbeInput) -> Iterator[BinaryIO]:
    """The file as it is: the opened image's to close, once there is one."""
    file: BinaryIO = io.BytesIO(given.data) if given.fd is None else os.fdopen(os.dup(given.fd), "rb")
    try:
        yield file
    except BaseException:
        file.close()
        raise


def _probe_tiff(given: ProbeInput) -> OpenedImage:
    data = given.data
    if data[:4] == tiff_outline.BIG_ENDIAN_BIGTIFF:
        raise ImageError("a BigTIFF in big-endian order is not read here; convert the file first")
    outline = TiffOutline.walk(data)
    _check_compression(outline.value(data, tiff_outline.COMPRESSION, tiff_outline.UNCOMPRESSED))
    changes, samples = of_tiff(outline, data)
    head = excerpt(data, outline.parts(data, changes, whole=False))
    try:
        opened = OpenedWithPillow.probe(given, "TIFF", head)
    except UnknownMode:
        raise ImageError(unknown_tiff(outline, data)) from None
    opened.besides = outline.besides
    opened.note = joined(frames_note(outline.pages), depth_note(outline.value(data, tiff_outline.BITS, 1)))
    opened.scratch_bytes += _STRIP_SCRATCH * outline.numbers + _libtiff_scratch(outline, data)
    if given.fd is None:  # libtiff gets a copy, as it has no file to read
        opened.scratch_bytes += len(given.data)
    fd = None if given.fd is None else os.dup(given.fd)
    opened.file = excerpt(data, outline.parts(data, changes), fd)
    if samples:
        opened.take_samples(samples)
    return opened


def _check_compression(compression: int) -> None:
    """Raise ImageError for a TIFF that may be sound, in a coding that Pillow, or its libtiff (WebP), does not know."""
    if compression not in TiffImagePlugin.COMPRESSION_INFO or compression == tiff_outline.WEBP:
        raise ImageError(f"a TIFF of compression {compression} is not read here; convert the file first")


def _libtiff_scratch(outline: TiffOutline, data: Contents) -> int:
    """What libtiff, which reads the file itself, holds of it: whatever it says besides, a strip or tile as stored,
    and a tile as decoded, which may be far larger than the picture.
    """
    compressed = outline.value(data, tiff_outline.COMPRESSION, 1) != tiff_outline.UNCOMPRESSED
    stored = outline.longest_piece(data) if compressed else 0
    return _COPIES * outline.skipped_bytes + stored + _tile_bytes(outline, data)


def _tile_bytes(outline: TiffOutline, data: Contents) -> int:
    """How long a tile is as libtiff decodes it, or as R, G, B and alpha where it converts colours; 0 without tiles."""
    if tiff_outline.TILE_WIDTH not in outline.entries:
        return 0
    separate = outline.value(data, tiff_outline.PLANES, 1) == tiff_outline.SEPARATE
    samples = 1 if separate else outline.value(data, tiff_outline.SAMPLES, 1)
    pixel_bytes = max(samples * max(outline.values(data, tiff_outline.BITS, (1,))) // 8, 4)
    width, rows = (outline.value(data, tag, 1) for tag in (tiff_outline.TILE_WIDTH, tiff_outline.TILE_ROWS))
    return max(0, width * rows * pixel_bytes)


PROBES: Mapping[Format, Callable[[ProbeInput], OpenedImage]] = {
    "PNG": _probe_png,
    "TIFF": _probe_tiff,
    "WEBP": _probe_webp,
    "GIF": _probe_gif,
    "BMP": _probe_bmp,
    "DIB": _probe_dib,
    "AVIF": _probe_avif,
    "JPEG2000": _probe_jpeg2000,
    "PPM": OpenedPnm.probe,
    "HEIF": OpenedHeif.probe_heif,
}
