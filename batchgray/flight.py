"""The folder of what is in flight: made for a run, cleaned of what a kill left, taken away when the run is complete."""

import os
from pathlib import Path

from batchgray import bandstore, durable, errors, integrity, intents, partial
from batchgray.guards import open_regular
from batchgray.plan import Plan


def prepare(plan: Plan) -> set[int]:
    """Make the folder; remove what no image can resume from. Returns the images (their indices) that have a sidecar.

    The plan's images learn which files under their outputs' names are batchgray's own, placed just before a crash.
    """
    try:
        for folder in (plan.flight.parent, plan.flight):
            if folder.is_symlink():
                raise errors.LinkInTheWay(folder)
        durable.make_folders(plan.flight)
        durable.sync_folders([plan.flight.parent, plan.out])  # an earlier run may have been cut off before it did
        return _clean(plan, os.listdir(plan.flight))
    except OSError as error:
        if error.errno in durable.FULL_DISK:
            raise errors.DiskFullAtStart(plan.flight, error.strerror) from None
        raise errors.UnwritableOutput(error.filename or plan.out, error.strerror) from None


def forget_intents(plan: Plan) -> None:
    """What the earlier intents told is in the manifest, durably."""
    try:
        for path in plan.flight.glob(f"*{intents.SUFFIX}"):
            durable.remove(path)
    except OSError as error:
        raise errors.UnwritableOutput(plan.out, error.strerror) from None


def _clean(plan: Plan, left: list[str]) -> set[int]:
    if not left:
        return set()
    images = plan.manifest.images
    waiting = {*plan.todo, *(index for index, image in enumerate(images) if image.state == "gone")}
    outputs = {integrity.short_name(image.output): index for index, image in enumerate(images)}
    resumable, finished = set(), _finished(plan)
    for name in left:
        key, suffix = os.path.splitext(name)
        index = outputs.get(key)
        if suffix == ".tiles" and index in waiting and partial.read_header(plan.flight / name) is not None:
            resumable.add(index)
        elif suffix in bandstore.SUFFIXES and index in waiting and f"{key}.tiles" in left:
            pass  # they go where the sidecar goes
        elif suffix == intents.SUFFIX:
            _recognise(plan, plan.flight / name)
        else:
            _discard(plan, name, finished)
    _free_names(plan, resumable)
    return resumable


def _free_names(plan: Plan, begun: set[int]) -> None:
    """A partial JPEG makes way where its name is to be an output's: of an input that was added since."""
    images = plan.manifest.images
    awaited = {image.output for image in images} - _finished(plan)
    for index in begun:
        if partial.preview_name(images[index].output) in awaited:
            partial.discard_preview(plan.flight, plan.out, images[index].output)


def _recognise(plan: Plan, log: Path) -> None:
    """Where a file stands as it was intended, and no journal line tells of it, the image is told whose it is."""
    waiting = {image.output: image for image in plan.manifest.images if image.state != "done"}
    for intent in intents.read(log):
        image = waiting.get(intent.output)
        if image is not None and integrity.checksum_of(plan.out / intent.output) == intent.checksum:
            image.checksum, image.output_size = intent.checksum, intent.size


def take_away(plan: Plan) -> None:
    """Remove the folder, and the partial JPEGs of images that were begun and then failed. Raises OSError.

    What is finished of images whose inputs are away stays, and the folder with it.
    """
    left = os.listdir(plan.flight)
    finished = _finished(plan) if left else set()
    away = _away(plan, {os.path.splitext(name)[0] for name in left}) if left else set()
    for name in left:
        key, suffix = os.path.splitext(name)
        if key not in away or suffix not in (".tiles", *bandstore.SUFFIXES):
            _discard(plan, name, finished)
    durable.remove_folder(plan.flight)
    durable.remove_folder(plan.flight.parent)
    durable.sync_folder(plan.out)


def _away(plan: Plan, keys: set[str]) -> set[str]:
    """Those of the short names whose images' inputs can't be read now: gone before this run, or during it."""
    return {
        key
        for image in plan.manifest.images
        if image.state in ("gone", "failed") and (key := integrity.short_name(image.output)) in keys
        if image.state == "gone" or not _can_be_read(plan.source_path(image))
    }


def _can_be_read(path: str) -> bool:
    try:
        open_regular(path).close()
    except OSError:
        return False
    return True


def _finished(plan: Plan) -> set[str]:
    """The names under which there are outputs of batchgray."""
    return {image.output for image in plan.manifest.images if image.checksum}


def _discard(plan: Plan, name: str, finished: set[str]) -> None:
    """Remove what lies in the folder; a sidecar with the partial JPEG that it claims, unless that is an output."""
    path = plan.flight / name
    header = partial.read_header(path) if path.suffix == ".tiles" else None
    if header is not None and partial.sidecar_path(plan.flight, header.output) != path:
        header = None
    if header is not None and partial.preview_name(header.output) not in finished:
        partial.discard(plan.flight, plan.out, header.output)
    elif not durable.remove_folder(path):
        durable.remove(path)
