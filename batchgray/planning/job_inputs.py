"""The INPUTs of a job: what is refused of them before any work, and under which names they come out."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from batchgray import errors
from batchgray.manifest.job_head import JobInput
from batchgray.manifest.layers import Layers
from batchgray.options import SUFFIXES, Format
from batchgray.planning.base_folder import path_below
from batchgray.planning.discovery import image_suffixes, raise_pairs
from batchgray.planning.job_listing import is_within, name_below
from batchgray.planning.merging import Input
from batchgray.planning.wanted import choosing
from batchgray.storage.base import Place
from batchgray.storage.keys import key_order
from batchgray.storage.names import is_url, kind_of

_AT_ONCE = 16  # INPUTs that are looked at
MOST_FILES = 1000  # as INPUTs; they are in the head


def full_name(name: str) -> str:
    """A folder by its real path, a URL as it is, but for slashes at its end: so names can be compared."""
    return name.rstrip("/") if is_url(name) else os.path.realpath(name)


def named_inputs(
    names: Sequence[str],
    out: str,
    base: str | None,
    exclude: Sequence[str],
    is_object: Callable[[str], bool],
    overwrite: bool = False,
) -> list[JobInput]:
    """The INPUTs as they are listed: folders and prefixes, each once, and single files and objects by their places.

    `names`, `out` and `base` are full names; `is_object` says of a URL whether it is one object. With `overwrite`
    outputs replace what is there.

    Raises NoSuchInput, OutputIsInput, BaseNotFolder, NotBelowBase, NotForJobs.
    """
    if base is not None and not is_url(base) and not os.path.isdir(base):
        raise errors.BaseNotFolder(base)
    with ThreadPoolExecutor(_AT_ONCE, "stat") as threads:  # a store takes its time for each answer
        distinct = list(dict.fromkeys(names))
        are_files = dict(zip(distinct, threads.map(lambda name: _is_file(name, is_object), distinct), strict=True))
    files = [name for name in distinct if are_files[name]]
    trees = [name for name in distinct if not are_files[name]]
    outermost = [name for name in trees if not any(is_within(name, other) for other in trees)]
    for name in (*trees, *(files if overwrite else ())):  # a file that is one may come out, but replaces nothing
        _refuse_within(name, out)
    single = [name for name in files if is_within(name, out) or not any(is_within(name, tree) for tree in outermost)]
    if len(single) > MOST_FILES:
        raise errors.NotForJobs(
            f"{len(single):,} files as INPUTs",
            "name folders or prefixes, and choose by `batchgray run ... --include GLOB`",
        )
    taken = choosing((), exclude)
    for name in {*trees, *files}.difference(single):
        for tree in (tree for tree in outermost if is_within(name, tree)):
            if taken(name_below(tree, name if are_files[name] else f"{name}/a.jpg")) is not None:
                raise errors.NotForJobs(f"{name}, which is left out of {tree},", "convert it by itself")
    found = [JobInput(name, _prefix(name, base, len(outermost) == 1), []) for name in outermost]
    return found + _by_places(single, base)


def _is_file(name: str, is_object: Callable[[str], bool]) -> bool:
    """Raises NoSuchInput."""
    if is_url(name):
        return kind_of(name) in image_suffixes() and is_object(name)
    if not os.path.lexists(name):
        raise errors.NoSuchInput(name)
    return not os.path.isdir(name)


def _refuse_within(tree: str, out: str) -> None:
    """What is below the output place is nobody's input. Raises OutputIsInput, NotForJobs."""
    if tree == out:
        raise errors.OutputIsInput(out)
    if is_within(tree, out):
        raise errors.NotForJobs(f"{tree}, an INPUT within the output place,", "choose another output place")


def moved(inputs: Sequence[str], roots: Sequence[str], out: str) -> list[str]:
    """Where a job's inputs are now, by full names; `roots` are the full names of all, or none is given.

    Raises RootsMismatch, OutputIsInput, NotForJobs; InputGone for a folder that is not there.
    """
    if roots and len(roots) != len(inputs):
        raise errors.RootsMismatch(len(roots), len(inputs), ", ".join(map(errors.shown, inputs)))
    for root in set(roots).difference(inputs):
        _refuse_within(root, out)
    for folder in (name for name in roots or inputs if not is_url(name) and not os.path.isdir(name)):
        raise errors.InputGone(folder, "images", "now there is no folder of that name")
    return list(roots or inputs)


def refuse_times(names: Sequence[str]) -> None:
    """Of a job between these places. Raises NotForJobs."""
    for name in filter(is_url, names):
        raise errors.NotForJobs(f"--times with {name}", "modification times are those of files; leave the option out")


def _prefix(tree: str, base: str | None, alone: bool) -> str:
    """What stands before the output names of all that is in it. Raises NotBelowBase."""
    if base is None:
        return "" if alone else f"{_last_part(tree)}/"
    below = path_below(base, tree)
    if below is None:
        raise errors.NotBelowBase(tree, base)
    return f"{below}/" if below else ""


def _by_places(files: Sequence[str], base: str | None) -> list[JobInput]:
    """Files and objects, those of one folder or prefix together. Raises NotBelowBase."""
    names: dict[str, list[str]] = {}
    for file in files:
        above, _, name = file.rpartition("/")
        names.setdefault(above or "/", []).append(name)
    return [
        JobInput(above, "" if base is None else _prefix(above, base, alone=True), sorted(found, key=key_order))
        for above, found in names.items()
    ]


def refuse_collisions(inputs: Sequence[JobInput], places: Sequence[Place], format: Format) -> None:
    """Of what different INPUTs would come out as. Raises NotForJobs, Collisions, PlaceError.

    Within an INPUT it is found when it is listed.
    """
    several = Counter(each.mirrored for each in inputs if not each.files)
    for prefix, count in several.items():
        if count > 1:
            named = prefix.rstrip("/")
            reason = "they would come out as one; tell them apart by `batchgray run ... --base DIR`"
            raise errors.NotForJobs(f"{count} INPUTs named {named}", reason)
    first: dict[str, str] = {}
    for each in inputs:
        for name in each.files:
            mirrored, full = each.mirrored + name, f"{each.place.rstrip('/')}/{name}"
            stem = os.path.splitext(mirrored)[0]
            other = first.setdefault(stem, full)
            if other == full:
                other = _in_a_tree(mirrored, inputs, places)
            elif other.rpartition("/")[0] == full.rpartition("/")[0]:
                continue  # they are told apart when they are listed
            if other:
                output = errors.shown(stem + SUFFIXES[format])
                raise_pairs(errors.Collisions, [f"  {errors.shown(other)} and {errors.shown(full)} -> {output}"])


def _in_a_tree(mirrored: str, inputs: Sequence[JobInput], places: Sequence[Place]) -> str:
    """What a folder or prefix holds that would come out as a file does, where there is one."""
    for each, place in zip(inputs, places, strict=True):
        if not each.files and mirrored.startswith(each.mirrored):
            stem = os.path.splitext(mirrored[len(each.mirrored) :])[0]
            for entry in place.list(f"{stem}."):
                if os.path.splitext(entry.key)[0] == stem and kind_of(entry.key) in image_suffixes():
                    return f"{place.name.rstrip('/')}/{entry.key}"
    return ""


def refuse_nothing_found(
    inputs: Sequence[Input], kind_of_unwanted: Callable[[str], str | None], layers: Layers | None, prune: bool
) -> None:
    """Look for the first image of each. `layers` are the results of earlier rounds, if there is a job.

    Raises InputGone for an INPUT that had images and has none now, but with `prune`; NothingFound where no image is,
    and none ever was; PlaceError.
    """
    kinds: Counter[str] = Counter()
    empty = [index for index, each in enumerate(inputs) if not _has_image(each, kind_of_unwanted, kinds)]
    emptied = [index for index in empty if layers is not None and _had_image(layers, index)]
    if emptied and not prune:
        raise errors.InputGone(inputs[emptied[0]].place.name, "images", "now there is none")
    if len(empty) == len(inputs) and not emptied:
        instead = f"are: {', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common())}"
        raise errors.NothingFound(", ".join(place.name for place, *_ in inputs), instead if kinds else "is nothing")


def _has_image(input: Input, kind_of_unwanted: Callable[[str], str | None], kinds: Counter[str]) -> bool:
    """Adds to `kinds` what is there before the first image."""
    for entry in input.place.list():
        kind = None if input.always else kind_of_unwanted(entry.key)
        if kind is None:
            return True
        kinds[kind] += 1
    return False


def _had_image(layers: Layers, input: int) -> bool:
    return any(result.input == input for result in itertools.islice(layers.read((input, b"")), 1))


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or "root"
