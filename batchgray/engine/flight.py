"""The folder of what is in flight: held for a run, cleaned of what a kill left, taken away when the run is complete.

Whatever is written for the outputs goes by the two folders that are held here: a link that comes in their way later
leads nothing astray.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from batchgray import errors
from batchgray.checkpoints import bandstore, partial
from batchgray.manifest.lock import FLIGHT_LOCK, owning_flight
from batchgray.manifest.records import DEFAULT_RUN_ID, FLIGHT_FOLDER, Manifest
from batchgray.planning.plan import Plan
from batchgray.storage import durable, integrity, intents
from batchgray.storage.durable import Folder
from batchgray.storage.guards import open_regular
from batchgray.storage.locking import Lock, Pause

# In the folder, the real path of a manifest that lies elsewhere: how what is in flight is found if that one is a ruin.
_MARK = "run.manifest"
_LONGEST_MARK = 1 << 16
_OF_A_BEGUN_IMAGE = (".tiles", *bandstore.SUFFIXES)
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Held(NamedTuple):
    """What a run holds to its end, and its workers to theirs: folders, and the lock of the innermost."""

    out: Folder
    above: Folder
    flight: Folder
    lock: Lock

    @property
    def for_workers(self) -> list[int]:
        """The descriptors of the output folder, of the folder of what is in flight, and of its lock."""
        return [self.out.fileno(), self.flight.fileno(), *self.lock.for_children]


@contextlib.contextmanager
def holding(plan: Plan, locked: bool, pause: Pause = lambda: None) -> Iterator[Held]:
    """Make the folder and be its one owner (see `lock.owning`). Where no manifest comes of it, nothing is left.

    Raises ManifestLocked, UnlockableManifest, LinkInTheWay, UnwritableOutput, DiskFullAtStart.
    """
    with contextlib.ExitStack() as stack:
        with _telling(plan.out):
            held = stack.enter_context(_holding(plan.out, plan.manifest.run_id, plan.path, locked, pause, make=True))
        try:
            with _telling(plan.out):  # an earlier run may have been cut off before it did
                durable.sync_all([held.above.fileno(), held.out.fileno()])
                _mark(plan, held.flight)
            yield held
        except BaseException:
            if not os.path.lexists(plan.path):
                with contextlib.suppress(OSError):
                    _remove_folder(held)
            raise


@contextlib.contextmanager
def _holding(
    out: Path, run_id: str, path: Path, locked: bool, pause: Pause = lambda: None, make: bool = False
) -> Iterator[Held]:
    """Raises OSError as well where something is not there, or can't be made."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder.at(out))
        above, flight = map(stack.enter_context, _two_inner(folder, run_id, make))
        try:
            lock = stack.enter_context(owning_flight(flight, path, locked, pause))
        except BaseException:
            if make and above.remove_folder(run_id):  # it was empty
                folder.remove_folder(FLIGHT_FOLDER)
            raise
        yield Held(folder, above, flight, lock)


def _two_inner(folder: Folder, run_id: str, make: bool) -> tuple[Folder, Folder]:
    """The folder of all that is in flight, and the run's own in it."""
    while True:
        above = _inner(folder, FLIGHT_FOLDER, make)
        try:
            return above, _inner(above, run_id, make)
        except BaseException as error:
            above.close()
            if make and isinstance(error, FileNotFoundError):
                continue  # another manifest's run has just ended, and taken the outer one away
            if make:
                folder.remove_folder(FLIGHT_FOLDER)  # if it is empty
            raise


def _inner(folder: Folder, name: str, make: bool) -> Folder:
    try:
        return folder.inner(name, make)
    except OSError:
        if os.path.islink(folder.path / name):
            raise errors.LinkInTheWay(folder.path / name) from None
        raise


@contextlib.contextmanager
def _telling(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if durable.is_full(error):
            raise errors.DiskFullAtStart(error.filename or out, error.strerror) from None
        raise errors.UnwritableOutput(error.filename or out, error.strerror) from None


def prepare(plan: Plan, held: Held) -> set[int]:
    """Remove what no image can resume from. Returns the images (their indices) that have a sidecar.

    The plan's images learn which files under their outputs' names are batchgray's own, placed just before a crash.
    """
    images = plan.manifest.images
    with _telling(plan.out):
        resumable = _clean(plan, held, [name for name in held.flight.names() if name not in (FLIGHT_LOCK, _MARK)])
        for index in plan.todo:
            if images[index].state == "partial" and index not in resumable:
                partial.remove_stray_preview(held.out, images[index].output)
    return resumable


def forget_intents(plan: Plan, held: Held) -> None:
    """What the earlier intents told is in the manifest, durably."""
    with _telling(plan.out):
        for name in held.flight.names():
            if name.endswith(intents.SUFFIX):
                held.flight.remove(name)


def _clean(plan: Plan, held: Held, left: list[str]) -> set[int]:
    if not left:
        return set()
    images = plan.manifest.images
    waiting = {image.output: index for index, image in enumerate(images) if image.state == "gone"}
    waiting.update((images[index].output, index) for index in plan.todo)
    for output in plan.new_outputs:
        waiting.pop(output, None)
    resumable, finished = {}, _finished(plan.manifest)
    for name in left:
        header = _sidecar_under_its_name(held.flight, name)
        if header is not None and header.output in waiting:
            resumable[os.path.splitext(name)[0]] = waiting[header.output]
    for name in left:
        key, suffix = os.path.splitext(name)
        if key in resumable and suffix in _OF_A_BEGUN_IMAGE:
            continue
        if suffix == intents.SUFFIX:
            _recognise(plan, held.flight, name)
        else:
            _discard(held, name, finished)
    _free_names(plan, held, set(resumable.values()))
    return set(resumable.values())


def _sidecar_under_its_name(flight: Folder, name: str) -> partial.SidecarHeader | None:
    """The header of a sound sidecar, if it is not of another image than its name says."""
    header = partial.read_header(flight, name) if name.endswith(".tiles") else None
    return header if header and partial.sidecar_name(header.output) == name else None


def _free_names(plan: Plan, held: Held, begun: set[int]) -> None:
    """A partial JPEG makes way where its name is to be an output's: of an input that was added since."""
    images = plan.manifest.images
    awaited = {image.output for image in images} - _finished(plan.manifest)
    for index in begun:
        if partial.preview_name(images[index].output) in awaited:
            partial.withdraw_preview(held.flight, held.out, images[index].output)


def _recognise(plan: Plan, flight: Folder, log: str) -> None:
    """Where a file stands as it was intended, and no journal line tells of it, the image is told whose it is."""
    waiting = {image.output: image for image in plan.manifest.images if image.state != "done"}
    for intent in intents.read(flight, log):
        image = waiting.get(intent.output)
        if image is not None and integrity.checksum_of(plan.out / intent.output) == intent.checksum:
            image.checksum, image.output_size = intent.checksum, intent.size


def take_away(plan: Plan, held: Held) -> None:
    """Remove the folder, and the partial JPEGs of images that were begun and then failed. Raises OSError.

    What is finished of images whose inputs are away stays, and the folder with it.
    """
    left = {os.path.splitext(name)[0] for name in held.flight.names()}
    _empty(held, _finished(plan.manifest), _away(plan, left))


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
    """Take away what a run of the manifest at `path` has in flight, if anything. Raises ManifestLocked."""
    with contextlib.suppress(OSError), owning(manifest, path, locked) as held:
        _empty(held, _finished(manifest))


def owning(manifest: Manifest, path: Path, locked: bool) -> contextlib.AbstractContextManager[Held]:
    """Be the one owner of what a run of the manifest at `path` has in flight.

    Entering raises ManifestLocked, LinkInTheWay, and OSError where there is nothing in flight.
    """
    return _holding(manifest.output_folder(path), manifest.run_id, path, locked)


def run_ids_of(out: Path, path: Path) -> list[str]:
    """Of what runs of the manifest at `path`, which lies outside `out` and can't be read, have in flight there."""
    found = []
    with contextlib.suppress(OSError), Folder.at(out) as folder, folder.inner(FLIGHT_FOLDER) as above:
        for name in sorted(filter(_RUN_ID.fullmatch, above.names())):
            with contextlib.suppress(OSError), above.inner(name) as flight:
                if _read_mark(flight) == _mark_of(path):
                    found.append(name)
    return found


def _mark(plan: Plan, flight: Folder) -> None:
    if plan.manifest.run_id != DEFAULT_RUN_ID and _read_mark(flight) != _mark_of(plan.path):
        with flight.saving(_MARK, f"{_MARK}.tmp") as file:
            file.append(_mark_of(plan.path))


def _mark_of(path: Path) -> bytes:
    return os.fsencode(os.path.realpath(path))


def _read_mark(flight: Folder) -> bytes | None:
    try:
        with flight.open(_MARK) as file:
            return file.read(_LONGEST_MARK)
    except OSError:
        return None


def _finished(manifest: Manifest) -> set[str]:
    """The names under which there are outputs of batchgray."""
    return {image.output for image in manifest.images if image.checksum}


def _empty(held: Held, finished: set[str], kept: Collection[str] = ()) -> None:
    """Remove the folder, but for what is in it of begun images whose short names are `kept`: then it stays."""
    for name in held.flight.names():
        key, suffix = os.path.splitext(name)
        is_kept = key in kept and suffix in _OF_A_BEGUN_IMAGE
        if not is_kept and name not in (FLIGHT_LOCK, _MARK):
            _discard(held, name, finished)
    if not kept:
        _remove_folder(held)


def _remove_folder(held: Held) -> None:
    """With nothing in it but the lock and the mark."""
    held.flight.remove(_MARK)
    held.lock.discard()
    held.above.remove_folder(held.flight.path.name)
    held.out.remove_folder(FLIGHT_FOLDER)
    held.out.sync()


def _discard(held: Held, name: str, finished: set[str]) -> None:
    """Remove what lies in the folder; a sidecar with the partial JPEG that it claims, unless that is an output."""
    header = _sidecar_under_its_name(held.flight, name)
    if header is not None and partial.preview_name(header.output) not in finished:
        partial.discard(held.flight, held.out, header.output)
    elif not held.flight.remove_folder(name):
        held.flight.remove(name)
