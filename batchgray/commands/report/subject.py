"""What a report tells: of a manifest, or of a job. All that is read is read here."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchgray import texts
from batchgray.commands import job_status, sessions, status
from batchgray.commands.job_view import JobView, steadily, viewing
from batchgray.commands.report import charts, pictures
from batchgray.commands.report.pictures import Framing, Gallery, Original, Pair
from batchgray.commands.report.timeline import Timeline, busy_times, timeline, times_of
from batchgray.commands.sessions import Session
from batchgray.commands.status import Status
from batchgray.manifest import outcome
from batchgray.manifest.records import Image, Interruption, Manifest
from batchgray.options import PixelOptions
from batchgray.planning.replay import manifest_for
from batchgray.progress import wording
from batchgray.storage.names import is_url
from batchgray.storage.urls import StoreOptions

_NOTES = 50
_SAMPLED_SHARES = 8  # whose images pictures are chosen of
_STAYS = 500  # of shares on machines, that are drawn


@dataclass(frozen=True, kw_only=True)
class Subject:
    """`out` is where the outputs are, `inputs` where the images come from. `machines` are a job's alone.

    `failures` are the first, with their reasons; the figures have how many there are. `undated` images were done at a
    time that is not known; `earlier` interruptions are of runs that are not.
    """

    out: str
    manifest: str
    options: PixelOptions
    max_pixels: int
    inputs: list[str]
    versions: list[str]
    figures: Status
    running: bool
    runs: list[Session]
    undated: int
    interruptions: list[Interruption]
    earlier: list[Interruption]
    failures: list[tuple[str, str]]
    pairs: list[Pair]
    notes: list[texts.Shared]
    machines: Timeline | None = None

    @property
    def title(self) -> str:
        return self.out.rstrip("/").rpartition("/")[2] or self.out

    @property
    def state(self) -> str:
        return status.state_in_words(self.figures)

    @property
    def charts(self) -> charts.Charts | None:
        return charts.charts(self.runs, self.figures.counts.total, self.undated) if self.runs else None

    @property
    def left_out(self) -> list[str]:
        return texts.first_lines([wording.left_out_kind(kind) for kind in self.figures.left_out], " kinds")


def manifest_subject(path: Path, folder: Path, framed: Framing) -> Subject:
    """Of the manifest at `path`, for a page in `folder`. Raises BatchgrayError."""
    document, running = status.load(path)
    path = path.absolute()
    out, name_of = document.output_folder(path), outcome.naming(document)
    runs = sessions.sessions(document, running, time.time_ns() // 1_000_000)
    done = [image for image in document.images if image.state == "done"]
    chosen = [document.images[index] for index in pictures.choose(document.images)]
    return Subject(
        out=str(out),
        manifest=str(path),
        options=document.options,
        max_pixels=document.max_pixels,
        inputs=document.input_roots,
        versions=list(dict.fromkeys(run.run.batchgray for run in runs)) or [document.batchgray],
        figures=status.status_of(document, running, path),
        running=running,
        runs=runs,
        undated=sum(image.finished for image in document.images) - sum(len(run.converted) for run in runs),
        interruptions=document.interruptions,
        earlier=[item for item in document.interruptions if item.run is None],
        failures=[(name_of(image), image.error or "") for image in document.images if image.state == "failed"],
        pairs=_folder_gallery(document, out, folder, name_of).pairs(chosen, framed),
        notes=_notes(done, name_of),
    )


def job_subject(name: str, stores: StoreOptions, folder: Path, framed: Framing, look: bool = True) -> Subject:
    """Of the job in the place of this name, for a page in `folder`. Raises BatchgrayError.

    `look` is as with `job_status.first_status`.
    """
    with viewing(name, stores) as view:
        return steadily(view, lambda view: _of_job(view, stores, folder, framed, look))


def _of_job(view: JobView, stores: StoreOptions, folder: Path, framed: Framing, look: bool) -> Subject:
    found = job_status.first_status(view, look)
    stays = view.stays(_STAYS)
    sample = list(_sampled(view))
    gallery = _job_gallery(view, stores, folder, sample)
    runs = busy_times(stays) or times_of(view.finished())
    return Subject(
        out=view.place.name,
        manifest=view.name,
        options=view.head.options,
        max_pixels=view.head.max_pixels,
        inputs=view.head.inputs,
        versions=[view.head.batchgray],
        figures=found,
        running=found.state == "running",
        runs=runs,
        undated=max(0, found.counts.done - sum(run.images for run in runs)),
        interruptions=found.interruptions,
        earlier=[],
        failures=[
            (failure.path if view.head.inputs[1:] else failure.source, failure.error) for failure in found.failures
        ],
        pairs=gallery.pairs(_chosen(view, sample), framed),
        notes=_notes(sample, gallery.name_of),
        machines=timeline(stays),
    )


def _notes(images: Iterable[Image], name_of: Callable[[Image], str]) -> list[texts.Shared]:
    """What is to know of converted images: the words, of how many, and the names of the first."""
    return texts.shared((name_of(image), image.note) for image in images if image.note)[:_NOTES]


def _sampled(view: JobView) -> Iterator[Image]:
    """The images of a few shares that were begun: of those with failures, and some taken evenly."""
    begun = [share for share in view.shares() if share.state not in ("waiting", None)]
    failed = [share.name for share in begun if share.counts["failed"]][: _SAMPLED_SHARES // 2]
    step = -(-len(begun) // _SAMPLED_SHARES) or 1
    return view.sample(dict.fromkeys([*failed, *(share.name for share in begun[::step])]), _SAMPLED_SHARES)


def _chosen(view: JobView, sample: Sequence[Image]) -> list[Image]:
    most = pictures.MOST_FETCHED if any(map(is_url, (view.place.name, *view.head.inputs))) else pictures.MOST
    return [sample[index] for index in pictures.choose(sample, most)[:most]]


def _folder_gallery(document: Manifest, out: Path, folder: Path, name_of: Callable[[Image], str]) -> Gallery:
    roots = document.input_roots
    return Gallery(
        source_of=lambda image: _source_file(Path(roots[image.root]), folder, image),
        output_of=lambda image, name: _output_file(out, folder, image, name),
        name_of=name_of,
        outputs=frozenset(image.output for image in document.images),
    )


def _job_gallery(view: JobView, stores: StoreOptions, folder: Path, sample: Iterable[Image]) -> Gallery:
    out = view.place.name

    def source_of(image: Image) -> Original:
        place = view.head.inputs[image.root]
        if is_url(place):
            return pictures.object_original(place, stores, image.source, image)
        return _source_file(Path(place), folder, image)

    def output_of(image: Image, name: str) -> Original:
        if is_url(out):
            return pictures.object_original(out, stores, name, image)
        return _output_file(Path(out), folder, image, name)

    names = outcome.naming(manifest_for(view.head, []))
    return Gallery(
        source_of=source_of,
        output_of=output_of,
        name_of=names,
        outputs=frozenset(image.output for image in sample),
    )


def _source_file(root: Path, folder: Path, image: Image) -> Original:
    return pictures.file_original(root / image.source, folder, lambda found: pictures.fault_of_source(image, found))


def _output_file(out: Path, folder: Path, image: Image, name: str) -> Original:
    return pictures.file_original(out / name, folder, lambda found: pictures.fault_of_output(image, name, found))
