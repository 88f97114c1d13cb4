"""Removing what was made of inputs that are gone, with `--prune`: only what is as batchgray made it."""

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from batchgray.manifest.records import Image
from batchgray.storage import integrity
from batchgray.storage.durable import Folder
from batchgray.storage.guards import LeadsOutside


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
