"""Planning a run, or how to go on with one: what is discovered, held against the manifest and what is on disk."""

import os
from collections.abc import Callable
from pathlib import Path

from batchgray import errors
from batchgray.manifest.records import DEFAULT_RUN_ID, Manifest
from batchgray.options import ResumeOptions, RunOptions
from batchgray.planning import checks, reconcile
from batchgray.planning.base_folder import below_base
from batchgray.planning.discovery import Discovery, assign_outputs
from batchgray.planning.gone import EarlierInputs
from batchgray.planning.plan import Plan


def plan_run(
    options: RunOptions,
    previous: Manifest | None,
    pause: Callable[[], None] = lambda: None,
    left_out: Callable[[str, str], None] = lambda path, kind: None,
) -> Plan:
    """Plan a run: afresh, or going on from `previous`.

    `pause` is called now and then, and may raise; `left_out` with the path and the kind of all that is not taken.

    Raises NoSuchInput, UnreadableInput, InputGone, NothingFound, OutputIsInput, OutputIsSource, ManifestIsInput,
    Collisions, OutputInTheWay, PrunedIsSource, OptionsDiffer, OtherOutput,
    OutputsGone, BaseNotFolder, NotBelowBase.
    """
    options = below_base(options)
    out, path = options.out.absolute(), Path(os.path.realpath(options.manifest_path))
    if previous is not None:
        checks.refuse_other_options(options, previous)
        _accept_output_folder(path, out, previous)
        checks.refuse_empty_output(previous, path)
    earlier = EarlierInputs(previous)
    discovery = Discovery(
        out, options.include, options.exclude, pause, options.base, options.follow_links, tell=left_out
    )
    found = list(discovery.find(checks.reachable_inputs(options.inputs, earlier, options.prune)))
    manifest = _new_manifest(options, path, out) if previous is None else previous
    manifest.max_pixels, manifest.times = options.max_pixels, options.engine.times
    manifest.ignored, manifest.left_out = dict(discovery.left_out.ignored), discovery.left_out.kinds()
    plan = Plan(path, out, manifest, previous is not None, ignored=discovery.left_out.ignored)
    plan.left_out = manifest.left_out
    unfound = reconcile.stat_inputs(plan, reconcile.unfound_images(manifest, found), pause)
    if not options.prune:
        checks.refuse_emptied_inputs(plan, options, earlier, found, unfound)
    if not (found or (previous and options.prune)):
        checks.refuse_nothing_found(options, earlier, discovery)
    kept = reconcile.keep_unfound(plan, options, reconcile.follow_renames(plan, found, unfound))
    outputs = assign_outputs(
        found, options.pixels.format, reconcile.earlier_names(previous), reconcile.taken_names(plan, kept)
    )
    reconcile.mark_long_outputs(out, found, outputs)
    checks.refuse_replaced_inputs(plan, discovery, found, outputs)
    versions = reconcile.merge(plan, found, outputs, kept, options.overwrite)
    checks.refuse_outputs_in_the_way(plan)
    checks.refuse_linked_outputs(plan)
    checks.refuse_pruned_inputs(plan)
    reconcile.classify(plan, versions)
    return plan


def plan_resume(options: ResumeOptions, manifest: Manifest, pause: Callable[[], None] = lambda: None) -> Plan:
    """Plan to go on where `manifest` stopped.

    Raises MovedInputs, OtherInputs, RootsMismatch, MovedOutput, OutputsGone, PrunedIsSource, Collisions.
    """
    earlier_roots = manifest.input_roots
    reconcile.move_roots(manifest, options.input_roots)
    path = Path(os.path.realpath(options.manifest))
    out = manifest.output_folder(path)
    if not os.path.isdir(out):
        raise errors.MovedOutput(out)
    manifest.times = manifest.times or options.engine.times
    plan = Plan(path, out, manifest, resumed=True)
    checks.refuse_empty_output(manifest, path)
    accepted = set(earlier_roots) if options.prune else set()
    checks.refuse_missing_roots(manifest, accepted)
    stats = reconcile.stat_inputs(plan, manifest.images, pause)
    checks.refuse_empty_roots(manifest, stats, accepted)
    checks.refuse_other_roots(manifest, stats, earlier_roots)
    if options.prune:
        stats = [(image, version) for image, version in stats if version or not reconcile.mark_pruned(plan, image)]
    manifest.images = [image for image, _ in stats]
    checks.refuse_linked_outputs(plan)
    checks.refuse_pruned_inputs(plan)
    reconcile.classify(plan, [version for _, version in stats])
    return plan


def _new_manifest(options: RunOptions, path: Path, out: Path) -> Manifest:
    beside = str(path.parent) == os.path.realpath(out)
    return Manifest(
        run_id=DEFAULT_RUN_ID if beside and path.name == "manifest.json" else os.urandom(8).hex(),
        options=options.pixels,
        max_pixels=options.max_pixels,
        output_root="." if beside else str(out),
        input_roots=[],
    )


def _accept_output_folder(path: Path, out: Path, previous: Manifest) -> None:
    """The folder may have been moved, and the manifest told so now; but its outputs are in one place."""
    before = previous.output_folder(path)
    if os.path.realpath(before) == os.path.realpath(out):
        return
    if os.path.isdir(before):
        raise errors.OtherOutput(path, before, out)
    previous.output_root = str(out)
