"""What a manifest's images came to: how they are called, why some failed, and how to go on with the rest."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from batchgray import program, texts
from batchgray.events import Reason
from batchgray.manifest.records import Image, ImageState, Manifest
from batchgray.spelling import escaped, is_utf8
from batchgray.storage.names import kind_of


def naming(document: Manifest) -> Callable[[Image], str]:
    """How an image is called: below its input folder, or with it where there are several."""
    roots = document.input_roots
    return lambda image: image.source if len(roots) == 1 else os.path.join(roots[image.root], image.source)


def unique_naming(document: Manifest) -> Callable[[Image], str]:
    """A name that no other image has: below its input folder, in full where images of several folders have the same."""
    roots = document.input_roots
    counts = Counter(image.source for image in document.images) if len(roots) > 1 else Counter[str]()
    return lambda image: image.source if counts[image.source] <= 1 else os.path.join(roots[image.root], image.source)


class Figures(NamedTuple):
    """How many images are in each state; pixels and bytes of those that are done."""

    counts: Counter[ImageState]
    pixels: int
    source_bytes: int
    output_bytes: int


def figures(images: Sequence[Image]) -> Figures:
    """What they came to until now."""
    done = [image for image in images if image.state == "done"]
    return Figures(
        counts=Counter(image.state for image in images),
        pixels=sum(image.pixels for image in done),
        source_bytes=sum(image.size for image in done),
        output_bytes=sum(image.output_size or 0 for image in done),
    )


def space_needed(images: Sequence[Image]) -> int:
    """About how many bytes the outputs still to come will take.

    As those of the images that are done, by bytes of input: of the same kind of file where there are some, else of
    all; as many bytes as the inputs where none is done.
    """
    source_bytes: Counter[str] = Counter()
    output_bytes: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for image in images:
        kind = kind_of(image.source)
        if image.state == "done":
            source_bytes[kind] += image.size
            output_bytes[kind] += image.output_size or 0
        elif image.state in ("pending", "partial"):
            waiting[kind] += image.size
    of_all = output_bytes.total() / source_bytes.total() if source_bytes.total() else 1.0
    return int(
        sum(
            size * (output_bytes[kind] / source_bytes[kind] if source_bytes[kind] else of_all)
            for kind, size in waiting.items()
        )
    )


class Reasons:
    """Why images failed, the commonest first. Reasons that differ in their numbers alone are one."""

    def __init__(self, name_of: Callable[[Image], str]) -> None:
        self._name_of = name_of
        self._sharing = texts.Sharing(lambda error: re.sub(r"\d[\d,.]*", "0", error))

    def add(self, image: Image) -> None:
        """A failed image."""
        self._sharing.add(self._name_of(image), image.error or "")

    def all(self) -> list[Reason]:
        return [Reason(error=one.text, count=one.count, sources=one.names) for one in self._sharing.all()]


def reasons(document: Manifest) -> list[Reason]:
    """Of the failed images."""
    found = Reasons(naming(document))
    for image in document.images:
        if image.state == "failed":
            found.add(image)
    return found.all()


def resume_command(manifest: str) -> str:
    """What to type to go on with the manifest, by its path or URL."""
    return program.command("resume", quoted(manifest))


def quoted(name: str) -> str:
    """A name as it is typed in a shell: `$'...'` where it is not UTF-8, which bash, zsh and ksh know."""
    if is_utf8(name):
        return shlex.quote(name)
    return "$'" + escaped(name.replace("\\", "\\\\").replace("'", "\\'")) + "'"
