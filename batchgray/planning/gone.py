"""Inputs of earlier runs that are not there now: refused, waited for, or pruned; and outputs, all at once.

What can't be seen may come back: a mount that is away, a folder that may not be read for a while, a file that was
renamed. So an INPUT of which nothing is left is refused before any work; a single input is `gone`, and what was made of
it stays. Only `--prune` says that it won't come back. It removes what is as batchgray made it, of inputs that are known
to be absent; what merely can't be looked at is no reason to remove anything.
"""

import contextlib
import itertools
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from batchgray import errors, quantities
from batchgray.manifest.records import Image, Manifest
from batchgray.records import SourceIdentity
from batchgray.storage import integrity
from batchgray.storage.durable import Folder
from batchgray.storage.guards import LeadsOutside, without_dots

NEVER_SEEN = SourceIdentity(0, 0)  # of an input that could not be looked at when it was planned


def look(path: str, image: Image) -> SourceIdentity | None:
    """What stands under the name of an image's input now; None where nothing can be seen there."""
    try:
        found = os.stat(path)
    except OSError:
        as_ever = image.identity == NEVER_SEEN and os.path.lexists(path)
        return NEVER_SEEN if as_ever else None
    return SourceIdentity(found.st_size, found.st_mtime_ns)


def is_absent(path: str) -> bool:
    """Whether there is no such name, for sure."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def is_named(path: str, inputs: Collection[str]) -> bool:
    """Whether a path is one of `inputs`, or below one. All are absolute."""
    while path not in inputs:
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above
    return True


class Earlier:
    """The inputs that earlier runs have seen, by their places; worked out when one is asked for, as few runs do."""

    def __init__(self, previous: Manifest | None) -> None:
        self._previous = previous

    @cached_property
    def _paths(self) -> list[str]:
        roots, images = (self._previous.input_roots, self._previous.images) if self._previous else ([], [])
        return [
            os.path.join(roots[image.root], image.source)
            for image in images
            if image.resumable and image.identity != NEVER_SEEN
        ]

    @cached_property
    def _places(self) -> set[str]:
        return _with_folders(self._paths)

    def had(self, path: str) -> bool:
        """Whether there were images at or below an absolute path."""
        return path in self._places

    def count(self, path: str) -> str:
        """How many, in words."""
        return quantities.images(sum(is_named(each, (path,)) for each in self._paths))


def walkable(inputs: Sequence[Path], earlier: Earlier, prune: bool) -> list[Path]:
    """The INPUTs, but for those that have gone, which only `prune` accepts. Raises InputGone, UnreadableInput."""
    there = []
    for path in inputs:
        fault = _fault_of(path)
        if fault is not None:
            place = str(without_dots(path))
            if earlier.had(place):
                if prune:
                    continue
                reason = f"now it can't be reached ({fault.strerror})"
                raise errors.InputGone(path, earlier.count(place), reason)
            if os.path.isdir(path) or not (os.path.lexists(path) or is_absent(place)):
                raise errors.UnreadableInput(path, fault.strerror)
        there.append(path)
    return there


def refuse_empty(inputs: Iterable[Path], earlier: Earlier, seen: Iterable[str]) -> None:
    """Raises InputGone for an INPUT that had images, and below which no image is `seen` now."""
    alive = _with_folders(seen)
    for path in inputs:
        place = str(without_dots(path))
        if place not in alive and earlier.had(place):
            raise errors.InputGone(path, earlier.count(place), "now there is none")


def refuse_empty_output(manifest: Manifest, path: Path) -> None:
    """An output folder of which nothing is left is not mounted, as far as a manifest elsewhere can know.

    Raises OutputsGone.
    """
    if manifest.output_root == ".":
        return
    out = manifest.output_folder(path)
    made = [image for image in manifest.images if image.finished or "partial" in (image.state, image.was)]
    places = itertools.chain([manifest.flight_folder(path)], (out / image.output for image in made))
    if made and not any(map(os.path.lexists, places)):
        raise errors.OutputsGone(out, quantities.images(len(made)), path)


class Pruned(NamedTuple):
    """What became of outputs whose inputs are gone.

    `altered` are those that are not as they were made, and stay, as nothing of batchgray's any more; `stuck` are images
    whose output could not be removed, with the reason.
    """

    removed: int
    altered: list[str]
    stuck: list[tuple[Image, str]]


def remove_outputs(out: Folder, images: Iterable[Image]) -> Pruned:
    """Remove the images' outputs that are as they were made, and folders that are empty then. Raises OSError."""
    altered, stuck, folders = [], [], set()
    removed = 0
    for image in images:
        if image.checksum is None:
            continue
        try:
            was_there = _remove_as_made(out, image.output, image.checksum)
        except (_Altered, LeadsOutside):
            altered.append(image.output)
        except OSError as error:
            stuck.append((image, error.strerror or str(error)))
        else:
            removed += was_there
            if was_there:
                folders.add(_remove_empty(out, image.output.rpartition("/")[0]))
    for name in folders:
        with contextlib.suppress(FileNotFoundError), out.below(name) as folder:  # removed since, as another was empty
            folder.sync()
    return Pruned(removed, altered, stuck)


class _Altered(Exception):
    """What stands under an output's name is not as it was made."""


def _remove_as_made(out: Folder, output: str, checksum: str) -> bool:
    """Remove the file that batchgray made. False where nothing stands there. Raises _Altered, LeadsOutside, OSError."""
    above, _, name = output.rpartition("/")
    try:
        folder = out.below(above)
    except (FileNotFoundError, NotADirectoryError):
        return False
    with folder:
        if folder.stat(name) is None:
            return False
        if integrity.checksum_of(name, folder.fileno()) != checksum:
            raise _Altered
        folder.remove(name)
    return True


def _remove_empty(out: Folder, name: str) -> str:
    """Returns the first folder, from this one upwards, that stays; "" is the output folder."""
    while name:
        above, _, last = name.rpartition("/")
        with out.below(above) as folder:
            if not folder.remove_folder(last):
                break
        name = above
    return name


def _fault_of(path: Path) -> OSError | None:
    """Why an INPUT can't be looked at."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            os.scandir(path).close()
    except OSError as error:
        return error
    return None


def _with_folders(paths: Iterable[str]) -> set[str]:
    """The paths, and every folder above them."""
    places: set[str] = set()
    for path in paths:
        while path not in places:
            places.add(path)
            path = os.path.dirname(path)
    return places
