"""What was found, held against the manifest: which image an input is, and whether there is work.

Nothing is converted that is really done, and nothing counts as done because a file of that name merely exists: an
image is done if the manifest says so, its input is still the one that was converted, and its output is still there.
What an earlier run knew and this one can't see is gone: it keeps what was made of it, and its output's name.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from batchgray import errors
from batchgray.manifest import outcome
from batchgray.manifest.records import Image, Manifest
from batchgray.options import RunOptions
from batchgray.planning.discovery import Found, TakenName, short_output
from batchgray.planning.gone import NEVER_SEEN, is_absent, is_below, stat_input
from batchgray.planning.plan import InputStats, Plan
from batchgray.records import InputVersion
from batchgray.storage.guards import without_dots

_LONGEST_CHARACTER = 4  # bytes


def earlier_names(previous: Manifest | None) -> dict[tuple[str, str], str]:
    """The output name that each input has in the manifest already."""
    if previous is None:
        return {}
    roots = previous.input_roots
    return {(roots[image.root], image.source): image.output for image in previous.images if image.resumable}


def unfound_images(manifest: Manifest, found: Sequence[Found]) -> list[Image]:
    """Images of earlier runs whose inputs this one did not find: they are gone, elsewhere, or left out on purpose."""
    if not manifest.images:
        return []
    names = {(item.root, item.source) for item in found}
    roots = manifest.input_roots
    return [image for image in manifest.images if image.resumable and (roots[image.root], image.source) not in names]


def stat_inputs(plan: Plan, images: Iterable[Image], pause: Callable[[], None]) -> InputStats:
    """What stands under each image's input name now."""
    stats: InputStats = []
    for image in images:
        if len(stats) % 1000 == 0:
            pause()
        stats.append((image, stat_input(plan.source_path(image), image)))
    return stats


def follow_renames(plan: Plan, found: Sequence[Found], unfound: InputStats) -> InputStats:
    """An input that has another name now, and comes out under the same one, stays its image.

    So does one that INPUTs and --base divide otherwise into root and source than before, whatever it would come out
    as: its output is there already. Returns those that stay unfound.
    """
    manifest = plan.manifest
    roots = {root: index for index, root in enumerate(manifest.input_roots)}
    known = {(image.root, image.source) for image in manifest.images}
    by_output = {image.output: (image, version) for image, version in unfound}
    output_of = {plan.source_path(image): image.output for image, _ in unfound}
    for item in found if unfound else ():
        if (roots.get(item.root), item.source) in known:
            continue
        name = output_of.get(os.path.join(item.root, item.source), "")
        if name not in by_output:
            name = short_output(item, manifest.options.format)
            if name not in by_output or not _is_same_input(plan, item, *by_output[name]):
                continue
        image, _ = by_output.pop(name)
        image.root, image.source = roots.setdefault(item.root, len(roots)), item.source
    manifest.input_roots = list(roots)
    return [(image, version) for image, version in unfound if image.output in by_output]


def _is_same_input(plan: Plan, item: Found, image: Image, version: InputVersion | None) -> bool:
    """Whether an image's input was renamed to `item` within its folder, or is reached by another path."""
    if version is None:
        renamed = plan.manifest.input_roots[image.root] == item.root
        return renamed and image.version.is_same(item.version)
    try:
        return os.path.samefile(plan.source_path(image), os.path.join(item.root, item.source))
    except OSError:
        return False


def keep_unfound(plan: Plan, options: RunOptions, unfound: InputStats) -> InputStats:
    """Of what was not found: what is gone, unless it is pruned, what is done, and what no INPUT of this run names.

    What is there, below an INPUT of this run, and was not found all the same, was left out on purpose: no work, then.
    """
    named = {str(without_dots(path)) for path in options.inputs}
    kept: InputStats = []
    for image, version in unfound:
        within = is_below(plan.source_path(image), named)
        if version is None:
            stays = not (options.prune and within and mark_pruned(plan, image))
        else:
            stays = image.finished or not within
        if stays:
            kept.append((image, version))
    return kept


def mark_pruned(plan: Plan, image: Image) -> bool:
    """Put an image whose input is gone on the list to be pruned, if it is known to be absent."""
    absent = image.resumable and is_absent(plan.source_path(image))
    if absent:
        _mark_gone(image)
        plan.pruned.append(image)
    return absent


def taken_names(plan: Plan, kept: InputStats) -> list[TakenName]:
    """The output names that are not free: those of inputs that are there, and of what was made of others."""
    return [
        TakenName(plan.source_path(image), image.output)
        for image, version in kept
        if version or image.checksum or "partial" in (image.state, image.was)
    ]


def mark_long_outputs(out: Path, found: list[Found], outputs: list[str]) -> None:
    """An output that no program could open under its final name, nor `verify`, is not made: its input is refused."""
    room = os.pathconf("/", "PC_PATH_MAX") - len(os.fsencode(out)) - 2  # the slash between, and the end of the string
    for index, output in enumerate(outputs):
        if len(output) * _LONGEST_CHARACTER > room and len(os.fsencode(output)) > room:
            reason = (
                "its output's path would be longer than the system can open; "
                "choose a shorter one: `batchgray run ... --out DIR`"
            )
            found[index], outputs[index] = msgspec.structs.replace(found[index], mirrored="", refused=reason), ""


def merge(
    plan: Plan, found: Sequence[Found], outputs: Sequence[str], kept: InputStats, overwrite: bool
) -> list[InputVersion | None]:
    """Bring what was discovered into the manifest's images, before what is `kept` of earlier runs.

    Returns the version of each image's input as it is now.
    """
    manifest = plan.manifest
    roots = {root: index for index, root in enumerate(manifest.input_roots)}
    known = {(image.root, image.source): image for image in manifest.images}
    made = {image.output: image for image in manifest.images if image.checksum}
    images: list[Image] = []
    versions: list[InputVersion | None] = []
    for item, output in zip(found, outputs, strict=True):
        root = roots.setdefault(item.root, len(roots))
        image = known.get((root, item.source))
        if item.refused:
            image = _refused(root, item)
        elif image is None or image.output != output:
            image = _new_image(root, item, output, made.get(output))
            image.mend = overwrite and os.path.lexists(plan.out / output)  # what comes there later is not meant
            plan.new += 1
            plan.new_outputs.add(output)
        images.append(image)
        versions.append(item.version if item.seen or image.version.is_same(NEVER_SEEN) else None)
    manifest.input_roots = list(roots)
    taken = set(outputs)
    kept = [(image, version) for image, version in kept if image.output not in taken]
    manifest.images = images + [image for image, _ in kept]
    _drop_unused_roots(plan)
    return versions + [version for _, version in kept]


def _drop_unused_roots(plan: Plan) -> None:
    """Else --input-root would have to tell of folders that no image is in any more."""
    roots, images = plan.manifest.input_roots, [*plan.manifest.images, *plan.pruned]
    used = sorted({image.root for image in images})
    if len(used) == len(roots):
        return
    index_of = {root: index for index, root in enumerate(used)}
    for image in images:
        image.root = index_of[image.root]
    plan.manifest.input_roots = [roots[root] for root in used]


def _new_image(root: int, item: Found, output: str, there: Image | None) -> Image:
    """`there` is the image whose conversion put a file under this output name earlier."""
    image = Image(root=root, source=item.source, output=output, size=item.size, mtime_ns=item.mtime_ns)
    if there is not None:
        image.checksum, image.output_size = there.checksum, there.output_size
    return image


def _refused(root: int, item: Found) -> Image:
    return Image(root=root, source=item.source, output="", state="failed", size=0, mtime_ns=0, error=item.refused)


def move_roots(manifest: Manifest, moved: Sequence[Path]) -> None:
    if not moved:
        return
    if len(moved) != len(manifest.input_roots):
        raise errors.RootsMismatch(len(moved), len(manifest.input_roots), ", ".join(manifest.input_roots))
    manifest.input_roots = [str(without_dots(path)) for path in moved]


def classify(plan: Plan, versions: Sequence[InputVersion | None]) -> None:
    """Decide for each image whether there is work."""
    name_of = outcome.naming(plan.manifest)
    for index, (image, version) in enumerate(zip(plan.manifest.images, versions, strict=True)):
        if not image.resumable:
            continue
        if version is None:
            if _mark_gone(image):
                plan.newly_gone.append(name_of(image))
            continue
        if image.state == "gone":
            image.state, image.was = image.was or "pending", None
        if not version.is_same(image.version):
            plan.changed += image.state in ("done", "partial")
            _reset(image)
            image.size, image.mtime_ns = version.size, version.mtime_ns
        elif image.state == "done" and not os.path.lexists(plan.out / image.output):
            plan.missing += 1
            _reset(image)
        if image.state == "done":
            plan.already_done += 1
        else:
            if image.state == "failed":
                _reset(image)
            plan.todo.append(index)


def _mark_gone(image: Image) -> bool:
    """Its input is gone: it keeps what was made of it, until that comes back. False where it was gone already."""
    if image.state == "gone":
        return False
    if image.state == "failed":
        _reset(image)
    image.was = image.state if image.state in ("done", "partial") else "pending"
    image.state = "gone"
    return True


def _reset(image: Image) -> None:
    """Back to pending; what is known of the file under its output's name stays."""
    image.state, image.error, image.note = "pending", None, None
    image.tiles_done = 0
