"""The command line: options, exit codes, and which words go where. No logic."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
from click.shell_completion import get_completion_class

from batchgray import errors, events, options, spelling
from batchgray._version import __version__
from batchgray.cli.flags import (
    FOLDER,
    IDENTITY_OPTIONS,
    MANIFEST,
    NO_LOCK,
    PATH,
    QUEUE_OPTIONS,
    WORD,
    Choice,
    Name,
    option,
    options_of_both,
    queue_options,
    unknown_variables,
)
from batchgray.cli.streams import hold_standard_descriptors, show_any_name, write_utf8
from batchgray.errors import BatchgrayError, UsageError, shown
from batchgray.progress.outlet import Outlet

_LEAST_MEMORY = 1 << 20  # less is a forgotten unit
_END_SECONDS = 3.0
_WARNING_SECONDS = 1.0
EXIT_CODES = """\b
Exit codes:
  0   every image is done
  1   a fatal error; what was done is kept
  2   usage or configuration error, found before any work
  3   finished, but some images failed (verify: some outputs are damaged)
  75  interrupted; everything is flushed, and `batchgray resume` goes on
"""


class _Command(click.Command):
    """Its help is an answer like any other (see `_say`)."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        found = super().get_help_option(ctx)
        if found is not None:
            found.callback = _show_help
        return found


class _Group(_Command, click.Group):
    command_class = _Command
    group_class = type


def _show_help(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        _say(ctx.get_help())
        ctx.exit()


def _show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        _say(f"batchgray {__version__}")
        ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Convert folders of images to grayscale, be interrupted, and go on as if nothing had happened."""
    warnings = [f"batchgray: warning: {message}" for message in unknown_variables(ctx.command, os.environ)]
    if warnings:
        _tell("\n".join(warnings), _WARNING_SECONDS)


@cli.command(short_help="Convert folders of images, or go on with it.", epilog=EXIT_CODES)
@click.argument("inputs", nargs=-1, type=PATH, metavar="INPUT...")
@option("--out", required=True, type=FOLDER, metavar="DIR", help="Where the grayscale images go.")
@option("--manifest", type=PATH, metavar="PATH", help="The resumable manifest.  [default: DIR/manifest.json]")
@option(
    "--method",
    type=Choice(["bt601", "bt709", "luma"]),
    default="bt601",
    show_default=True,
    help="The weights of red, green and blue; luma is a JPEG's own Y'.",
)
@option("--format", "format_", type=Choice(["jpeg", "png"]), default="jpeg", show_default=True, help="Output format.")
@option("--quality", type=click.IntRange(1, 100), default=75, show_default=True, help="JPEG quality.")
@option(
    "--compression",
    type=click.IntRange(0, 9),
    default=2,
    show_default=True,
    help="PNG effort, from none to the smallest file; the pixels are the same.",
)
@option(
    "--metadata",
    type=Choice(["keep", "strip"]),
    default="keep",
    show_default=True,
    help="Keep EXIF, or of it the orientation alone.",
)
@option(
    "--background",
    default="none",
    show_default=True,
    metavar="COLOUR",
    help="Composite what is transparent over this colour (white, '#1a2b3c') first. none: the colour under it counts.",
)
@option("--tile-rows", type=click.IntRange(1), help="Rows in a tile, rounded up to a multiple of 8.  [default: auto]")
@option(
    "--max-pixels",
    type=click.IntRange(1),
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
    help="More INPUTs, one a line or NUL-separated; - is standard input.",
)
@option("--overwrite", is_flag=True, help="Start afresh, replacing outputs that are there.")
@option("--dry-run", is_flag=True, help="Print the plan, touch nothing.")
@options_of_both
def run(inputs: tuple[Path, ...], files_from: str | None, dry_run: bool, **given: Any) -> None:
    """Convert every image under the INPUTs (folders, files, or both) to grayscale under DIR.

    Given again on the same DIR, it goes on and picks up inputs that are new or changed.
    """
    named = inputs + (_listed_in(files_from) if files_from else ())
    asked = options.RunOptions(
        inputs=named,
        out=given["out"],
        manifest=given["manifest"],
        pixels=options.PixelOptions(
            method=given["method"],
            format=given["format_"],
            quality=given["quality"],
            compression=given["compression"],
            tile_rows=given["tile_rows"],
            metadata=given["metadata"],
            background=given["background"],
        ),
        engine=_engine_options(given),
        max_pixels=given["max_pixels"],
        include=given["include"],
        exclude=given["exclude"],
        overwrite=given["overwrite"],
        prune=given["prune"],
    )
    if dry_run:
        _print_plan(asked, given["progress"] == "json")
        return
    with _forking() as server:
        from batchgray.engine import runs

        with _listening(given) as feed:
            result = runs.run(asked, feed, _sources(given, feed.hurry), server, feed.ready)
    _leave(result.exit_code)


@cli.command(short_help="Go on where a run stopped.", epilog=EXIT_CODES)
@click.argument("manifest", type=MANIFEST)
@option(
    "--input-root",
    multiple=True,
    type=FOLDER,
    metavar="DIR",
    help="Where an input folder moved to; once for each, in the run's order.",
)
@options_of_both
def resume(manifest: Path, input_root: tuple[Path, ...], **given: Any) -> None:
    """Go on exactly where an interrupted or crashed run stopped."""
    asked = options.ResumeOptions(
        manifest=manifest, engine=_engine_options(given), input_roots=input_root, prune=given["prune"]
    )
    with _forking() as server:
        from batchgray.engine import runs

        with _listening(given) as feed:
            result = runs.resume(asked, feed, _sources(given, feed.hurry), server, feed.ready)
    _leave(result.exit_code)


@cli.command(short_help="Tell what is done, and what is not.")
@click.argument("manifest", type=MANIFEST)
@option("--json", "as_json", is_flag=True, help="As JSON.")
def status(manifest: Path, as_json: bool) -> None:
    """Tell what is done, partial, pending and failed, and when and why it was interrupted."""
    from batchgray.commands import status as module

    found = module.status(manifest)
    _say(_json(found) if as_json else "\n".join(module.status_lines(found)))


@cli.command(short_help="Re-read every output against the manifest.", epilog=EXIT_CODES)
@click.argument("manifest", type=MANIFEST)
@option("--json", "as_json", is_flag=True, help="As JSON.")
@option("--mend", is_flag=True, help="Mark damaged outputs pending, so that resume makes them anew.")
@NO_LOCK
def verify(manifest: Path, as_json: bool, mend: bool, no_lock: bool) -> None:
    """Re-read every output against the manifest: there, right size, right checksum, decodes."""
    from batchgray.commands import verify as module
    from batchgray.manifest import outcome

    verdict = module.verify(manifest, mend, locked=not no_lock)
    if as_json:
        _say(_json(verdict))
    else:
        quoted = outcome.quoted(str(manifest))
        for damage in verdict.damaged:
            _say(f"damaged: {shown(damage.output)}: {damage.fault}")
        outputs = f"{verdict.checked} output{'' if verdict.checked == 1 else 's'}"
        _say(f"{outputs} checked, {len(verdict.damaged)} damaged.")
        lost = sum(damage.gone for damage in verdict.damaged)
        if verdict.mended:
            _say(f"Marked pending. To make them anew: batchgray resume {quoted}")
        elif len(verdict.damaged) > lost:
            _say(f"To mend them: batchgray verify --mend {quoted}, then batchgray resume {quoted}")
        if lost:
            _say(f"{lost} of them can be made anew only when their input is back.")
    sys.exit(3 if verdict.damaged else 0)


@cli.command(short_help="Write one page to look at.", epilog=EXIT_CODES)
@click.argument("manifest", type=MANIFEST)
@option("--html", type=PATH, metavar="FILE", help="Where the page goes.  [default: report.html beside the manifest]")
def report(manifest: Path, html: Path | None) -> None:
    """Write one page to look at: pictures, progress over time, interruptions, failures."""
    from batchgray.commands.report import page as module

    _say(f"Report: {shown(str(module.write(manifest, html)))}")


@cli.group()
def smq() -> None:
    """The queue that interruption events come through."""


@smq.command(epilog=EXIT_CODES)
@click.argument("name", type=WORD)
@queue_options
def create(name: str, **given: Any) -> None:
    """Create the queue NAME; one that is there is left as it is."""
    from batchgray.notices import tools

    made = tools.create_queue(_notice_options({"smq_queue": name, **given}))
    _say(f"Queue {name} {'is made' if made else 'is there already, and was left as it is'}.")


@smq.command(epilog=EXIT_CODES)
@option("--instance-id", type=WORD, required=True, metavar="ID", help="Whose interruption to simulate.")
@QUEUE_OPTIONS[0]
@queue_options
def simulate(instance_id: str, **given: Any) -> None:
    """Send the interruption event that CloudMonitor's "Debug Event Subscription" would send."""
    from batchgray.notices import tools

    message_id = tools.simulate(_notice_options(given), instance_id)
    _say(f"Sent the interruption of {instance_id} to queue {given['smq_queue']} (message {message_id}).")


@cli.command(short_help="Check this machine, and say what to do.", epilog=EXIT_CODES)
@option("--json", "as_json", is_flag=True, help="As JSON.")
@QUEUE_OPTIONS[0]
@QUEUE_OPTIONS[1]
@IDENTITY_OPTIONS[0]
@IDENTITY_OPTIONS[1]
def doctor(as_json: bool, **given: Any) -> None:
    """Check this machine: cores, memory, shared memory, kernel, credentials, queue, instance id; say what to do."""
    from batchgray.commands import doctor as module

    findings = module.examine(_notice_options(given))
    if as_json:
        _say(_json(findings))
    else:
        _say("\n".join(module.finding_lines(findings)))
    sys.exit(1 if any(finding.verdict == "wrong" for finding in findings) else 0)


@cli.command(
    short_help="Print the script that completes in a shell.",
    epilog="""\b
To have it in every new shell:
  bash  echo 'eval "$(batchgray completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(batchgray completion zsh)"' >> ~/.zshrc      (below compinit)
  fish  batchgray completion fish > ~/.config/fish/completions/batchgray.fish
""",
)
@click.argument("shell", metavar="bash|zsh|fish", type=Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes batchgray's commands, options and names in bash, zsh or fish."""
    kind = get_completion_class(shell)
    assert kind is not None  # click knows all three
    _say(kind(cli, {}, "batchgray", "_BATCHGRAY_COMPLETE").source())


def _listening(given: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    from batchgray.progress import listeners

    amount: listeners.Amount = "quiet" if given["quiet"] else "verbose" if given["verbose"] else "normal"
    return listeners.listening(given["progress"], amount, os.environ.get("TERM", ""))


def _forking() -> contextlib.AbstractContextManager[Any]:
    """The fork server. It boots while the rest of this program is imported, which takes about as long."""
    from batchgray.workers import forkserver

    return forkserver.forking()


def _engine_options(given: dict[str, Any]) -> options.EngineOptions:
    known = {name: given[name] for name in ("workers", "checkpoint", "grace") if given[name] is not None}
    if given["memory"] is not None:
        known["memory"] = options.parse_size(given["memory"])
        if known["memory"] < _LEAST_MEMORY:
            raise UsageError("--memory takes 1M or more; a number without a unit is bytes.")
    return options.EngineOptions(**known, locked=not given["no_lock"])


def _sources(given: dict[str, Any], afterwards: Callable[[], object]) -> list[Any]:
    from batchgray.notices.choice import chosen_sources

    return chosen_sources(_notice_options(given), afterwards)


def _notice_options(given: dict[str, Any]) -> Any:
    from batchgray.notices.choice import NoticeOptions
    from batchgray.notices.metadata import Credentials

    key_id = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID")
    secret = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
    token = os.environ.get("ALIBABA_CLOUD_SECURITY_TOKEN", "")
    credentials = None
    if key_id and secret:
        credentials = Credentials(key_id=key_id, secret=secret, token=token, origin="the environment")
    return NoticeOptions(
        notices=given.get("notices", "auto"),
        queue=given["smq_queue"],
        endpoint=given["smq_endpoint"],
        credentials=credentials,
        instance_id=given.get("instance_id"),
        any_instance=given.get("any_instance", False),
        metadata_url=given.get("metadata_url"),
    )


def _listed_in(name: str) -> tuple[Path, ...]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise errors.UnreadableList(name, error.strerror) from None
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    return tuple(Path(os.fsdecode(line)) for line in names if line.strip())


def _print_plan(asked: options.RunOptions, as_json: bool) -> None:
    from batchgray.engine import runs

    plan = runs.dry_run(asked)
    if as_json:
        write_utf8(sys.stdout)
    for index in plan.todo:
        image = plan.manifest.images[index]
        source, output = plan.source_path(image), str(plan.out / image.output)
        event = events.WouldConvert(source=source, output=output)
        _say(spelling.to_json(event).decode() if as_json else f"{shown(source)} -> {shown(output)}")
    if not as_json:
        pruned = f", {len(plan.pruned)} gone and to be pruned" if plan.pruned else ""
        _say(f"{len(plan.todo)} images to convert, {plan.already_done} done already{pruned}. Nothing was touched.")


def _json(record: Any) -> str:
    write_utf8(sys.stdout)
    return msgspec.json.format(spelling.to_json(record), indent=2).decode()


def _say(text: str) -> None:
    """Write what was asked for to standard output. Who reads no further knows enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        pass
    except OSError as error:
        raise errors.NobodyToTell(error.strerror) from None


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _fail(message: str, code: int) -> NoReturn:
    _end(f"batchgray: {message}", code)


def _end(words: str, code: int) -> NoReturn:
    """With words on standard error, if somebody reads them; the exit code tells too."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # it ends already, and with this code
    _tell(words, _END_SECONDS)
    _leave(code)


def _tell(words: str, seconds: float) -> None:
    """On standard error; where nobody reads, it is waited for so long."""
    try:
        outlet = Outlet(sys.stderr, len(words))
    except RuntimeError:  # no thread can be started, which may be what is to be told
        with contextlib.suppress(OSError):
            click.echo(words, err=True)
    else:
        outlet.put_text(words)
        outlet.close(seconds)


def _leave(code: int) -> NoReturn:
    """End at once: what is left is memory, which the system takes back sooner than Python does, image by image.

    Nothing is left in Python's streams, whose lock a reader could hold: what is said is flushed, or goes past them.
    """
    os._exit(code)


class _Stopped(BaseException):
    """Ctrl-C. Of a KeyboardInterrupt click tells standard error, where nobody may read."""


def _stop(_signum: int, _frame: object) -> NoReturn:
    raise _Stopped


def _end_early(signum: int, _frame: object) -> NoReturn:
    raise errors.Stopped(signal.Signals(signum).name)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program. Ends with the exit codes of the contract, and with a sentence instead of a traceback."""
    hold_standard_descriptors()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)  # until the run listens itself, as the others
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, _end_early)
    show_any_name(sys.stdout)
    show_any_name(sys.stderr)
    if sys.getfilesystemencoding() != "utf-8":
        encoding = sys.getfilesystemencoding()
        _fail(f"error: names are {encoding} in this locale, and UTF-8 in a manifest. Set PYTHONUTF8=1.", 2)
    try:
        cli.main(args=arguments, prog_name="batchgray", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        _end(said.getvalue().rstrip("\n"), 2)
    except _Stopped:
        _end(f"\nbatchgray: {errors.Stopped('SIGINT')}", 75)
    except UsageError as error:
        _fail(f"error: {error}", error.exit_code)
    except BatchgrayError as error:
        _fail(f"{'' if error.exit_code == 75 else 'fatal: '}{error}", error.exit_code)
    except RuntimeError as error:
        if "new thread" not in str(error):
            raise
        _fail("fatal: no thread can be started; raise ulimit -u. What was done is kept, and resume goes on.", 1)
    except FileNotFoundError:
        if _has_working_folder():
            raise
        _fail("error: the working folder was deleted. Change to one that is there, or name all folders in full.", 2)
    sys.exit(0)
