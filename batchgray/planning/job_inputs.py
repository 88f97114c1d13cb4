"""The INPUTs of a job: what is refused of them before any work, and under which names they come out."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence

from batchgray import errors
from batchgray.manifest.results import Layers
from batchgray.planning.shares import Input
from batchgray.storage.base import Place
from batchgray.storage.names import is_url


def full_name(name: str) -> str:
    """A folder by its real path, a URL as it is, but for slashes at its end: so names can be compared."""
    return name.rstrip("/") if is_url(name) else os.path.realpath(name)


def refuse_names(inputs: Sequence[str], out: str) -> None:
    """Of full names. Raises OutputIsInput, NotForJobs."""
    for place in inputs:
        if place == out:
            raise errors.OutputIsInput(out)
        if _is_within(place, out) or _is_within(out, place):
            raise errors.NotForJobs("an output place in an INPUT, or around one,", "choose another")
        if any(_is_within(place, other) for other in inputs):
            raise errors.NotForJobs("an INPUT within another", f"leave {place} out")
        if not is_url(place) and not os.path.isdir(place):
            if not os.path.lexists(place):
                raise errors.NoSuchInput(place)
            raise errors.NotForJobs(
                f"the file {place} as an INPUT", "name its folder, and choose by `batchgray run ... --include GLOB`"
            )
    for name, count in Counter(map(_last_part, inputs)).items():
        if count > 1:
            raise errors.NotForJobs(f"{count} INPUTs named {name}", "they would come out as one; convert one at a time")


def mirrored(names: Sequence[str], places: Sequence[Place]) -> list[Input]:
    """One INPUT comes out at the top of the output place, several each under its own name."""
    several = len(names) > 1
    return [Input(place, f"{_last_part(name)}/" if several else "") for name, place in zip(names, places, strict=True)]


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
        raise errors.NothingFound(", ".join(place.name for place, _ in inputs), instead if kinds else "is nothing")


def _has_image(input: Input, kind_of_unwanted: Callable[[str], str | None], kinds: Counter[str]) -> bool:
    """Adds to `kinds` what is there before the first image."""
    for entry in input.place.list():
        kind = kind_of_unwanted(entry.key)
        if kind is None:
            return True
        kinds[kind] += 1
    return False


def _had_image(layers: Layers, input: int) -> bool:
    return any(result.input == input for result in itertools.islice(layers.read((input, b"")), 1))


def _is_within(name: str, other: str) -> bool:
    return name.startswith(f"{other.rstrip('/')}/")


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or "root"
