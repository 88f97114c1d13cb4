"""What an overwriting job may replace: whatever is under the names of its outputs when they are planned."""

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from batchgray import errors
from batchgray.planning.job_listing import is_within
from batchgray.planning.merging import Permit
from batchgray.planning.planned import PlannedImage
from batchgray.storage.base import Place
from batchgray.storage.folder import FolderPlace
from batchgray.storage.keys import key_order

_PASSED = 1000  # names between two outputs, as a store tells with one answer; of more it is asked anew


def replacing_what_is_there(out: Place) -> Permit:
    """For `merging.Rules`: what comes there later is not meant, and stays. It raises PlaceError."""

    def permit(images: list[PlannedImage]) -> list[PlannedImage]:
        there = _there(out, [image.output for image in images])
        return [msgspec.structs.replace(each, replaces="*") if each.output in there else each for each in images]

    return permit


def refuse_links_into(out: str, folders: Iterable[str]) -> None:
    """What an input is a link to is never replaced. Names are full ones. Raises OutputIsSource."""
    ahead = list(folders)
    while ahead:
        with contextlib.suppress(OSError), os.scandir(ahead.pop()) as entries:  # listing it will tell why
            for entry in entries:
                if entry.is_symlink() and is_within(target := os.path.realpath(entry.path), out):
                    if os.path.isfile(target):
                        raise errors.OutputIsSource(target)
                elif entry.is_dir(follow_symlinks=False) and entry.path != out:
                    ahead.append(entry.path)


def _there(out: Place, names: Sequence[str]) -> set[str]:
    """Those of the names that something is under."""
    if isinstance(out, FolderPlace):  # a link, too
        return {name for name in names if os.path.lexists(Path(out.name, name))}
    return _listed(out, sorted(names, key=key_order))


def _listed(out: Place, names: Iterable[str]) -> set[str]:
    """Of a share the names follow each other closely: to list what is between is cheaper than to ask for each."""
    found, wanted = set(), deque(names)
    while wanted:
        passed = 0
        for entry in out.list(after=wanted[0][:-1]):
            while wanted and key_order(wanted[0]) < key_order(entry.key):
                wanted.popleft()
                passed = 0
            if not wanted or passed == _PASSED:
                break
            passed += 1
            if wanted[0] == entry.key:
                found.add(wanted.popleft())
        else:
            break
    return found
