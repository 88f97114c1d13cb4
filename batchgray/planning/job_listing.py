"""What the planner lists of a job's INPUTs: nothing below the output place, and of single files no more than these."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from batchgray.manifest.job_head import JobInput
from batchgray.planning.merging import Input
from batchgray.storage.base import Entry, Missing, Place
from batchgray.storage.keys import key_order

_LAST = "\U0010ffff"  # after it no name in a store comes


def listed(inputs: Sequence[JobInput], places: Sequence[Place], out: str) -> list[Input]:
    """The INPUTs in their places; `out` is the output place's full name."""
    return [
        Input(_place(each, place, out), each.mirrored, bool(each.files))
        for each, place in zip(inputs, places, strict=True)
    ]


def is_within(name: str, other: str) -> bool:
    """Whether a place is below another; both are full names."""
    return name.startswith(f"{other.rstrip('/')}/")


def name_below(tree: str, name: str) -> str:
    """The key, in a place, of what is below it."""
    return name[len(tree.rstrip("/")) + 1 :]


def _place(input: JobInput, place: Place, out: str) -> Any:
    if input.files:
        return NamedFiles(place, input.files)
    return WithoutFolder(place, name_below(input.place, out)) if is_within(out, input.place) else place


class _Narrowed:
    """A place of which less is listed."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)


class NamedFiles(_Narrowed):
    """Some objects of a place, as a place of its own to list; what is not there is passed over."""

    def __init__(self, place: Place, names: Sequence[str]) -> None:
        super().__init__(place)
        self._names = names

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See `Place`."""
        for name in self._names:
            if name.startswith(prefix) and key_order(name) > key_order(after):
                with contextlib.suppress(Missing):
                    yield self._place.stat(name)


class WithoutFolder(_Narrowed):
    """A place, listed without what is in one folder of it. However much that is, it takes two requests."""

    def __init__(self, place: Place, folder: str) -> None:
        super().__init__(place)
        self._folder = f"{folder}/"

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See `Place`."""
        if prefix.startswith(self._folder):
            return
        end = self._folder + _LAST
        after = end if after.startswith(self._folder) else after
        for entry in self._place.list(prefix, after):
            if entry.key.startswith(self._folder) and after != end:
                yield from self.list(prefix, end)
                return
            if not entry.key.startswith(self._folder):  # a folder has names that come after any in a store
                yield entry
