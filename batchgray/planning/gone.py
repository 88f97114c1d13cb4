"""Inputs of earlier runs that are not there now.

What can't be seen may come back: a mount that is away, a folder that may not be read for a while, a file that was
renamed. So a single input is `gone`, and what was made of it stays; an INPUT of which nothing is left is refused
(`checks`). Only `--prune` says that it won't come back: `pruning` then removes outputs.
"""

import os
from collections.abc import Collection, Iterable
from functools import cached_property

from batchgray import quantities
from batchgray.manifest.records import Image, Manifest
from batchgray.records import InputVersion

NEVER_SEEN = InputVersion(0, 0)  # of an input that could not be examined when it was planned


def stat_input(path: str, image: Image) -> InputVersion | None:
    """What stands under the name of an image's input now; None where nothing can be seen there."""
    try:
        found = os.stat(path)
    except OSError:
        unchanged = image.version.is_same(NEVER_SEEN) and os.path.lexists(path)
        return NEVER_SEEN if unchanged else None
    return InputVersion.of(found)


def is_absent(path: str) -> bool:
    """Whether there is no such name, for sure."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def is_below(path: str, inputs: Collection[str]) -> bool:
    """Whether a path is one of `inputs`, or below one. All are absolute."""
    while path not in inputs:
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above
    return True


class EarlierInputs:
    """The inputs that earlier runs have seen, by their places; worked out on the first call, as few runs make one."""

    def __init__(self, previous: Manifest | None) -> None:
        self._previous = previous

    @cached_property
    def _paths(self) -> list[str]:
        roots, images = (self._previous.input_roots, self._previous.images) if self._previous else ([], [])
        return [
            os.path.join(roots[image.root], image.source)
            for image in images
            if image.resumable and not image.version.is_same(NEVER_SEEN)
        ]

    @cached_property
    def _places(self) -> set[str]:
        return with_folders(self._paths)

    def had(self, path: str) -> bool:
        """Whether there were images at or below an absolute path."""
        return path in self._places

    def count(self, path: str) -> str:
        """How many, in words."""
        return quantities.images(sum(is_below(each, (path,)) for each in self._paths))


def with_folders(paths: Iterable[str]) -> set[str]:
    """The paths, and every folder above them."""
    places: set[str] = set()
    for path in paths:
        while path not in places:
            places.add(path)
            path = os.path.dirname(path)
    return places
