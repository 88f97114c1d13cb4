"""The report: one self-contained page to look at, of pictures, progress over time, interruptions and failures.

Everything is in the page: pictures as data: URIs, style and script inline, and a policy that lets the browser fetch
nothing. Names come from strangers' disks: whatever the template prints is escaped, and `shown` makes control characters
and marks that turn the direction of writing harmless.
"""

import base64
import hashlib
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import jinja2
import msgspec
from markupsafe import Markup

from batchgray import errors, machine, quantities, texts
from batchgray._version import __version__
from batchgray.checkpoints.preview import name_of as preview_of
from batchgray.commands import sessions, status
from batchgray.commands.report import charts, thumbnails
from batchgray.errors import ImageError, shown
from batchgray.manifest import outcome
from batchgray.manifest.records import Image, Manifest
from batchgray.progress import wording
from batchgray.records import InputVersion
from batchgray.storage import durable
from batchgray.storage.guards import may_be_cut_off, without_dots

# A page of ours has this in its first bytes.
_OURS = b'<meta name="generator" content="batchgray '
_HEAD_BYTES = 500

_PICTURES = 60
_SPECIAL_PICTURES = 12  # of each kind
_PICTURE_SIDE = 256
_DRAWING_THREADS = 4
_ROWS = 100
_RUNS = 500
_NOTES = 50

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A small picture as a data: URI, or why there is none. `href` leads to the file, relative to the page."""

    href: str = ""
    data: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image with the pictures of its source and, where there is one, of its result."""

    name: str
    image: Image
    source: Picture
    result: Picture | None


def write(path: Path, html: Path | None = None) -> Path:
    """Write the report of the manifest at `path` to `html`, or beside the manifest. Returns where it is.

    Raises BatchgrayError; ForeignReport where the file there is not a report of batchgray.
    """
    document, running = status.load(path)
    target = (path.with_name("report.html") if html is None else html).absolute()
    _refuse_foreign(target)
    page = _page(document, running, path.absolute(), target.parent)
    data, temporary = page.encode("utf-8", "backslashreplace"), target.with_name(f".{target.name}.tmp")
    if not may_be_cut_off(temporary, data[: data.index(_OURS) + len(_OURS)]):
        raise errors.ForeignReport(temporary)
    try:
        with durable.Folder.at(target.parent) as folder, folder.saving(target.name, temporary.name) as file:
            file.append(data)
    except OSError as error:
        raise errors.UnwritableReport(target, error.strerror) from None
    return target


def _refuse_foreign(target: Path) -> None:
    if not os.path.lexists(target):
        return
    if not os.path.isfile(target):
        raise errors.ForeignReport(target)
    try:
        with target.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise errors.UnwritableReport(target, error.strerror) from None
    if _OURS not in head:
        raise errors.ForeignReport(target)


def _page(document: Manifest, running: bool, path: Path, folder: Path) -> str:
    """The page as HTML, to lie in `folder`."""
    figures, out, name_of = (
        status.status_of(document, running, path),
        document.output_folder(path),
        outcome.naming(document),
    )
    runs = sessions.sessions(document, running, time.time_ns() // 1_000_000)
    done = [image for image in document.images if image.state == "done"]
    undated = sum(image.finished for image in document.images) - sum(len(run.converted) for run in runs)
    failures = [(name_of(image), image.error or "") for image in document.images if image.state == "failed"]
    script = _text("report.js")
    return _templates.get_template("report.html").render(
        version=__version__,
        now=datetime.now(UTC),
        style=Markup(_text("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        out=out,
        document=document,
        state=status.state_in_words(figures),
        running=running,
        counts=figures.counts,
        pixels=figures.pixels,
        source_bytes=figures.source_bytes,
        output_bytes=figures.output_bytes,
        resume=figures.resume or "",
        runs=runs,
        runs_listed=_RUNS,
        charts=charts.charts(runs, figures.counts.total, undated) if runs else None,
        undated=undated,
        earlier=[item for item in document.interruptions if item.run is None],
        failures=failures,
        failures_json=_json([[shown(name), shown(error)] for name, error in failures]),
        rows=_ROWS,
        pairs=_draw(document, out, folder, name_of),
        notes=_notes(done, name_of),
        path=path,
        versions=list(dict.fromkeys(run.run.batchgray for run in runs)) or [document.batchgray],
        left_out=texts.first_lines([wording.left_out_kind(kind) for kind in figures.left_out], " kinds"),
    )


def _notes(done: Iterable[Image], name_of: Callable[[Image], str]) -> list[texts.Shared]:
    """What is to know of converted images: the words, of how many, and the names of the first."""
    return texts.shared((name_of(image), image.note) for image in done if image.note)[:_NOTES]


# pictures


def choose(images: Sequence[Image]) -> list[int]:
    """The images to be drawn: partial ones, one of each reason to fail, and finished ones, evenly and of each note."""
    of: dict[str, list[int]] = {"partial": [], "failed": [], "done": [], "pending": [], "gone": []}
    for index, image in enumerate(images):
        of[image.state].append(index)
    partials = _evenly(of["partial"], _SPECIAL_PICTURES)
    failed = _of_each_kind(of["failed"], lambda index: images[index].error)
    noted = _of_each_kind(of["done"], lambda index: images[index].note)
    plain = sorted(set(of["done"]) - set(noted))
    return partials + failed + sorted(noted + _evenly(plain, _PICTURES - len(partials) - len(failed) - len(noted)))


def _of_each_kind(indices: Iterable[int], words_of: Callable[[int], str | None]) -> list[int]:
    """The first of each, whatever the numbers in the words."""
    first: dict[str, int] = {}
    for index in indices:
        words = words_of(index)
        if words and len(first) < _SPECIAL_PICTURES:
            first.setdefault(re.sub(r"\d+", "0", words), index)
    return list(first.values())


def _evenly(items: Sequence[_T], count: int) -> list[_T]:
    return [items[index * len(items) // count] for index in range(count)] if len(items) > count else list(items)


def _draw(document: Manifest, out: Path, folder: Path, name_of: Callable[[Image], str]) -> list[Pair]:
    outputs = {image.output for image in document.images}

    def pair(image: Image) -> Pair:
        source = Path(document.input_roots[image.root], image.source)
        result = None
        if image.state == "done":
            result = _picture(out / image.output, folder, lambda found: _fault_of_output(image, found))
        elif image.state == "partial" and (preview := preview_of(image.output)) not in outputs:
            result = _picture(out / preview, folder, lambda found: None)
        return Pair(
            name=name_of(image),
            image=image,
            source=_picture(source, folder, lambda found: _fault_of_source(image, found)),
            result=result,
        )

    # The codec's own filters of warnings are the whole process's, so threads change them for each other.
    with (
        warnings.catch_warnings(action="ignore"),
        ThreadPoolExecutor(min(_DRAWING_THREADS, machine.usable_cores())) as pool,
    ):
        return list(pool.map(pair, [document.images[index] for index in choose(document.images)]))


def _fault_of_source(image: Image, found: os.stat_result) -> str | None:
    if image.state == "failed":  # perhaps it was fatal to the codec: it is not decoded here
        return image.error
    changed = not InputVersion.of(found).is_same(image.version)
    return "its file has changed since" if changed else None


def _fault_of_output(image: Image, found: os.stat_result) -> str | None:
    if found.st_size == image.output_size:
        return None
    return f"{found.st_size} bytes instead of {image.output_size}"


def _picture(path: Path, folder: Path, fault_of: Callable[[os.stat_result], str | None]) -> Picture:
    """The picture of a file as it is to be seen from a page in `folder`."""
    try:
        fault = fault_of(path.stat())
    except OSError as error:
        return Picture(reason=(error.strerror or str(error)).lower())
    href = quote(os.fsencode(os.path.relpath(without_dots(path), without_dots(folder))))
    if fault:
        return Picture(href=href, reason=fault)
    try:
        jpeg = thumbnails.thumbnail(str(path), _PICTURE_SIDE)
    except ImageError as error:
        return Picture(href=href, reason=str(error))
    return Picture(href=href, data=f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}")


# the page


def _text(name: str) -> str:
    return (resources.files("batchgray.commands.report") / "templates" / name).read_text("utf-8")


def _json(value: Any) -> Markup:
    """JSON that may stand in a script element, whatever the names in it."""
    text = msgspec.json.encode(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _safe(value: Any) -> Any:
    """What a template prints: text and paths in visible characters; the rest as it is, to be escaped too."""
    if isinstance(value, Markup):
        return value
    return shown(str(value)) if isinstance(value, str | os.PathLike) else value


def _moment(at: datetime | int | str) -> str:
    """`2026-11-22 18:00:00`, in UTC, from a datetime, milliseconds since 1970, or ISO 8601."""
    if isinstance(at, int):
        at = datetime.fromtimestamp(at / 1000, UTC)
    return at.replace("T", " ").removesuffix("Z") if isinstance(at, str) else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("batchgray.commands.report"),
    autoescape=True,
    finalize=_safe,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    moment=_moment,
    size=quantities.size,
    duration=quantities.duration,
    rounded_duration=quantities.rounded_duration,
    grouped=lambda count: f"{count:,}",
    megapixels=quantities.megapixels,
    rate=quantities.rate,
)
