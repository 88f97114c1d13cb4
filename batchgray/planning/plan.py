"""The plan: what is discovered, held against what the manifest says and what is on disk.

Nothing is converted that is really done, and nothing counts as done because a file of that name merely exists: an
image is done if the manifest says so, its input is still the one that was converted, and its output is still there.
What an earlier run knew and this one can't see is gone: it keeps what was made of it, and its output's name.
"""

import functools
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchgray import errors, quantities
from batchgray.manifest import outcome
from batchgray.manifest.files import files_of, own_names
from batchgray.manifest.records import DEFAULT_RUN_ID, Image, Manifest, find_output_clash
from batchgray.options import PixelOptions, ResumeOptions, RunOptions
from batchgray.planning import gone
from batchgray.planning.discovery import Discovery, Found, TakenName, assign_outputs, raise_pairs, short_output
from batchgray.records import SourceIdentity
from batchgray.storage.guards import without_dots
from batchgray.storage.names import folders_of
from batchgray.storage.run_folder import FLIGHT_FOLDER

_LONGEST_CHARACTER = 4  # bytes

# Images of the manifest, each with what stands under its input's name now; None where nothing can be seen.
_Looks = list[tuple[Image, SourceIdentity | None]]


@dataclass
class Plan:
    """A manifest ready to be worked on. `todo` are indices into its images, in the order of the work.

    `new`, `changed` (the input is another than the one converted) and `missing` (the output is) say why there is
    work; `already_done` images need none. `newly_gone` are the names of inputs that are gone since the last run,
    `pruned` images that are no longer in the manifest, and whose outputs are to be removed. `new_outputs` are of images
    that no earlier run knew under these names: what one has in flight for such an output is another image's.
    """

    path: Path
    out: Path
    manifest: Manifest
    resumed: bool
    todo: list[int] = field(default_factory=list)
    already_done: int = 0
    new: int = 0
    changed: int = 0
    missing: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    newly_gone: list[str] = field(default_factory=list)
    pruned: list[Image] = field(default_factory=list)
    new_outputs: set[str] = field(default_factory=set)

    @property
    def flight(self) -> Path:
        """The folder of what is in flight, in the output folder's file system."""
        return self.out / FLIGHT_FOLDER / self.manifest.run_id

    def source_path(self, image: Image) -> str:
        return os.path.join(self.manifest.input_roots[image.root], image.source)


def plan_run(options: RunOptions, previous: Manifest | None, pause: Callable[[], None] = lambda: None) -> Plan:
    """Plan a run: afresh, or going on from `previous`. `pause` is called now and then, and may raise.

    Raises NoSuchInput, UnreadableInput, InputGone, NothingFound, OutputIsInput, OutputIsSource, ManifestIsInput,
    Collisions, OutputInTheWay, PrunedIsSource, OptionsDiffer, OtherOutput,
    OutputsGone.
    """
    out, path = options.out.absolute(), Path(os.path.realpath(options.manifest_path))
    if previous is not None:
        _check_same_options(options, previous)
        _check_same_output(path, out, previous)
        gone.refuse_empty_output(previous, path)
    earlier = gone.Earlier(previous)
    discovery = Discovery(out, options.include, options.exclude, pause)
    found = list(discovery.find(gone.walkable(options.inputs, earlier, options.prune)))
    manifest = _new_manifest(options, path, out) if previous is None else previous
    manifest.max_pixels = options.max_pixels
    manifest.ignored = dict(discovery.ignored)
    plan = Plan(path, out, manifest, previous is not None, ignored=discovery.ignored)
    left = _look(plan, _not_found(manifest, found), pause)
    if not options.prune:
        _refuse_empty(plan, options, earlier, found, left)
    if not (found or (previous and options.prune)):
        _refuse_nothing(options, earlier, discovery)
    left = _take_those_that_stay(plan, options, _follow_renames(plan, found, left))
    outputs = assign_outputs(found, options.pixels.format, _names_before(previous), _taken_names(plan, left))
    _refuse_long_outputs(out, found, outputs)
    _check_inputs_stay(plan, discovery, found, outputs)
    identities = _merge(plan, found, outputs, left, options.overwrite)
    _check_outputs_fit(plan)
    _refuse_linked_outputs(plan)
    _refuse_to_prune_inputs(plan)
    _take_stock(plan, identities)
    return plan


def plan_resume(options: ResumeOptions, manifest: Manifest, pause: Callable[[], None] = lambda: None) -> Plan:
    """Plan to go on where `manifest` stopped.

    Raises MovedInputs, OtherInputs, RootsMismatch, MovedOutput, OutputsGone, PrunedIsSource, Collisions.
    """
    earlier_roots = manifest.input_roots
    _move_roots(manifest, options.input_roots)
    path = Path(os.path.realpath(options.manifest))
    out = manifest.output_folder(path)
    if not os.path.isdir(out):
        raise errors.MovedOutput(out)
    plan = Plan(path, out, manifest, resumed=True)
    gone.refuse_empty_output(manifest, path)
    accepted = set(earlier_roots) if options.prune else set()
    _refuse_missing_roots(manifest, accepted)
    looks = _look(plan, manifest.images, pause)
    _refuse_empty_roots(manifest, looks, accepted)
    _refuse_other_roots(manifest, looks, earlier_roots)
    if options.prune:
        looks = [(image, identity) for image, identity in looks if identity or not _prune(plan, image)]
    manifest.images = [image for image, _ in looks]
    _refuse_linked_outputs(plan)
    _refuse_to_prune_inputs(plan)
    _take_stock(plan, [identity for _, identity in looks])
    return plan


def _refuse_nothing(options: RunOptions, earlier: gone.Earlier, discovery: Discovery) -> None:
    """Raises NothingFound where no image is, and none ever was."""
    if not any(earlier.had(str(without_dots(path))) for path in options.inputs):
        kinds = [*discovery.ignored.most_common(), *discovery.passed_over.most_common()]
        instead = f"are: {', '.join(f'{count:,} {kind}' for kind, count in kinds)}" if kinds else "is nothing"
        raise errors.NothingFound(", ".join(map(str, options.inputs)), instead)


def _names_before(previous: Manifest | None) -> dict[tuple[str, str], str]:
    """The output name that each input has in the manifest already."""
    if previous is None:
        return {}
    roots = previous.input_roots
    return {(roots[image.root], image.source): image.output for image in previous.images if image.resumable}


def _refuse_long_outputs(out: Path, found: list[Found], outputs: list[str]) -> None:
    """What nobody could open under its final name, and `verify` could not either, is not made."""
    room = os.pathconf("/", "PC_PATH_MAX") - len(os.fsencode(out)) - 2  # the slash between, and the end of the string
    for index, output in enumerate(outputs):
        if len(output) * _LONGEST_CHARACTER > room and len(os.fsencode(output)) > room:
            reason = "its output's path would be longer than the system can open; choose a shorter --out"
            found[index], outputs[index] = found[index]._replace(mirrored="", refused=reason), ""


def _not_found(manifest: Manifest, found: Sequence[Found]) -> list[Image]:
    """Images of earlier runs whose inputs this one did not find: they are gone, elsewhere, or left out on purpose."""
    names = {(item.root, item.source) for item in found}
    roots = manifest.input_roots
    return [image for image in manifest.images if image.resumable and (roots[image.root], image.source) not in names]


def _refuse_empty(plan: Plan, options: RunOptions, earlier: gone.Earlier, found: Sequence[Found], left: _Looks) -> None:
    """Raises InputGone for an INPUT that has nothing any more."""
    seen = [item for item in found if item.seen and not item.refused]
    walked = {item.root for item in seen}
    doubtful = [path for path in options.inputs if str(without_dots(path)) not in walked]
    if plan.resumed and doubtful:
        places = [os.path.join(item.root, item.source) for item in seen]
        places += [plan.source_path(image) for image, identity in left if identity]
        gone.refuse_empty(doubtful, earlier, places)


def _follow_renames(plan: Plan, found: Sequence[Found], left: _Looks) -> _Looks:
    """An input that has another name now, and comes out under the same one, stays its image.

    Returns those that are left.
    """
    manifest = plan.manifest
    roots = {root: index for index, root in enumerate(manifest.input_roots)}
    known = {(image.root, image.source) for image in manifest.images}
    by_output = {image.output: (image, identity) for image, identity in left}
    for item in found if left else ():
        name, place = short_output(item, manifest.options.format), (roots.get(item.root), item.source)
        if name in by_output and place not in known and _is_same_input(plan, item, *by_output[name]):
            image, _ = by_output.pop(name)
            image.root, image.source = roots.setdefault(item.root, len(roots)), item.source
    manifest.input_roots = list(roots)
    return [(image, identity) for image, identity in left if image.output in by_output]


def _is_same_input(plan: Plan, item: Found, image: Image, identity: SourceIdentity | None) -> bool:
    """Whether an image's input was renamed to `item` within its folder, or is reached by another path."""
    if identity is None:
        renamed = plan.manifest.input_roots[image.root] == item.root
        return renamed and image.identity == SourceIdentity(item.size, item.mtime_ns)
    try:
        return os.path.samefile(plan.source_path(image), os.path.join(item.root, item.source))
    except OSError:
        return False


def _take_those_that_stay(plan: Plan, options: RunOptions, left: _Looks) -> _Looks:
    """Of what was not found: what is gone, unless it is pruned, what is done, and what no INPUT of this run names.

    What is there, below an INPUT of this run, and was not found all the same, was left out on purpose: no work, then.
    """
    named = {str(without_dots(path)) for path in options.inputs}
    staying: _Looks = []
    for image, identity in left:
        is_named = gone.is_named(plan.source_path(image), named)
        if identity is None:
            stays = not (options.prune and is_named and _prune(plan, image))
        else:
            stays = image.finished or not is_named
        if stays:
            staying.append((image, identity))
    return staying


def _prune(plan: Plan, image: Image) -> bool:
    """Put an image whose input is gone on the list to be pruned, if it is known to be absent."""
    absent = image.resumable and gone.is_absent(plan.source_path(image))
    if absent:
        _let_go(image)
        plan.pruned.append(image)
    return absent


def _taken_names(plan: Plan, left: _Looks) -> list[TakenName]:
    """The output names that are not free: those of inputs that are there, and of what was made of others."""
    return [
        TakenName(plan.source_path(image), image.output)
        for image, identity in left
        if identity or image.checksum or "partial" in (image.state, image.was)
    ]


def _check_inputs_stay(plan: Plan, discovery: Discovery, found: Sequence[Found], outputs: Sequence[str]) -> None:
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


def _refuse_linked_outputs(plan: Plan) -> None:
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


def _refuse_to_prune_inputs(plan: Plan) -> None:
    """What was made of a gone input may be an input itself since, also by a link. Raises PrunedIsSource."""
    if not plan.pruned:
        return
    sources = {os.path.realpath(plan.source_path(image)) for image in plan.manifest.images}
    for image in plan.pruned:
        if os.path.realpath(plan.out / image.output) in sources:
            raise errors.PrunedIsSource(plan.out / image.output)


def _check_outputs_fit(plan: Plan) -> None:
    """Also with the outputs of earlier runs, and with the files that are batchgray's own."""
    outputs = {image.output for image in plan.manifest.images if image.resumable}
    fault = find_output_clash(outputs, own_names(plan.path, plan.out))
    if fault is not None:
        raise errors.OutputInTheWay(fault)


def _new_manifest(options: RunOptions, path: Path, out: Path) -> Manifest:
    beside = str(path.parent) == os.path.realpath(out)
    return Manifest(
        run_id=DEFAULT_RUN_ID if beside and path.name == "manifest.json" else os.urandom(8).hex(),
        options=options.pixels,
        max_pixels=options.max_pixels,
        output_root="." if beside else str(out),
        input_roots=[],
    )


def _check_same_output(path: Path, out: Path, previous: Manifest) -> None:
    """The folder may have been moved, and the manifest told so now; but its outputs are in one place."""
    before = previous.output_folder(path)
    if os.path.realpath(before) == os.path.realpath(out):
        return
    if os.path.isdir(before):
        raise errors.OtherOutput(path, before, out)
    previous.output_root = str(out)


def _check_same_options(options: RunOptions, previous: Manifest) -> None:
    differing = [
        f"--{name.replace('_', '-')} {shlex.quote(str(getattr(previous.options, name)))}"
        for name in PixelOptions.__struct_fields__
        if getattr(options.pixels, name) != getattr(previous.options, name)
    ]
    if differing:
        raise errors.OptionsDiffer(options.manifest_path, ", ".join(differing).replace("None", "auto"))


def _merge(
    plan: Plan, found: Sequence[Found], outputs: Sequence[str], left: _Looks, overwrite: bool
) -> list[SourceIdentity | None]:
    """Bring what was discovered into the manifest's images, before what is `left` of earlier runs.

    Returns the identity of each image's input as it is now.
    """
    manifest = plan.manifest
    roots = {root: index for index, root in enumerate(manifest.input_roots)}
    known = {(image.root, image.source): image for image in manifest.images}
    made = {image.output: image for image in manifest.images if image.checksum}
    images: list[Image] = []
    identities: list[SourceIdentity | None] = []
    for item, output in zip(found, outputs, strict=True):
        root = roots.setdefault(item.root, len(roots))
        image = known.get((root, item.source))
        identity = SourceIdentity(item.size, item.mtime_ns)
        if item.refused:
            image = _refused(root, item)
        elif image is None or image.output != output:
            image = _new_image(root, item, output, made.get(output))
            image.mend = overwrite and os.path.lexists(plan.out / output)  # what comes there later is not meant
            plan.new += 1
            plan.new_outputs.add(output)
        images.append(image)
        identities.append(identity if item.seen or image.identity == gone.NEVER_SEEN else None)
    manifest.input_roots = list(roots)
    taken = set(outputs)
    kept = [(image, identity) for image, identity in left if image.output not in taken]
    manifest.images = images + [image for image, _ in kept]
    return identities + [identity for _, identity in kept]


def _new_image(root: int, item: Found, output: str, there: Image | None) -> Image:
    """`there` is the image whose conversion put a file under this output name earlier."""
    image = Image(root=root, source=item.source, output=output, size=item.size, mtime_ns=item.mtime_ns)
    if there is not None:
        image.checksum, image.output_size = there.checksum, there.output_size
    return image


def _refused(root: int, item: Found) -> Image:
    return Image(root=root, source=item.source, output="", state="failed", size=0, mtime_ns=0, error=item.refused)


def _look(plan: Plan, images: Iterable[Image], pause: Callable[[], None]) -> _Looks:
    looks: _Looks = []
    for image in images:
        if len(looks) % 1000 == 0:
            pause()
        looks.append((image, gone.look(plan.source_path(image), image)))
    return looks


def _take_stock(plan: Plan, identities: Sequence[SourceIdentity | None]) -> None:
    """Decide for each image whether there is work."""
    name_of = outcome.naming(plan.manifest)
    for index, (image, identity) in enumerate(zip(plan.manifest.images, identities, strict=True)):
        if not image.resumable:
            continue
        if identity is None:
            if _let_go(image):
                plan.newly_gone.append(name_of(image))
            continue
        if image.state == "gone":
            image.state, image.was = image.was or "pending", None
        if identity != image.identity:
            plan.changed += image.state in ("done", "partial")
            _begin_anew(image)
            image.size, image.mtime_ns = identity.size, identity.mtime_ns
        elif image.state == "done" and not os.path.lexists(plan.out / image.output):
            plan.missing += 1
            _begin_anew(image)
        if image.state == "done":
            plan.already_done += 1
        else:
            if image.state == "failed":
                _begin_anew(image)
            plan.todo.append(index)


def _let_go(image: Image) -> bool:
    """Its input is gone: it keeps what was made of it, until that comes back. False where it was gone already."""
    if image.state == "gone":
        return False
    if image.state == "failed":
        _begin_anew(image)
    image.was = image.state if image.state in ("done", "partial") else "pending"
    image.state = "gone"
    return True


def _begin_anew(image: Image) -> None:
    """Back to pending; what is known of the file under its output's name stays."""
    image.state, image.error, image.note = "pending", None, None
    image.tiles_done = 0


def _move_roots(manifest: Manifest, moved: Sequence[Path]) -> None:
    if not moved:
        return
    if len(moved) != len(manifest.input_roots):
        raise errors.RootsMismatch(len(moved), len(manifest.input_roots), ", ".join(manifest.input_roots))
    manifest.input_roots = [str(without_dots(path)) for path in moved]


def _at_stake(manifest: Manifest, accepted: set[str]) -> Iterator[tuple[int, str, str]]:
    """Input folders whose images would have to be given up now, were they not there: index, path, how many in words.

    But for those that are `accepted` without anything. One that is said to have moved is not there for nothing.
    """
    counts = Counter(
        image.root
        for image in manifest.images
        if image.resumable and image.state != "gone" and image.identity != gone.NEVER_SEEN
    )
    for index, root in enumerate(manifest.input_roots):
        if counts[index] and root not in accepted:
            yield index, root, quantities.images(counts[index])


def _refuse_missing_roots(manifest: Manifest, accepted: set[str]) -> None:
    """Raises MovedInputs."""
    for _, root, count in _at_stake(manifest, accepted):
        if not os.path.isdir(root):
            raise errors.MovedInputs(root, count, "now there is no folder of that name")


def _refuse_empty_roots(manifest: Manifest, looks: _Looks, accepted: set[str]) -> None:
    """Raises MovedInputs."""
    seen = {image.root for image, identity in looks if identity}
    for index, root, count in _at_stake(manifest, accepted):
        if index not in seen:
            raise errors.MovedInputs(root, count, "now there is none of them")


def _refuse_other_roots(manifest: Manifest, looks: _Looks, before: Sequence[str]) -> None:
    """A folder said to have moved that has other files of the same names is another folder. Raises OtherInputs."""
    seen: Counter[int] = Counter()
    others: Counter[int] = Counter()
    for image, identity in looks:
        if identity and image.resumable:
            seen[image.root] += 1
            others[image.root] += identity.size != image.size
    for index, (root, earlier) in enumerate(zip(manifest.input_roots, before, strict=True)):
        if root != earlier and 2 * others[index] > seen[index]:
            raise errors.OtherInputs(root, earlier, quantities.images(seen[index]), f"{others[index]:,}")
