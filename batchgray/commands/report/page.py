"""The report: one self-contained page to look at, of pictures, progress over time, interruptions and failures.

Everything is in the page: pictures as data: URIs, style and script inline, and a policy that lets the browser fetch
nothing. Names come from strangers' disks: whatever the template prints is escaped, and `shown` makes control characters
and marks that turn the direction of writing harmless.
"""

import base64
import hashlib
import os
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from batchgray import errors, quantities
from batchgray._version import __version__
from batchgray.commands.report.pictures import embedded
from batchgray.commands.report.subject import Subject, job_subject, manifest_subject
from batchgray.errors import shown
from batchgray.storage import durable
from batchgray.storage.guards import may_be_cut_off
from batchgray.storage.names import is_url
from batchgray.storage.urls import StoreOptions

# A page of ours has this in its first bytes.
_OURS = b'<meta name="generator" content="batchgray '
_HEAD_BYTES = 500

_ROWS = 100
_RUNS = 500


def write(path: Path, html: Path | None = None) -> Path:
    """Write the report of the manifest at `path` to `html`, or beside the manifest. Returns where it is.

    Raises BatchgrayError; ForeignReport where the file there is not a report of batchgray.
    """
    target = (path.with_name("report.html") if html is None else html).absolute()
    _refuse_foreign(target)
    return _write(target, manifest_subject(path, target.parent, embedded))


def write_job(name: str, stores: StoreOptions, html: Path | None = None) -> Path:
    """The same of the job in the place of this name; of one in a store to the working folder, where `html` is None."""
    target = (Path("report.html" if is_url(name) else f"{name}/report.html") if html is None else html).absolute()
    _refuse_foreign(target)
    return _write(target, job_subject(name, stores, target.parent, embedded))


def _write(target: Path, subject: Subject) -> Path:
    page = rendered(subject)
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


def rendered(subject: Subject, number: int = 0) -> str:
    """The page as HTML. One with a number is live: it asks where it came from for a later one."""
    live = number > 0
    script = _text("report.js") + (_text("live.js") if live else "")
    return _templates.get_template("report.html").render(
        version=__version__,
        now=datetime.now(UTC),
        style=Markup(_text("report.css")),
        script=Markup(script),
        policy=policy(script, live),
        live=live,
        number=number,
        of=subject,
        counts=subject.figures.counts,
        charts=subject.charts,
        runs=subject.runs,
        runs_listed=_RUNS,
        failures_json=_json([[shown(name), shown(error)] for name, error in subject.failures]),
        rows=_ROWS,
    )


def policy(script: str, live: bool) -> str:
    """What the page lets a browser fetch and run: itself, and live the pictures and changes of where it came from."""
    number = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    images, fetched = ("'self'", "; connect-src 'self'") if live else ("data:", "")
    return (
        f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; script-src 'sha256-{number}'{fetched}; "
        "base-uri 'none'; form-action 'none'"
    )


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
