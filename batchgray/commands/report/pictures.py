"""The report's pictures: which images are drawn, and small pictures of them, wherever their files are."""

import base64
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from batchgray import machine
from batchgray.checkpoints.preview import name_of as preview_of
from batchgray.commands.report import thumbnails
from batchgray.errors import ImageError
from batchgray.manifest.records import Image
from batchgray.records import InputVersion
from batchgray.storage import integrity
from batchgray.storage.base import PlaceError
from batchgray.storage.guards import without_dots
from batchgray.storage.urls import StoreOptions, open_place

MOST = 60
MOST_FETCHED = 16  # of images in stores: each is a request, and is paid for

_SPECIAL = 12  # of each kind
_SIDE = 256
_THREADS = 4
_LONGEST_FETCHED = 40 << 20

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A small picture as the URL in `src`, or why there is none. `href` leads to the file, relative to the page."""

    href: str = ""
    src: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image with the pictures of its source and, where there is one, of its result."""

    name: str
    image: Image
    source: Picture
    result: Picture | None


@dataclass(frozen=True, kw_only=True)
class Original:
    """What a small picture is drawn of. `identity` is another where it may have changed; `draw` raises ImageError."""

    href: str
    identity: str
    fault: str
    draw: Callable[[], bytes]


Framing = Callable[[Original], Picture]  # how a page gets a picture


def embedded(original: Original) -> Picture:
    """In the page itself, as a data: URI."""
    if original.fault:
        return Picture(href=original.href, reason=original.fault)
    try:
        jpeg = original.draw()
    except ImageError as error:
        return Picture(href=original.href, reason=str(error))
    return Picture(href=original.href, src=f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}")


class Linked:
    """By a URL, under which it is drawn when it is asked for: `draws` are those of the latest page, by their ids."""

    def __init__(self) -> None:
        self.draws: dict[str, Callable[[], bytes]] = {}

    def __call__(self, original: Original) -> Picture:
        if original.fault:
            return Picture(reason=original.fault)
        number = integrity.short_name(original.identity)
        self.draws[number] = original.draw
        return Picture(src=f"/picture/{number}")


def choose(images: Sequence[Image], most: int = MOST) -> list[int]:
    """The images to be drawn: partial ones, one of each reason to fail, and finished ones, evenly and of each note."""
    of: dict[str, list[int]] = {"partial": [], "failed": [], "done": [], "pending": [], "gone": []}
    for index, image in enumerate(images):
        of[image.state].append(index)
    partials = _evenly(of["partial"], _SPECIAL)
    failed = _of_each_kind(of["failed"], lambda index: images[index].error)
    noted = _of_each_kind(of["done"], lambda index: images[index].note)
    plain = sorted(set(of["done"]) - set(noted))
    room = max(0, most - len(partials) - len(failed) - len(noted))
    return partials + failed + sorted(noted + _evenly(plain, room))


def _of_each_kind(indices: Iterable[int], words_of: Callable[[int], str | None]) -> list[int]:
    """The first of each, whatever the numbers in the words."""
    first: dict[str, int] = {}
    for index in indices:
        words = words_of(index)
        if words and len(first) < _SPECIAL:
            first.setdefault(re.sub(r"\d+", "0", words), index)
    return list(first.values())


def _evenly(items: Sequence[_T], count: int) -> list[_T]:
    return [items[index * len(items) // count] for index in range(count)] if len(items) > count else list(items)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Where the files of images are: `source_of` and `output_of` find them. What is in `outputs` is no preview."""

    source_of: Callable[[Image], Original]
    output_of: Callable[[Image, str], Original]
    name_of: Callable[[Image], str]
    outputs: frozenset[str]

    def pairs(self, images: Iterable[Image], framed: Framing) -> list[Pair]:
        """Their pictures, as a page gets them."""
        # The codec's own filters of warnings are the whole process's, so threads change them for each other.
        with (
            warnings.catch_warnings(action="ignore"),
            ThreadPoolExecutor(min(_THREADS, machine.usable_cores())) as pool,
        ):
            return list(pool.map(lambda image: self._pair(image, framed), images))

    def _pair(self, image: Image, framed: Framing) -> Pair:
        result = None
        if image.state == "done":
            result = framed(self.output_of(image, image.output))
        elif image.state == "partial" and (preview := preview_of(image.output)) not in self.outputs:
            result = framed(self.output_of(image, preview))
        return Pair(name=self.name_of(image), image=image, source=framed(self.source_of(image)), result=result)


def file_original(path: Path, folder: Path, fault_of: Callable[[os.stat_result], str | None]) -> Original:
    """A file as it is to be seen from a page in `folder`; `fault_of` says why it is not to be drawn."""
    try:
        found = path.stat()
    except OSError as error:
        return _undrawn("", (error.strerror or str(error)).lower())
    href = quote(os.fsencode(os.path.relpath(without_dots(path), without_dots(folder))))
    return Original(
        href=href,
        identity=f"{path}\0{found.st_size}\0{found.st_mtime_ns}",
        fault=fault_of(found) or "",
        draw=lambda: thumbnails.thumbnail(str(path), _SIDE),
    )


def fault_of_source(image: Image, found: os.stat_result) -> str | None:
    """Why the file of an input is not to be drawn."""
    if image.state == "failed":  # perhaps it was fatal to the codec: it is not decoded here
        return image.error
    changed = not InputVersion.of(found).is_same(image.version)
    return "its file has changed since" if changed else None


def fault_of_output(image: Image, name: str, found: os.stat_result) -> str | None:
    """Why the file of an output is not to be drawn."""
    if name != image.output or found.st_size == image.output_size:
        return None
    return f"{found.st_size} bytes instead of {image.output_size}"


def object_original(place: str, stores: StoreOptions, key: str, image: Image) -> Original:
    """An object in the store of this name: it is fetched when it is drawn."""
    if image.state == "failed":
        return _undrawn("", image.error or "")
    version = image.checksum or f"{image.size} {image.tiles_done}"
    return Original(
        href="", identity=f"{place}\0{key}\0{version}", fault="", draw=lambda: _fetched_small(place, stores, key)
    )


def _undrawn(href: str, reason: str) -> Original:
    def draw() -> bytes:
        raise ImageError(reason)

    return Original(href=href, identity=reason, fault=reason, draw=draw)


def _fetched_small(place: str, stores: StoreOptions, key: str) -> bytes:
    try:
        with closing(open_place(place, stores)) as opened:
            data = opened.get(key, end=_LONGEST_FETCHED + 1)
    except PlaceError as error:
        raise ImageError(error.reason) from None
    if len(data) > _LONGEST_FETCHED:
        raise ImageError("too large to be fetched for a small picture")
    with _as_file(data) as path:
        return thumbnails.thumbnail(path, _SIDE)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """The path of a file that holds it, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("picture"), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name
