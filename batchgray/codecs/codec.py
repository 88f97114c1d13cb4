"""From a file to a source that can be decoded, and from a gray plane to a file's bytes.

`jpegsource` and `pillowsource` decode. With them, `bands`, `jpegbands` and `thumbnails`, this is all that knows image
libraries. Of these imageio and Pillow take as long to import as a photograph takes to convert, and a folder of sound
JPEGs needs neither: they come with the first image that does, or before the workers are forked where the plan has one.
"""

import mmap
import os
import stat
from contextlib import suppress

import numpy as np
import simplejpeg

from batchgray.codecs import containers, transparency
from batchgray.codecs.containers import EXIF_HEADER, Contents
from batchgray.codecs.jpeg import JpegSource
from batchgray.codecs.opened import Limits, Reserve, Source, let_go, library_reason, reserve_nothing
from batchgray.errors import ImageError
from batchgray.options import Method
from batchgray.records import SourceIdentity

JPEG_MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
_SMALL_BYTES = 64 << 10  # of an input that is read and not mapped


def open_source(
    path: str,
    method: Method,
    max_pixels: int,
    background: transparency.Colour | None = None,
    reserve: Reserve = reserve_nothing,
) -> Source:
    """Open an input and check what its header promises, before a library believes it.

    `reserve` is called before so many bytes are used. Raises ImageError, and what `reserve` does.
    """
    try:
        fd = _open_regular(path)
        try:
            return _probe(fd, method, Limits(max_pixels, reserve), background)
        finally:
            os.close(fd)
    except OSError as error:
        raise ImageError(_os_reason(error)) from None


def identity_of(path: str) -> SourceIdentity:
    """Which version of the input stands under this name now. Raises ImageError where it is gone."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise ImageError(_os_reason(error)) from None
    return SourceIdentity(found.st_size, found.st_mtime_ns)


def _open_regular(path: str) -> int:
    _check_regular(os.stat(path).st_mode)  # first: to open a device may already be to use it
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        raise ImageError(f"a {kinds.get(stat.S_IFMT(mode), 'device')}, not a file")


def _probe(fd: int, method: Method, limits: Limits, background: transparency.Colour | None) -> Source:
    found = os.fstat(fd)
    _check_regular(found.st_mode)
    identity = SourceIdentity(found.st_size, found.st_mtime_ns)
    if found.st_size == 0:
        raise ImageError("an empty file (0 bytes)")
    data = _contents(fd, found.st_size)
    try:
        kind = containers.format_of(data[: containers.HEAD_BYTES])
        if kind == "JPEG":
            return JpegSource.probe(data, identity, method, limits)
        from batchgray.codecs.pillow import PillowSource

        if kind == "PNG":
            return PillowSource.probe_png(data, identity, limits, background)
        if kind == "GIF":
            return PillowSource.probe_gif(data, identity, limits, background)
        if kind == "WEBP":
            return PillowSource.probe_webp(data, identity, limits, background)
        if kind == "TIFF":
            return PillowSource.probe_tiff(fd, data, identity, limits, background)
        return PillowSource.probe_other(kind, os.fdopen(os.dup(fd), "rb"), data, identity, limits, background)
    except BaseException:
        let_go(data)
        raise


def _contents(fd: int, size: int) -> Contents:
    """A file's bytes: a small one is read, which takes fewer calls; any other is mapped.

    So a file is as large as it likes, and its pages are the system's to take back.
    """
    return os.read(fd, size) if size <= _SMALL_BYTES else mmap.mmap(fd, 0, prot=mmap.PROT_READ)


def _os_reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower() if error.errno else library_reason(error)


def encode_jpeg(gray: memoryview, width: int, height: int, quality: int, exif: bytes = b"") -> list[bytes]:
    """A baseline gray JPEG of `gray` (height * width uint8), in pieces to be written one after another."""
    check_jpeg_sides(width, height)
    pixels = np.frombuffer(gray, np.uint8).reshape(height, width)
    # A plane is taken as it is; simplejpeg.encode_jpeg makes the same bytes and copies each row first, which takes 5%.
    return with_exif(simplejpeg.encode_jpeg_yuv_planes(pixels, None, None, quality=quality), exif)


def with_exif(data: bytes, exif: bytes) -> list[bytes]:
    """A JPEG of libjpeg's, or its beginning, with an EXIF segment, in pieces."""
    if not exif:
        return [data]
    payload = EXIF_HEADER + exif
    after_jfif = 4 + int.from_bytes(data[4:6], "big")  # SOI, then the APP0 that libjpeg writes
    return [data[:after_jfif], b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload, data[after_jfif:]]


def orientation_alone(exif: bytes) -> bytes:
    """An EXIF block with the orientation of another one, and nothing else; b"" where that is upright or unreadable."""
    if not exif:
        return b""
    from PIL import ExifTags, Image

    found, kept = Image.Exif(), Image.Exif()
    with suppress(Exception):  # a block that makes no sense
        found.load(exif)
        if found.get(ExifTags.Base.Orientation) in range(2, 9):
            kept[ExifTags.Base.Orientation] = found[ExifTags.Base.Orientation]
    return kept.tobytes().removeprefix(EXIF_HEADER) if kept else b""


def check_jpeg_sides(width: int, height: int) -> None:
    """Raise ImageError for what no JPEG can hold."""
    if max(width, height) > JPEG_MAX_SIDE:
        raise ImageError(f"{width} x {height}: JPEG holds {JPEG_MAX_SIDE} pixels a side at most; use --format png")


def check_decodes(data: bytes) -> None:
    """Decode an output as far as its last pixel. Raises ImageError."""
    try:
        if data[:2] == b"\xff\xd8":
            simplejpeg.decode_jpeg(data, "GRAY")
        else:
            from batchgray.codecs.pillow import decode_whole

            decode_whole(data)
    except Exception as error:
        raise ImageError(f"does not decode: {library_reason(error)}") from None
