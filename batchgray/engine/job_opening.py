"""The places of a job, and its head: how they are opened, and what is refused of them before any work."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from batchgray import errors
from batchgray.engine import foresight
from batchgray.manifest import job_head
from batchgray.manifest.job_head import InputFile, JobHead, JobInput
from batchgray.manifest.layers import Layers
from batchgray.options import JobOptions
from batchgray.planning import job_inputs, job_listing
from batchgray.planning.overwriting import refuse_links_into
from batchgray.planning.wanted import choosing
from batchgray.storage.base import Full, Missing, Place, PlaceError
from batchgray.storage.folder import FolderPlace
from batchgray.storage.names import is_url
from batchgray.storage.trial import try_store
from batchgray.storage.urls import StoreOptions, open_input, open_place


def refuse_job(options: JobOptions, stores: StoreOptions) -> list[JobInput]:
    """What `run_job` would refuse before any work, found out without touching anything. Raises BatchgrayError.

    Returns the INPUTs as they would be listed.
    """
    out_name = job_inputs.full_name(options.out)
    with contextlib.ExitStack() as stack, naming_places("a place of the job"):
        inputs = named_inputs(options, out_name, stores)
        asked = head_of(options, inputs)
        opening = input_opener(options.follow_links, out_name)
        places = [stack.enter_context(opened(each.place, stores, opening)) for each in inputs]
        out, before = None, None
        if not is_url(out_name):
            foresight.check_folder(Path(out_name))
        if is_url(out_name) or os.path.isdir(out_name):
            out = stack.enter_context(opened(out_name, stores))
            with naming_places(out_name):
                before = None if options.overwrite else job_head.find(out)
        refuse_inputs(options, inputs, places, out, before, asked)
        if out is not None and before is not None:
            refuse_other(asked, before, out)
        return inputs


def named_inputs(options: JobOptions, out_name: str, stores: StoreOptions) -> list[JobInput]:
    if options.engine.times:
        job_inputs.refuse_times([out_name, *options.inputs])
    return job_inputs.named_inputs(
        [job_inputs.full_name(name) for name in options.inputs],
        out_name,
        None if options.base is None else job_inputs.full_name(options.base),
        options.exclude,
        lambda url: _is_object(url, stores),
        options.overwrite,
    )


def _is_object(url: str, stores: StoreOptions) -> bool:
    """Whether a URL is one object, and no prefix. Raises PlaceUnusable, and what `open_url` raises."""
    above, _, name = url.rpartition("/")
    if above.endswith("/"):
        return False  # a bucket
    with opened(above, stores) as place:
        try:
            place.stat(name)
        except Missing:
            return False
        except PlaceError as error:
            raise errors.PlaceUnusable(url, error) from None
    return True


def refuse_inputs(
    options: JobOptions,
    inputs: list[JobInput],
    places: Sequence[Place],
    out: Place | None,
    before: JobHead | None,
    asked: JobHead,
) -> None:
    """What is found by looking at them; `before` is the head that is in `out` already. Raises BatchgrayError."""
    if options.overwrite and not is_url(options.out):
        folders = (each.place for each in inputs if not each.files and not is_url(each.place))
        refuse_links_into(job_inputs.full_name(options.out), folders)
    with naming_places(", ".join(asked.inputs)):
        looked_at = job_listing.listed(inputs, places, job_inputs.full_name(options.out))
        job_inputs.refuse_collisions(inputs, [place for place, *_ in looked_at], options.pixels.format)
        layers = Layers(out, before.prefix) if out and before and before.inputs == asked.inputs else None
        wanted = choosing(options.include, options.exclude)
        job_inputs.refuse_nothing_found(looked_at, wanted, layers, options.prune)


def head_of(options: JobOptions, inputs: Sequence[JobInput]) -> JobHead:
    return JobHead(
        job=os.urandom(4).hex(),
        options=options.pixels,
        max_pixels=options.max_pixels,
        inputs=[each.place for each in inputs],
        mirrored=[each.mirrored for each in inputs],
        files=[InputFile(input=index, name=name) for index, each in enumerate(inputs) for name in each.files],
        include=list(options.include),
        exclude=list(options.exclude),
        follow_links=options.follow_links,
        times=options.engine.times,
        overwrite=options.overwrite,
    )


def refuse_other(wanted: JobHead, head: JobHead, out: Place) -> None:
    """Raises JobDiffers where the job that is there is another one."""
    there, asked = msgspec.to_builtins(head), msgspec.to_builtins(wanted)
    pixels = {
        f"--{name.replace('_', '-')} {value}"
        for name, value in there["options"].items()
        if value != asked["options"][name]
    }
    names = "max_pixels", "inputs", "mirrored", "files", "include", "exclude", "follow_links", "times"
    others = {f"{name} {there[name]}" for name in names if there[name] != asked[name]}
    if pixels or others:
        raise errors.JobDiffers(job_head.name_in(out), ", ".join(sorted(pixels | others)))


def refuse_unfit(out: Place) -> None:
    """A store is tried: one that does not keep put-if-absent can't keep a job. Raises UnfitPlace."""
    if isinstance(out, FolderPlace):
        return
    for finding in try_store(out):
        if finding.verdict == "wrong":
            raise errors.UnfitPlace(out.name, f"{finding.what}: {finding.detail}; {finding.remedy}".rstrip("; "))


@contextlib.contextmanager
def opened(
    name: str, stores: StoreOptions, opening: Callable[[str, StoreOptions], Place] = open_place
) -> Iterator[Place]:
    """Raises PlaceUnusable, and what `open_url` raises."""
    try:
        place = opening(name, stores)
    except PlaceError as error:
        raise errors.PlaceUnusable(name, error.reason) from None
    with contextlib.closing(place):
        yield place


def input_opener(follow_links: bool, out: str) -> Callable[[str, StoreOptions], Place]:
    """How INPUTs are opened; `out` is the output place's full name."""
    return functools.partial(open_input, links_besides=out if follow_links else None)


@contextlib.contextmanager
def naming_places(name: str) -> Iterator[None]:
    """Raises PlaceUnusable, or PlaceFull, instead of PlaceError."""
    try:
        yield
    except Full as error:
        raise errors.PlaceFull(name, error.reason) from error
    except PlaceError as error:
        raise errors.PlaceUnusable(name, error) from error
