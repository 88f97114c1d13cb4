"""The folder of what is in flight: made for a run, cleaned of what a kill left, taken away when the run is complete."""

import os
from pathlib import Path

from batchgray import durable, errors, integrity, partial
from batchgray.plan import Plan


def prepare(plan: Plan) -> set[int]:
    """Make the folder; remove what no image can resume from. Returns the images (their indices) that have a sidecar."""
    try:
        durable.make_folders(plan.flight)
        left = os.listdir(plan.flight)
    except OSError as error:
        raise errors.UnwritableOutput(plan.out, error.strerror) from None
    if not left:
        return set()
    todo = set(plan.todo)
    outputs = {integrity.short_name(image.output): index for index, image in enumerate(plan.manifest.images)}
    resumable = set()
    for name in left:
        key, suffix = os.path.splitext(name)
        index = outputs.get(key)
        if suffix == ".tiles" and index in todo:
            resumable.add(index)
        elif suffix == ".tiles" and index is not None:
            partial.discard(plan.flight, plan.out, plan.manifest.images[index].output)
        else:
            _remove(plan.flight / name)
    return resumable


def take_away(plan: Plan) -> None:
    """Remove the folder, and the partial JPEGs of images that were begun and then failed."""
    outputs = {integrity.short_name(image.output): image.output for image in plan.manifest.images}
    for name in os.listdir(plan.flight):
        key, suffix = os.path.splitext(name)
        if suffix == ".tiles" and key in outputs:
            partial.discard(plan.flight, plan.out, outputs[key])
        else:
            _remove(plan.flight / name)
    durable.remove_folder(plan.flight)
    durable.remove_folder(plan.flight.parent)
    durable.sync_folder(plan.out)


def _remove(path: Path) -> None:
    if not durable.remove_folder(path):
        durable.remove(path)
