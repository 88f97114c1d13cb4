"""What a run makes of what an earlier one left in flight, and what it leaves itself: the part that knows the plan."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from batchgray import errors
from batchgray.checkpoints import cleanup, folder, preview
from batchgray.manifest.lock import owning_flight
from batchgray.manifest.records import DEFAULT_RUN_ID, Manifest
from batchgray.planning.plan import Plan
from batchgray.storage import integrity, intents, run_folder
from batchgray.storage.base import is_full
from batchgray.storage.durable import Folder
from batchgray.storage.guards import open_regular
from batchgray.storage.locking import Lock, Pause
from batchgray.storage.run_folder import RunFolder


@contextlib.contextmanager
def holding(plan: Plan, locked: bool, pause: Pause = lambda: None) -> Iterator[RunFolder]:
    """Make the run's folder and be its one owner (see `lock.owning`). Where no manifest comes of it, nothing is left.

    Raises ManifestLocked, UnlockableManifest, LinkInTheWay, UnwritableOutput, DiskFullAtStart.
    """
    with contextlib.ExitStack() as stack:
        with _telling(plan.out):
            held = stack.enter_context(_holding(plan.out, plan.manifest.run_id, plan.path, locked, pause, make=True))
        try:
            with _telling(plan.out):
                held.sync()
                if plan.manifest.run_id != DEFAULT_RUN_ID:
                    held.mark(_mark_of(plan.path))
            yield held
        except BaseException:
            if not os.path.lexists(plan.path):
                with contextlib.suppress(OSError):
                    held.remove()
            raise


def _holding(
    out: Path, run_id: str, path: Path, locked: bool, pause: Pause = lambda: None, make: bool = False
) -> contextlib.AbstractContextManager[RunFolder]:
    def owning(inner: Folder) -> contextlib.AbstractContextManager[Lock]:
        return owning_flight(inner, path, locked, pause)

    return run_folder.holding(out, run_id, owning, make)


@contextlib.contextmanager
def _telling(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise errors.DiskFullAtStart(error.filename or out, error.strerror) from None
        raise errors.UnwritableOutput(error.filename or out, error.strerror) from None


def prepare(plan: Plan, held: RunFolder) -> set[int]:
    """Remove what no image can resume from. Returns the images (their indices) that have a sidecar.

    The plan's images learn which files under their outputs' names are batchgray's own, placed just before a crash.
    """
    images = plan.manifest.images
    with _telling(plan.out):
        resumable = _clean(plan, held)
        for index in plan.todo:
            if images[index].state == "partial" and index not in resumable:
                preview.remove(held.out, images[index].output)  # its sidecar was lost: the tree was copied without it
    return resumable


def forget_intents(plan: Plan, held: RunFolder) -> None:
    """What the earlier intents told is in the manifest, durably."""
    with _telling(plan.out):
        for name in held.names():
            if name.endswith(intents.SUFFIX):
                held.inner.remove(name)


def _clean(plan: Plan, held: RunFolder) -> set[int]:
    left = held.names()
    if not left:
        return set()
    finished = _finished(plan.manifest)
    begun = cleanup.sound_sidecars(held, _waiting(plan))
    for name in left:
        if cleanup.is_of_a_begun_image(name, begun):
            continue
        if name.endswith(intents.SUFFIX):
            _recognise(plan, held.inner, name)
        else:
            cleanup.discard(held, name, finished)
    _free_names(plan, held, set(begun.values()))
    return set(begun.values())


def _waiting(plan: Plan) -> dict[str, int]:
    """The images that go on, or may do so in a later run, by their outputs."""
    images = plan.manifest.images
    waiting = {image.output: index for index, image in enumerate(images) if image.state == "gone"}
    waiting.update((images[index].output, index) for index in plan.todo)
    for output in plan.new_outputs:
        waiting.pop(output, None)
    return waiting


def _free_names(plan: Plan, held: RunFolder, begun: set[int]) -> None:
    """A partial JPEG makes way where its name is to be an output's: of an input that was added since."""
    images = plan.manifest.images
    awaited = {image.output for image in images} - _finished(plan.manifest)
    for index in begun:
        if preview.name_of(images[index].output) in awaited:
            folder.withdraw_preview(held.inner, held.out, images[index].output)


def _recognise(plan: Plan, inner: Folder, log: str) -> None:
    """Where a file stands as it was intended, and no journal line tells of it, the image is told whose it is."""
    waiting = {image.output: image for image in plan.manifest.images if image.state != "done"}
    for intent in intents.read(inner, log):
        image = waiting.get(intent.output)
        if image is not None and integrity.checksum_of(plan.out / intent.output) == intent.checksum:
            image.checksum, image.output_size = intent.checksum, intent.size


def remove(plan: Plan, held: RunFolder) -> None:
    """Remove the folder, and the partial JPEGs of images that were begun and then failed. Raises OSError.

    What is finished of images whose inputs are away stays, and the folder with it.
    """
    left = {os.path.splitext(name)[0] for name in held.names()}
    cleanup.remove_all(held, _finished(plan.manifest), _away(plan, left))


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


def abandon(manifest: Manifest, path: Path, locked: bool) -> None:
    """Remove what a run of the manifest at `path` has in flight, if anything. Raises ManifestLocked."""
    with contextlib.suppress(OSError), _holding(manifest.output_folder(path), manifest.run_id, path, locked) as held:
        cleanup.remove_all(held, _finished(manifest))


def run_ids_of(out: Path, path: Path) -> list[str]:
    """Of what runs of the manifest at `path`, which lies outside `out` and can't be read, have in flight there."""
    return run_folder.run_ids_marked(out, _mark_of(path))


def _mark_of(path: Path) -> bytes:
    return os.fsencode(os.path.realpath(path))


def _finished(manifest: Manifest) -> set[str]:
    """The names under which there are outputs of batchgray."""
    return {image.output for image in manifest.images if image.checksum}
