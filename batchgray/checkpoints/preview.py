"""Partial JPEGs: what is finished of a begun image, for people to look at.

A partial JPEG can't be what resume goes on from: decoding and encoding it again changes finished pixels. It is
batchgray's own only if it says so itself, after its end, where no viewer looks and what another program writes has
nothing. So it is never written over, or cleaned up with, a file that batchgray did not make, whenever that comes. The
sidecar, which is durable before it, claims its name, so that it is known where to clean up.
"""

import contextlib
import os
from collections.abc import Iterable

from batchgray import tiles
from batchgray.planes import slots
from batchgray.storage import integrity
from batchgray.storage.base import BadKey, Changed, Missing, Place, meaning_of
from batchgray.storage.durable import Folder

_LONGEST_NAME = 255  # bytes; NAME_MAX
_TRAILER = b"\nbatchgray: partial image of %019d bytes\n"


def name_of(output: str) -> str:
    """`a/b.partial.jpg` for `a/b.jpg`."""
    return f"{output.rpartition('.')[0]}.partial.jpg"


def has_room(partial: str) -> bool:
    """Whether the name of a partial JPEG is not too long for a file system."""
    return len(os.fsencode(partial.rpartition("/")[2])) <= _LONGEST_NAME


def blacken_unfinished(image: slots.SlotImage) -> None:
    """Make the rows of unfinished tiles black, for the partial JPEG."""
    for tile in tiles.unfinished(image.flags, image.record.height, image.record.tile_rows):
        rows = image.rows(tile.index, tile.index + 1)
        rows[:] = bytes(len(rows))


def is_free(out: Folder, output: str) -> bool:
    """Whether nothing but a partial JPEG stands under the name of the output's partial JPEG.

    Nor a link on the way that leads out of the output folder.
    """
    try:
        with out.below(_above(output)) as folder:
            return _is_ours_or_free(folder, _last_of(output))
    except FileNotFoundError:
        return True
    except OSError:
        return False


def write(out: Folder, scratch: Folder, output: str, jpeg: Iterable[bytes]) -> None:
    """Put the partial JPEG where its sidecar claims it, unless something else stands there by now.

    `scratch` is a folder in the same file system, for the temporary file. Raises OSError; LeadsOutside where a link
    does.
    """
    name, temporary, size = _last_of(output), f"{integrity.short_name(output)}.preview", 0
    with out.below(_above(output), make=True) as folder:
        if _is_ours_or_free(folder, name):
            with folder.saving(name, temporary, scratch) as file:
                for piece in jpeg:
                    file.append(piece)
                    size += len(piece)
                file.append(_TRAILER % size)


def remove(out: Folder, output: str, durably: bool = False) -> None:
    """Remove the partial JPEG of an output, if one stands there as it was drawn. Raises OSError."""
    try:
        folder = out.below(_above(output))
    except OSError as error:
        if not isinstance(
            meaning_of(error), Missing | BadKey
        ):  # it is gone, another's, or leads out of the output folder
            raise
        return
    with folder:
        _remove(folder, _last_of(output))
        if durably:
            folder.sync()


def _remove(folder: Folder, name: str) -> None:
    with contextlib.suppress(OSError):  # no longer ours to change
        if _is_ours(folder, name):
            folder.remove(name)


def with_trailer(jpeg: Iterable[bytes]) -> bytes:
    """A partial JPEG in one piece, as it is put into a place."""
    data = b"".join(jpeg)
    return data + _TRAILER % len(data)


def stands_in(place: Place, key: str) -> bool:
    """Whether a partial JPEG stands under this key of a place, as it was drawn. Raises PlaceError."""
    try:
        found = place.stat(key)
        end = found.size - len(_TRAILER % 0)
        return end > 0 and place.get(key, found.version, end) == _TRAILER % end
    except (Missing, Changed):
        return False


def _is_ours_or_free(folder: Folder, name: str) -> bool:
    return folder.stat(name) is None or _is_ours(folder, name)


def _is_ours(folder: Folder, name: str) -> bool:
    """Whether a partial JPEG stands under that name, as it was drawn."""
    try:
        with folder.open(name) as file:
            end = os.fstat(file.fileno()).st_size - len(_TRAILER % 0)
            return end > 0 and file.seek(end) == end and file.read() == _TRAILER % end
    except OSError:
        return False


def _above(output: str) -> str:
    """The folder of an output, and of its partial JPEG."""
    return output.rpartition("/")[0]


def _last_of(output: str) -> str:
    return name_of(output).rpartition("/")[2]
