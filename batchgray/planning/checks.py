"""What is refused before any work: options, inputs and outputs that do not go together. A function for each refusal."""

import functools
import itertools
import os
import shlex
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchgray import errors, quantities
from batchgray.extras import remedy_for
from batchgray.manifest.files import files_of, own_names
from batchgray.manifest.records import Image, Manifest, find_output_clash
from batchgray.options import PixelOptions, RunOptions
from batchgray.planning.discovery import Discovery, Found, raise_pairs
from batchgray.planning.gone import NEVER_SEEN, EarlierInputs, is_absent, with_folders
from batchgray.planning.plan import InputStats, Plan
from batchgray.storage.guards import without_dots
from batchgray.storage.names import folders_of


def refuse_other_options(options: RunOptions, previous: Manifest) -> None:
    differing = [
        f"--{name.replace('_', '-')} {shlex.quote(str(getattr(previous.options, name)))}"
        for name in PixelOptions.__struct_fields__
        if getattr(options.pixels, name) != getattr(previous.options, name)
    ]
    if differing:
        raise errors.OptionsDiffer(options.manifest_path, ", ".join(differing).replace("None", "auto"))


def reachable_inputs(inputs: Sequence[Path], earlier: EarlierInputs, prune: bool) -> list[Path]:
    """The INPUTs, but for those that have gone, which only `prune` accepts. Raises InputGone, UnreadableInput."""
    there = []
    for path in inputs:
        fault = _why_unreachable(path)
        if fault is not None:
            place = str(without_dots(path))
            if earlier.had(place):
                if prune:
                    continue
                reason = f"now it can't be reached ({fault.strerror})"
                raise errors.InputGone(path, earlier.count(place), reason)
            if os.path.isdir(path) or not (os.path.lexists(path) or is_absent(place)):
                raise errors.UnreadableInput(path, fault.strerror)
        there.append(path)
    return there


def _why_unreachable(path: Path) -> OSError | None:
    """Why an INPUT can't be read."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            os.scandir(path).close()
    except OSError as error:
        return error
    return None


def refuse_emptied_inputs(
    plan: Plan, options: RunOptions, earlier: EarlierInputs, found: Sequence[Found], unfound: InputStats
) -> None:
    """Raises InputGone for an INPUT that had images, and below which there is none any more."""
    seen = [item for item in found if item.seen and not item.refused]
    walked = {item.root for item in seen}
    doubtful = [path for path in options.inputs if str(without_dots(path)) not in walked]
    if not (plan.resumed and doubtful):
        return
    places = [os.path.join(item.root, item.source) for item in seen]
    places += [plan.source_path(image) for image, version in unfound if version]
    alive = with_folders(places)
    for path in doubtful:
        place = str(without_dots(path))
        if place not in alive and earlier.had(place):
            raise errors.InputGone(path, earlier.count(place), "now there is none")


def refuse_empty_output(manifest: Manifest, path: Path) -> None:
    """An output folder of which nothing is left is not mounted, as far as a manifest elsewhere can know.

    Raises OutputsGone.
    """
    if manifest.output_root == ".":
        return
    out = manifest.output_folder(path)
    made = [image for image in manifest.images if image.finished or "partial" in (image.state, image.was)]
    places = itertools.chain([manifest.flight_folder(path)], (out / image.output for image in made))
    if made and not any(map(os.path.lexists, places)):
        raise errors.OutputsGone(out, quantities.images(len(made)), path)


def refuse_nothing_found(options: RunOptions, earlier: EarlierInputs, discovery: Discovery) -> None:
    """Raises NothingFound where no image is, and none ever was."""
    if not any(earlier.had(str(without_dots(path))) for path in options.inputs):
        kinds = [f"{each.count:,} {each.kind}" for each in discovery.left_out.kinds()]
        below = discovery.folders - sum(os.path.isdir(path) for path in options.inputs)
        if not kinds and below > 0:
            kinds = [f"{below:,} folder{'s' if below > 1 else ''} without a file"]
        instead = f"are: {', '.join(kinds)}" if kinds else "is nothing"
        if remedy := remedy_for(discovery.left_out.ignored):
            instead += f"; {remedy}"
        raise errors.NothingFound(", ".join(map(str, options.inputs)), instead)


def refuse_replaced_inputs(plan: Plan, discovery: Discovery, found: Sequence[Found], outputs: Sequence[str]) -> None:
    """No input is where an output, or what the manifest needs, is to be; whatever links lead there."""
    real = functools.cache(os.path.realpath)
    sources = {os.path.join(real(item.root), item.source) for item in found}
    sources.update(map(os.path.realpath, discovery.links))
    for path in files_of(plan.path):
        if str(path) in sources:
            raise errors.ManifestIsInput(path)
    for output in outputs:
        if output and os.path.join(real(plan.out), output) in sources:
            raise errors.OutputIsSource(plan.out / output)


def refuse_linked_outputs(plan: Plan) -> None:
    """A link between folders below the output folder can make two outputs one file. Raises Collisions."""
    images = [image for image in plan.manifest.images if image.resumable]
    real, linked = {"": os.path.realpath(plan.out)}, False
    for folder in sorted(folders_of(image.output for image in images)):
        above, _, name = folder.rpartition("/")
        real[folder] = os.path.join(real[above], name)
        if os.path.islink(real[folder]):
            real[folder], linked = os.path.realpath(real[folder]), True
    first: dict[tuple[str, str], Image] = {}
    pairs = []
    for image in images if linked else ():
        folder, _, name = image.output.rpartition("/")
        other = first.setdefault((real[folder], name), image)
        if other is not image:
            inputs = " and ".join(errors.shown(plan.source_path(each)) for each in (other, image))
            pairs.append(
                f"  {inputs} -> {errors.shown(other.output)}, which is {errors.shown(image.output)}, by a link"
            )
    raise_pairs(errors.Collisions, pairs)


def refuse_pruned_inputs(plan: Plan) -> None:
    """What was made of a gone input may be an input itself since, also by a link. Raises PrunedIsSource."""
    if not plan.pruned:
        return
    sources = {os.path.realpath(plan.source_path(image)) for image in plan.manifest.images}
    for image in plan.pruned:
        if os.path.realpath(plan.out / image.output) in sources:
            raise errors.PrunedIsSource(plan.out / image.output)


def refuse_outputs_in_the_way(plan: Plan) -> None:
    """Also with the outputs of earlier runs, and with the files that are batchgray's own."""
    outputs = {image.output for image in plan.manifest.images if image.resumable}
    fault = find_output_clash(outputs, own_names(plan.path, plan.out))
    if fault is not None:
        raise errors.OutputInTheWay(fault)


def _at_stake(manifest: Manifest, accepted: set[str]) -> Iterator[tuple[int, str, str]]:
    """Input folders whose images would have to be given up now, were they not there: index, path, how many in words.

    But for those that are `accepted` without anything. One that is said to have moved is not there for nothing.
    """
    counts = Counter(
        image.root
        for image in manifest.images
        if image.resumable and image.state != "gone" and not image.version.is_same(NEVER_SEEN)
    )
    for index, root in enumerate(manifest.input_roots):
        if counts[index] and root not in accepted:
            yield index, root, quantities.images(counts[index])


def refuse_missing_roots(manifest: Manifest, accepted: set[str]) -> None:
    """Raises MovedInputs."""
    for _, root, count in _at_stake(manifest, accepted):
        if not os.path.isdir(root):
            raise errors.MovedInputs(root, count, "now there is no folder of that name")


def refuse_empty_roots(manifest: Manifest, stats: InputStats, accepted: set[str]) -> None:
    """Raises MovedInputs."""
    seen = {image.root for image, version in stats if version}
    for index, root, count in _at_stake(manifest, accepted):
        if index not in seen:
            raise errors.MovedInputs(root, count, "now there is none of them")


def refuse_other_roots(manifest: Manifest, stats: InputStats, before: Sequence[str]) -> None:
    """A folder said to have moved that has other files of the same names is another folder. Raises OtherInputs."""
    seen: Counter[int] = Counter()
    others: Counter[int] = Counter()
    for image, version in stats:
        if version and image.resumable:
            seen[image.root] += 1
            others[image.root] += version.size != image.size
    for index, (root, earlier) in enumerate(zip(manifest.input_roots, before, strict=True)):
        if root != earlier and 2 * others[index] > seen[index]:
            raise errors.OtherInputs(root, earlier, quantities.images(seen[index]), f"{others[index]:,}")
