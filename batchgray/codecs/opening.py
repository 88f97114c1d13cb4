"""Open an input: JPEGs for simplejpeg (`jpeg`), usual PNGs, TIFFs and WebPs for readers of ours, the rest for Pillow.

imageio and Pillow take as long to import as a photograph takes to convert, and most folders need neither: they come
with the first image that does, or before the workers are forked where the plan has one.
"""

import functools
import importlib
import mmap
import os
import stat
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from batchgray.codecs import signatures, transparency
from batchgray.codecs.by_pillow import opened_by_pillow
from batchgray.codecs.excerpt import Contents, let_go
from batchgray.codecs.faults import image_failures, os_reason
from batchgray.codecs.jpeg import OpenedJpeg
from batchgray.codecs.limits import Limits, Reserve, reserve_nothing
from batchgray.codecs.opened import OpenedImage, ProbeInput
from batchgray.errors import ImageError
from batchgray.options import Method
from batchgray.records import InputVersion
from batchgray.storage.guards import open_regular

_SMALL_BYTES = 64 << 10  # of an input that is read and not mapped
_CHANGED = "changed while it was being read; the next run or resume takes it up again"


class FetchedInput(NamedTuple):
    """An input whose bytes are in memory already: nothing changes them any more."""

    data: bytes
    version: InputVersion


Source = str | FetchedInput  # a path, or what was fetched


def open_image(
    source: Source,
    method: Method,
    max_pixels: int,
    background: transparency.Colour | None = None,
    reserve: Reserve = reserve_nothing,
) -> OpenedImage:
    """Open an input and check what its header promises, before a library believes it.

    `reserve` is called before so many bytes are used. Raises ImageError whatever a parser meets, and what `reserve`
    raises.
    """
    try:
        limits = Limits(max_pixels, _coming_through(reserve))
        if isinstance(source, FetchedInput):
            return _probe(ProbeInput(None, source.data, source.version, method, limits, background))
        fd = _open_regular(source)
        try:
            return _probe(_given(fd, method, limits, background))
        finally:
            os.close(fd)
    except OSError as error:
        raise ImageError(os_reason(error)) from None
    except _OfReserve as raised:
        raise raised.error from None


class _OfReserve(BaseException):
    """What `reserve` raised, which says nothing of the file: no clause for a parser's failures holds it up."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _coming_through(reserve: Reserve) -> Reserve:
    def reserve_or_leave(scratch_bytes: int) -> None:
        try:
            reserve(scratch_bytes)
        except Exception as error:
            raise _OfReserve(error) from None

    return reserve_or_leave


def version_of(source: Source) -> InputVersion:
    """Which version of the input stands under this name now. Raises ImageError where it is gone."""
    if isinstance(source, FetchedInput):
        return source.version
    try:
        found = os.stat(source)
    except OSError as error:
        raise ImageError(os_reason(error)) from None
    return InputVersion.of(found)


def check_unchanged(source: Source, version: InputVersion) -> None:
    """Raise ImageError where another version of the input stands under this name by now, or none."""
    if not version_of(source).is_same(version):
        raise ImageError(_CHANGED)


def open_unchanged(path: str, version: InputVersion) -> BinaryIO:
    """The input's file, which is of that version. Raises ImageError."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise ImageError(os_reason(error)) from None
    found = os.fstat(file.fileno())
    if not InputVersion.of(found).is_same(version):
        file.close()
        raise ImageError(_CHANGED)
    return file


def _open_regular(path: str) -> int:
    _check_regular(os.stat(path).st_mode)  # first: to open a device may already be to use it
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        raise ImageError(f"a {kinds.get(stat.S_IFMT(mode), 'device')}, not a file")


def _given(fd: int, method: Method, limits: Limits, background: transparency.Colour | None) -> ProbeInput:
    found = os.fstat(fd)
    _check_regular(found.st_mode)
    return ProbeInput(fd, _contents(fd, found.st_size), InputVersion.of(found), method, limits, background)


def _probe(given: ProbeInput) -> OpenedImage:
    try:
        if not given.data:
            raise ImageError("an empty file (0 bytes)")
        probe = _probe_of(signatures.format_of(given.data[: signatures.HEAD_BYTES]))
        with image_failures:
            return probe(given)
    except BaseException:
        let_go(given.data)
        raise


# Formats of which the usual files are read without Pillow, and the modules that do.
_READERS: dict[signatures.Format, str] = {"PNG": "png_input", "TIFF": "tiff_input", "WEBP": "webp_input"}


def _probe_of(kind: signatures.Format) -> Callable[[ProbeInput], OpenedImage]:
    if kind == "JPEG":
        return OpenedJpeg.probe
    if kind in _READERS:
        probe: Callable[[ProbeInput], OpenedImage]
        probe = importlib.import_module(f"batchgray.codecs.{_READERS[kind]}").probe
        return probe
    return functools.partial(opened_by_pillow, kind)


def _contents(fd: int, size: int) -> Contents:
    """A file's bytes: a small one is read, which takes fewer calls; any other is mapped.

    So a file is as large as it likes, and its pages are the system's to take back.
    """
    return os.read(fd, size) if size <= _SMALL_BYTES else mmap.mmap(fd, 0, prot=mmap.PROT_READ)
