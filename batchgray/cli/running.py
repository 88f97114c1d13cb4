"""The commands that convert: run and resume."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, get_args

import click

from batchgray import errors, options
from batchgray.cli import parsing
from batchgray.cli.flags import option, options_of_both
from batchgray.cli.help import EXIT_CODES, Command
from batchgray.cli.streams import as_json_line, leave, say
from batchgray.cli.values import ANY_PLACE, MANIFEST, PLACE, Choice, Name, Whole


@click.command(cls=Command, short_help="Convert folders of images, or go on with it.", epilog=EXIT_CODES)
@click.argument("inputs", nargs=-1, type=ANY_PLACE, metavar="INPUT...")
@option(
    "--out",
    required=True,
    type=PLACE,
    metavar="DIR-OR-URL",
    help="Where the grayscale images go: a folder, or oss://, s3://, gs:// or az:// with BUCKET/PREFIX.",
)
@option(
    "--base",
    type=PLACE,
    metavar="DIR-OR-URL",
    help="Inputs below it keep their path from there, however they are named: folder, file or list.",
)
@option("--job", is_flag=True, help="Keep a job in shares, for long lists and stores. A run over a URL always does.")
@option("--manifest", type=ANY_PLACE, metavar="PATH", help="The resumable manifest.  [default: DIR/manifest.json]")
@option(
    "--method",
    type=Choice(get_args(options.Method)),
    default="bt601",
    show_default=True,
    help="The weights of red, green and blue; luma is a JPEG's own Y'.",
)
@option(
    "--format",
    "format_",
    type=Choice(get_args(options.Format)),
    default="jpeg",
    show_default=True,
    help="Output format.",
)
@option("--quality", type=Whole(options.QUALITY), metavar="1..100", default=75, show_default=True, help="JPEG quality.")
@option(
    "--compression",
    type=Whole(options.COMPRESSION),
    metavar="0..9",
    default=2,
    show_default=True,
    help="PNG effort, from none to the smallest file; the pixels are the same.",
)
@option(
    "--metadata",
    type=Choice(get_args(options.Metadata)),
    default="keep",
    show_default=True,
    help="Keep EXIF, XMP and IPTC, or of EXIF the orientation alone.",
)
@option(
    "--background",
    default="none",
    show_default=True,
    metavar="COLOUR",
    help="Composite what is transparent over this colour (white, '#1a2b3c') first. none: the colour under it counts.",
)
@option(
    "--tile-rows",
    type=Whole(options.TILE_ROWS),
    metavar="N",
    help="Rows in a tile, rounded up to a multiple of 8.  [default: auto]",
)
@option(
    "--max-pixels",
    type=Whole(options.MAX_PIXELS),
    metavar="N",
    default=1_000_000_000,
    show_default=True,
    help="Larger images fail before they are decoded.",
)
@option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Take only images whose name matches; *.JPG is not *.jpg. May be repeated.",
)
@option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out what matches, folders too; with a / it is the path below the INPUT. May be repeated.",
)
@option(
    "--files-from",
    type=Name(allow_dash=True, path_type=str),
    metavar="FILE",
    help="More INPUTs, one a line or NUL-separated; - is standard input. Without --base, listed files come out at the "
    "top of --out, whatever folder they are in.",
)
@option(
    "--follow-links",
    is_flag=True,
    help="Walk into links to folders too. What several ways lead to is converted once for each, as with rsync -L.",
)
@option("--overwrite", is_flag=True, help="Start afresh, replacing outputs that are there.")
@option("--dry-run", is_flag=True, help="Print the plan, touch nothing.")
@options_of_both
def run(inputs: tuple[str, ...], files_from: str | None, dry_run: bool, **given: Any) -> None:
    """Convert every image under the INPUTs (folders, files, or both) to grayscale under DIR.

    Given again on the same DIR, it goes on and picks up inputs that are new or changed.

    An INPUT may also be a URL: oss://, s3://, gs:// or az:// with BUCKET/PREFIX.
    """
    named = inputs + (parsing.listed_in(files_from) if files_from else ())
    if parsing.is_job(named, given):
        parsing.refuse_for_jobs(given)
        of_job = options.JobOptions(inputs=named, **parsing.run_options(given))
        if dry_run:
            _print_job_plan(of_job, given)
            return
        _work_on_job(given["out"], given, lambda job, means: job.run_job(of_job, means))
    asked = options.RunOptions(inputs=named, manifest=given["manifest"], **parsing.run_options(given))
    if dry_run:
        with _measuring(given, None):  # what it refuses
            _print_plan(asked, given)
        return
    with _forking() as server:
        from batchgray.engine import runs

        with _listening(given) as feed, _measuring(given, feed) as listener:
            result = runs.run(asked, listener, _sources(given, feed.abandon_reader), server, feed.ready)
    leave(result.exit_code)


@click.command(cls=Command, short_help="Go on where a run stopped.", epilog=EXIT_CODES)
@click.argument("manifest", type=MANIFEST)
@option(
    "--input-root",
    multiple=True,
    type=PLACE,
    metavar="DIR-OR-URL",
    help="Where an input folder moved to, or a job's INPUT; once for each, in the run's order.",
)
@options_of_both
def resume(manifest: Path | str, input_root: tuple[str, ...], **given: Any) -> None:
    """Go on exactly where an interrupted or crashed run stopped."""
    if isinstance(manifest, str):
        _resume_job(manifest, input_root, given)
    if given["join"] or given["shard"] or given["engine"] == "ray":
        _resume_job(str(Path(manifest).parent), input_root, given)
    try:
        _resume_run(manifest, input_root, given)
    except errors.IsJob:
        _resume_job(str(Path(manifest).parent), input_root, given)


def _resume_run(manifest: Path | str, input_root: tuple[str, ...], given: dict[str, Any]) -> NoReturn:
    asked = options.ResumeOptions(
        manifest=manifest,
        engine=parsing.engine_options(given),
        input_roots=tuple(map(Path, input_root)),
        prune=given["prune"],
    )
    with _forking() as server:
        from batchgray.engine import runs

        with _listening(given) as feed, _measuring(given, feed) as listener:
            result = runs.resume(asked, listener, _sources(given, feed.abandon_reader), server, feed.ready)
    leave(result.exit_code)


def _resume_job(place: str, input_root: tuple[str, ...], given: dict[str, Any]) -> NoReturn:
    engine = parsing.engine_options(given)
    _work_on_job(place, given, lambda job, means: job.resume_job(place, engine, means, input_root, given["prune"]))


def _work_on_job(place: str | Path, given: dict[str, Any], work: Callable[[Any, Any], int]) -> NoReturn:
    working = _driving if given["engine"] == "ray" else _joining
    with working(str(place), given) as means:
        from batchgray.engine import job

        exit_code = work(job, means)
    leave(exit_code)


@contextlib.contextmanager
def _joining(place: str, given: dict[str, Any]) -> Iterator[Any]:
    """This machine's means."""
    with _forking() as server:
        from batchgray.engine import job

        with _listening(given) as feed:
            yield job.Means(
                stores=parsing.store_options(given),
                emit=feed,
                sources=_sources(given, feed.abandon_reader),
                server=server,
                ready=feed.ready,
                fleet=parsing.fleet_options(given),
            )


@contextlib.contextmanager
def _driving(place: str, given: dict[str, Any]) -> Iterator[Any]:
    """Those of a driver on a Ray cluster. Raises UsageError."""
    from batchgray import events
    from batchgray.engine import job
    from batchgray.engine.ray import driver
    from batchgray.notices.listeners import choose_fleet_listeners

    if given["shard"]:
        raise errors.UsageError(
            "--shard is for schedulers that number their tasks; --engine ray gives out shares itself."
        )
    with _listening(given) as feed:
        engine = parsing.engine_options({**given, "workers": None})
        arguments, url = parsing.node_arguments(place, given), given["metadata_url"]
        with driver.driving(
            given["ray_address"],
            arguments,
            given["workers"],
            engine.grace,
            url,
            lambda node, message: feed(events.Node(node=node, message=message)),
        ) as fleet:
            own, listener = choose_fleet_listeners(parsing.notice_options(given), feed.abandon_reader, fleet.is_node)
            yield job.Means(
                stores=parsing.store_options(given),
                emit=feed,
                sources=driver.heard_by(fleet, own, listener),
                server=None,
                ready=feed.ready,
                fleet=options.FleetOptions(join=True),
                crew=fleet,
            )


def _listening(given: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    from batchgray.progress import listeners

    amount: listeners.Amount = "quiet" if given["quiet"] else "verbose" if given["verbose"] else "normal"
    return listeners.listening(
        given["progress"], amount, os.environ.get("TERM", ""), os.environ.get("JOURNAL_STREAM", "")
    )


def _measuring(given: dict[str, Any], listener: Any) -> contextlib.AbstractContextManager[Any]:
    """The listener, and where a file of metrics is asked for, what writes it before it. Raises ExtraMissing."""
    if given["metrics"] is None:
        return contextlib.nullcontext(listener)
    try:
        from batchgray.progress import metrics
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise errors.ExtraMissing("--metrics", "prometheus_client", "metrics") from None
    return metrics.measuring(given["metrics"], listener)


def _forking() -> contextlib.AbstractContextManager[Any]:
    """The fork server. It boots while the rest of this program is imported, which takes about as long."""
    from batchgray.workers import forkserver

    return forkserver.forking()


def _sources(given: dict[str, Any], afterwards: Callable[[], object]) -> list[Any]:
    from batchgray.notices.listeners import choose_listeners

    return choose_listeners(parsing.notice_options(given), afterwards)


def _say_left_out(event: Any) -> None:
    from batchgray.progress import wording

    for line in wording.lines_for_image(event):
        say(line)


def _print_plan(asked: options.RunOptions, given: dict[str, Any]) -> None:
    from batchgray.commands import plan as module
    from batchgray.engine import runs

    # Signals end it as they end any command that reads: there is nothing to flush.
    sources = [source for source in _sources(given, lambda: None) if source.name != "signals"]
    if given["progress"] == "json":
        plan = runs.dry_run(asked, sources, lambda event: say(as_json_line(event)))
        for event in module.conversions(plan):
            say(as_json_line(event))
    else:
        plan = runs.dry_run(asked, sources, _say_left_out if given["verbose"] else lambda event: None)
        for line in module.plan_lines(plan):
            say(line)


def _print_job_plan(asked: options.JobOptions, given: dict[str, Any]) -> None:
    from batchgray.commands import plan as words
    from batchgray.commands.job_plan import JobPlan
    from batchgray.engine import job_opening

    stores = parsing.store_options(given)
    plan, todo = JobPlan(asked, job_opening.refuse_job(asked, stores), stores), 0
    for event in plan.conversions():
        say(as_json_line(event) if given["progress"] == "json" else words.line_of(event))
        todo += 1
    if given["progress"] != "json":
        say(words.end_line(todo, plan.already_done))
