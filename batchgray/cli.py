"""The command line: options, exit codes, and which words go where. No logic."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

import batchgray
from batchgray import errors, options, progress
from batchgray.errors import BatchgrayError, UsageError, shown

EXIT_CODES = """\b
Exit codes:
  0   every image is done
  1   a fatal error; what was done is kept
  2   usage or configuration error, found before any work
  3   finished, but some images failed (verify: some outputs are damaged)
  75  interrupted; everything is flushed, and `batchgray resume` goes on
"""

_PATH = click.Path(path_type=Path)


def option(*names: str, **settings: Any) -> Callable[[Callable], Callable]:
    """A click option that BATCHGRAY_<OPTION> in the environment can give too."""
    long_name = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "BATCHGRAY_" + long_name.removeprefix("--").upper().replace("-", "_")
    return click.option(*names, envvar=variable, **settings)


def options_of_both(command: Callable) -> Callable:
    """The options of run and resume that change no byte of any output."""
    for decorate in reversed(
        [
            option(
                "--workers", type=click.IntRange(1), help="Worker processes.  [default: the physical cores to be had]"
            ),
            option(
                "--memory",
                metavar="SIZE",
                help="Upper bound for image planes in flight.  [default: 60% of what is available]",
            ),
            option(
                "--checkpoint",
                type=float,
                default=5.0,
                show_default=True,
                metavar="SECONDS",
                help="The most a power cut can cost.",
            ),
            option(
                "--grace",
                type=float,
                default=30.0,
                show_default=True,
                metavar="SECONDS",
                help="From SIGTERM to the workers until they are killed and salvaged.",
            ),
            option(
                "--progress",
                type=click.Choice(["auto", "bar", "plain", "json", "none"]),
                default="auto",
                show_default=True,
                help="How to tell what happens; json is one object a line on standard output.",
            ),
            option(
                "--notices",
                type=click.Choice(["none"]),
                default="none",
                show_default=True,
                help="Where interruption notices come from. Signals always count.",
            ),
        ]
    ):
        command = decorate(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(batchgray.__version__, message="batchgray %(version)s")
def cli() -> None:
    """Convert folders of images to grayscale, be interrupted, and go on as if nothing had happened."""


@cli.command(epilog=EXIT_CODES)
@click.argument("inputs", nargs=-1, type=_PATH, metavar="INPUT...")
@option("--out", required=True, type=_PATH, metavar="DIR", help="Where the grayscale images go.")
@option("--manifest", type=_PATH, metavar="PATH", help="The resumable manifest.  [default: DIR/manifest.json]")
@option(
    "--method", type=click.Choice(["bt601", "bt709", "luma"]), default="bt601", show_default=True, help="The weights."
)
@option(
    "--format", "format_", type=click.Choice(["jpeg", "png"]), default="jpeg", show_default=True, help="Output format."
)
@option("--quality", type=click.IntRange(1, 100), default=75, show_default=True, help="JPEG quality.")
@option(
    "--metadata", type=click.Choice(["keep", "strip"]), default="keep", show_default=True, help="Keep EXIF, or not."
)
@option("--tile-rows", type=click.IntRange(1), help="Rows in a tile, rounded up to a multiple of 8.  [default: auto]")
@option(
    "--max-pixels",
    type=click.IntRange(1),
    default=1_000_000_000,
    show_default=True,
    help="Larger images fail before they are decoded.",
)
@option("--include", multiple=True, metavar="GLOB", help="Take only images that match. May be repeated.")
@option("--exclude", multiple=True, metavar="GLOB", help="Leave out what matches, folders too. May be repeated.")
@option(
    "--files-from",
    type=click.Path(allow_dash=True, path_type=str),
    metavar="FILE",
    help="More INPUTs, one a line or NUL-separated; - is standard input.",
)
@option("--overwrite", is_flag=True, help="Start afresh, replacing outputs that are there.")
@option("--dry-run", is_flag=True, help="Print the plan, touch nothing.")
@options_of_both
def run(inputs: tuple[Path, ...], files_from: str | None, dry_run: bool, **given: Any) -> None:
    """Convert every image under the INPUTs (folders, files, or both) to grayscale under DIR.

    Given again on the same DIR, it goes on and picks up inputs that are new or changed.
    """
    from batchgray import engine

    named = inputs + (_listed_in(files_from) if files_from else ())
    if not named and not files_from:
        raise errors.NothingNamed
    asked = options.RunOptions(
        inputs=named,
        out=given["out"],
        manifest=given["manifest"],
        pixels=options.PixelOptions(
            method=given["method"],
            format=given["format_"],
            quality=given["quality"],
            tile_rows=given["tile_rows"],
            metadata=given["metadata"],
        ),
        engine=_engine_options(given),
        max_pixels=given["max_pixels"],
        include=given["include"],
        exclude=given["exclude"],
        overwrite=given["overwrite"],
    )
    if dry_run:
        _print_plan(engine.dry_run(asked), given["progress"] == "json")
        return
    with progress.listening(given["progress"]) as listener:
        result = engine.run(asked, listener, _sources())
    sys.exit(result.exit_code)


@cli.command(epilog=EXIT_CODES)
@click.argument("manifest", type=_PATH)
@option(
    "--input-root",
    multiple=True,
    type=_PATH,
    metavar="DIR",
    help="Where an input folder moved to; once for each, in the run's order.",
)
@options_of_both
def resume(manifest: Path, input_root: tuple[Path, ...], **given: Any) -> None:
    """Go on exactly where an interrupted or crashed run stopped."""
    from batchgray import engine

    asked = options.ResumeOptions(manifest=manifest, engine=_engine_options(given), input_roots=input_root)
    with progress.listening(given["progress"]) as listener:
        result = engine.resume(asked, listener, _sources())
    sys.exit(result.exit_code)


@cli.command()
@click.argument("manifest", type=_PATH)
@option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(manifest: Path, as_json: bool) -> None:
    """Tell what is done, partial, pending and failed, and when and why it was interrupted."""
    from batchgray import status as module

    found = module.status(manifest)
    click.echo(_json(found) if as_json else "\n".join(module.status_lines(found, manifest)))


@cli.command(epilog=EXIT_CODES)
@click.argument("manifest", type=_PATH)
@option("--json", "as_json", is_flag=True, help="One JSON object.")
@option("--mend", is_flag=True, help="Mark damaged outputs pending, so that resume makes them anew.")
def verify(manifest: Path, as_json: bool, mend: bool) -> None:
    """Re-read every output against the manifest: there, right size, right checksum, decodes."""
    from batchgray import verify as module

    verdict = module.verify(manifest, mend)
    if as_json:
        click.echo(_json(verdict))
    else:
        for damage in verdict.damaged:
            click.echo(f"damaged: {damage.output}: {damage.fault}")
        click.echo(f"{verdict.checked} outputs checked, {len(verdict.damaged)} damaged.")
        if verdict.mended:
            click.echo(f"Marked pending. To make them anew: batchgray resume {manifest}")
        elif verdict.damaged:
            click.echo(f"To mend them: batchgray verify --mend {manifest}, then batchgray resume {manifest}")
    sys.exit(3 if verdict.damaged else 0)


def _engine_options(given: dict[str, Any]) -> options.EngineOptions:
    known = {name: given[name] for name in ("workers", "checkpoint", "grace") if given[name] is not None}
    if given["memory"]:
        known["memory"] = options.parse_size(given["memory"])
    return options.EngineOptions(**known)


def _sources() -> list[Any]:
    from batchgray.notices.signals import SignalSource

    return [SignalSource()]


def _listed_in(name: str) -> tuple[Path, ...]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise errors.UnreadableList(name, error.strerror) from None
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    return tuple(Path(os.fsdecode(line)) for line in names if line.strip())


def _print_plan(plan: Any, as_json: bool) -> None:
    for index in plan.todo:
        image = plan.manifest.images[index]
        source, output = shown(plan.source_path(image)), shown(str(plan.out / image.output))
        click.echo(json.dumps({"source": source, "output": output}) if as_json else f"{source} -> {output}")
    if not as_json:
        click.echo(f"{len(plan.todo)} images to convert, {plan.already_done} done already. Nothing was touched.")


def _json(record: msgspec.Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(record), indent=2).decode()


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"batchgray: {message}", err=True)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program. Ends with the exit codes of the contract, and with a sentence instead of a traceback."""
    try:
        cli.main(args=arguments, prog_name="batchgray", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted before any work.", 75)
    except UsageError as error:
        _fail(f"error: {error}", error.exit_code)
    except BatchgrayError as error:
        _fail(f"{'' if error.exit_code == 75 else 'fatal: '}{error}", error.exit_code)
    sys.exit(0)
