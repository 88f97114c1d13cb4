"""What lies in a run folder, told apart by its names: checkpoints that an image goes on from, and what no image needs.

Of a begun image there are its sidecar and, where it is larger than memory, its plane with a header; their names begin
with the same short name (see `integrity.short_name`).
"""

import os
from collections.abc import Collection, Mapping

from batchgray.checkpoints import band_plane, folder, preview, sidecar
from batchgray.storage.run_folder import RunFolder

_OF_A_BEGUN_IMAGE = (sidecar.SUFFIX, *band_plane.SUFFIXES)


def sound_sidecars(held: RunFolder, outputs: Mapping[str, int]) -> dict[str, int]:
    """The short names of those of `outputs` that have a sound sidecar, with what `outputs` has of each."""
    found = {}
    for name in held.names():
        header = sidecar.header_under_its_name(held.inner, name)
        if header is not None and header.output in outputs:
            found[os.path.splitext(name)[0]] = outputs[header.output]
    return found


def is_of_a_begun_image(name: str, begun: Collection[str]) -> bool:
    """Whether a file is a checkpoint of one of the images with these short names."""
    key, suffix = os.path.splitext(name)
    return key in begun and suffix in _OF_A_BEGUN_IMAGE


def discard(held: RunFolder, name: str, finished: Collection[str]) -> None:
    """Remove what lies in the folder; a sidecar with the partial JPEG that it claims, unless that is an output.

    `finished` are the names of the outputs that there are. Raises OSError.
    """
    header = sidecar.header_under_its_name(held.inner, name)
    if header is not None and preview.name_of(header.output) not in finished:
        folder.discard(held.inner, held.out, header.output)
    else:
        held.discard(name)


def remove_all(held: RunFolder, finished: Collection[str], kept: Collection[str] = ()) -> None:
    """Remove the folder, but for what is in it of begun images whose short names are `kept`: then it stays.

    Raises OSError.
    """
    for name in held.names():
        if not is_of_a_begun_image(name, kept):
            discard(held, name, finished)
    if not kept:
        held.remove()
