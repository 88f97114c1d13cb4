"""The plan: what is discovered, held against what the manifest says and what is on disk.

Nothing is converted that is really done, and nothing counts as done because a file of that name merely exists: an
image is done if the manifest says so, its input is still the one that was converted, and its output is still there.
"""

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchgray import errors
from batchgray.discovery import Discovery, Found, assign_outputs
from batchgray.document import DEFAULT_RUN_ID, FLIGHT_FOLDER, Image, Manifest, fault_of_outputs, own_names
from batchgray.messages import SourceIdentity
from batchgray.options import PixelOptions, ResumeOptions, RunOptions


@dataclass
class Plan:
    """A manifest ready to be worked on. `todo` are indices into its images, in the order of the work.

    `new`, `changed` (the input is another than the one converted) and `missing` (the output is gone) say why there is
    work; `already_done` images need none.
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

    @property
    def flight(self) -> Path:
        """The folder of what is in flight, in the output folder's file system."""
        return self.out / FLIGHT_FOLDER / self.manifest.run_id

    def source_path(self, image: Image) -> str:
        return os.path.join(self.manifest.input_roots[image.root], image.source)


def plan_run(options: RunOptions, previous: Manifest | None, pause: Callable[[], None] = lambda: None) -> Plan:
    """Plan a run: afresh, or going on from `previous`. `pause` is called now and then, and may raise.

    Raises NoSuchInput, OutputIsInput, OutputIsSource, ImpossibleName, Collisions, OutputInTheWay, OptionsDiffer,
    OtherOutput.
    """
    out, path = options.out.absolute(), Path(os.path.realpath(options.manifest_path))
    for name in (out, path):
        _check_name(name)
    if previous is not None:
        _check_same_options(options, previous)
        _check_same_output(path, out, previous)
    discovery = Discovery(out, options.include, options.exclude, pause)
    found = list(discovery.find(options.inputs))
    outputs = assign_outputs(found, options.pixels.format, _names_before(previous))
    _check_outputs_are_no_sources(out, found, outputs)
    manifest = _new_manifest(options, path, out) if previous is None else previous
    manifest.max_pixels = options.max_pixels
    manifest.ignored = dict(discovery.ignored)
    plan = Plan(path, out, manifest, previous is not None, ignored=discovery.ignored)
    identities = _merge(plan, found, outputs, options.overwrite)
    _check_outputs_fit(plan)
    _take_stock(plan, identities)
    return plan


def plan_resume(options: ResumeOptions, manifest: Manifest, pause: Callable[[], None] = lambda: None) -> Plan:
    """Plan to go on where `manifest` stopped. Raises MovedInputs, RootsMismatch, MovedOutput."""
    _move_roots(manifest, options.input_roots)
    path = Path(os.path.realpath(options.manifest))
    out = manifest.output_folder(path)
    if not os.path.isdir(out):
        raise errors.MovedOutput(out)
    plan = Plan(path, out, manifest, resumed=True)
    _take_stock(plan, _look(plan, manifest.images, pause))
    return plan


def _names_before(previous: Manifest | None) -> dict[tuple[str, str], str]:
    """The output name that each input has in the manifest already."""
    if previous is None:
        return {}
    roots = previous.input_roots
    return {(roots[image.root], image.source): image.output for image in previous.images if image.resumable}


def _check_outputs_are_no_sources(out: Path, found: Sequence[Found], outputs: Sequence[str]) -> None:
    sources = {os.path.join(item.root, item.source) for item in found}
    for output in outputs:
        if output and (path := os.path.join(out, output)) in sources:
            raise errors.OutputIsSource(path)


def _check_outputs_fit(plan: Plan) -> None:
    """Also with the outputs of earlier runs, and with the files that are batchgray's own."""
    outputs = {image.output for image in plan.manifest.images if image.resumable}
    fault = fault_of_outputs(outputs, own_names(plan.path, plan.out))
    if fault is not None:
        raise errors.OutputInTheWay(fault)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise errors.ImpossibleName(path) from None


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


def _merge(plan: Plan, found: Sequence[Found], outputs: Sequence[str], overwrite: bool) -> list[SourceIdentity | None]:
    """Bring what was discovered into the manifest's images. Returns the identity of each image's input as it is now."""
    manifest = plan.manifest
    roots = {root: index for index, root in enumerate(manifest.input_roots)}
    known = {(image.root, image.source): image for image in manifest.images}
    made = {image.output: image for image in manifest.images if image.checksum}
    images, identities = [], []
    for item, output in zip(found, outputs, strict=True):
        root = roots.setdefault(item.root, len(roots))
        image = known.pop((root, item.source), None)
        if item.refused:
            image = _refused(root, item)
        elif image is None or image.output != output:
            image = _new_image(root, item, output, made.get(output))
            image.mend = overwrite
            plan.new += 1
        images.append(image)
        identities.append(SourceIdentity(item.size, item.mtime_ns))
    manifest.input_roots = list(roots)
    taken = set(outputs)
    walked = {root for root, name in enumerate(manifest.input_roots) if name in {item.root for item in found}}
    left = [image for image in known.values() if image.resumable and image.output not in taken]
    identities_left = _look(plan, left, lambda: None)
    # What is there, below a folder of this run, and yet was not found, was left out on purpose: no work, then.
    kept = [
        (image, identity)
        for image, identity in zip(left, identities_left, strict=True)
        if image.state == "done" or identity is None or image.root not in walked
    ]
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


def _look(plan: Plan, images: Iterable[Image], pause: Callable[[], None]) -> list[SourceIdentity | None]:
    """What stands under each input's name now; None where it is gone."""
    identities: list[SourceIdentity | None] = []
    for image in images:
        if len(identities) % 1000 == 0:
            pause()
        try:
            found = os.stat(plan.source_path(image))
        except OSError:
            identities.append(None)
        else:
            identities.append(SourceIdentity(found.st_size, found.st_mtime_ns))
    return identities


def _take_stock(plan: Plan, identities: Sequence[SourceIdentity | None]) -> None:
    """Decide for each image whether there is work."""
    for index, (image, identity) in enumerate(zip(plan.manifest.images, identities, strict=True)):
        if not image.resumable:
            continue
        if identity is None:
            image.error = "its file vanished; " + (
                "its finished output stays" if image.checksum else "put it back, then run or resume again"
            )
            image.state = "failed"
            continue
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


def _begin_anew(image: Image) -> None:
    """Back to pending; what is known of the file under its output's name stays."""
    image.state, image.error, image.note = "pending", None, None
    image.tiles_done = 0


def _move_roots(manifest: Manifest, moved: Sequence[Path]) -> None:
    if moved:
        if len(moved) != len(manifest.input_roots):
            raise errors.RootsMismatch(len(moved), len(manifest.input_roots), ", ".join(manifest.input_roots))
        manifest.input_roots = [str(path.absolute()) for path in moved]
    needed = {image.root for image in manifest.images if image.resumable}
    for index, root in enumerate(manifest.input_roots):
        if index in needed and not os.path.isdir(root):
            raise errors.MovedInputs(root)
