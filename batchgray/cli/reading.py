"""The commands that read what runs have made, and the machine: status, verify, report, doctor."""

import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import click

from batchgray import errors
from batchgray.cli.flags import IDENTITY_OPTIONS, NO_LOCK, QUEUE_OPTIONS, option
from batchgray.cli.help import EXIT_CODES, Command
from batchgray.cli.parsing import notice_options, store_options
from batchgray.cli.streams import as_json, as_json_lines, say
from batchgray.cli.values import MANIFEST, PATH, PLACE, WORD, Whole
from batchgray.errors import UsageError, shown
from batchgray.options import Bounds

_PORTS = Bounds(0, 65535)


@click.command(cls=Command, short_help="Tell what is done, and what is not.")
@click.argument("manifest", type=MANIFEST)
@option("--json", is_flag=True, help="As JSON.")
def status(manifest: Path | str, json: bool) -> None:
    """Tell what is done, partial, pending and failed, and when and why it was interrupted."""
    if isinstance(manifest, str):
        _tell_of_job(manifest, json)
        return
    from batchgray.commands import status as module

    try:
        found = module.status(manifest)
    except errors.IsJob:
        _tell_of_job(str(manifest.parent), json)
    else:
        say(as_json(found) if json else "\n".join(module.status_lines(found)))


def _tell_of_job(place: str, json: bool) -> None:
    from batchgray.commands import job_status as module
    from batchgray.commands.job_view import steadily, viewing
    from batchgray.commands.status import status_lines

    stores = store_options({})
    if not json:
        say("\n".join(status_lines(module.job_status(place, stores))))
        return
    with viewing(place, stores) as view:
        whole = steadily(view, module.WholeStatus)
        for line in as_json_lines(whole.status, "failures", whole.failures()):
            say(line)


@click.command(cls=Command, short_help="Re-read every output against the manifest.", epilog=EXIT_CODES)
@click.argument("manifest", type=MANIFEST)
@option("--json", is_flag=True, help="As JSON.")
@option("--mend", is_flag=True, help="Mark damaged outputs pending, so that resume makes them anew.")
@NO_LOCK
def verify(manifest: Path | str, json: bool, mend: bool, no_lock: bool) -> None:
    """Re-read every output against the manifest: there, right size, right checksum, decodes."""
    if isinstance(manifest, str):
        _verify_job(manifest, mend, json)
    from batchgray.commands import verify as module

    try:
        verdict = module.verify(manifest, mend, locked=not no_lock)
    except errors.IsJob:
        _verify_job(str(manifest.parent), mend, json)
    say(as_json(verdict) if json else "\n".join(module.verdict_lines(verdict, str(manifest))))
    sys.exit(3 if verdict.damaged else 0)


def _verify_job(place: str, mend: bool, json: bool) -> NoReturn:
    from batchgray.commands import verify as module
    from batchgray.commands.job_verify import JobVerification
    from batchgray.commands.job_view import viewing

    found: Counter[str] = Counter()

    def counted(damage: Any) -> Any:
        found.update(damaged=1, lost=damage.gone)
        return damage

    with viewing(place, store_options({})) as view:
        verification = JobVerification(view, mend)
        damaged = map(counted, verification.damaged())
        lines = as_json_lines(verification.verdict, "damaged", damaged) if json else map(module.damage_line, damaged)
        for line in lines:
            say(line)
        if not json:
            last = module.end_lines(verification.verdict(), found["damaged"], found["lost"], view.name)
            say("\n".join(last))
    sys.exit(3 if found["damaged"] else 0)


@click.command(cls=Command, short_help="Write one page to look at.", epilog=EXIT_CODES)
@click.argument("manifest", type=MANIFEST)
@option("--html", type=PATH, metavar="FILE", help="Where the page goes.  [default: report.html beside the manifest]")
@option("--serve", is_flag=True, help="Show it live in a browser, until it is stopped; nothing is written.")
@option(
    "--host",
    type=WORD,
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="With --serve: where it can be reached. Whoever reaches another address can read the report.",
)
@option(
    "--port", type=Whole(_PORTS), metavar="N", default=0, help="With --serve: the port.  [default: any that is free]"
)
def report(manifest: Path | str, html: Path | None, serve: bool, host: str, port: int) -> None:
    """Write one page to look at: pictures, progress over time, machines, interruptions, failures.

    Of a job in a store it goes to report.html in the working folder.
    """
    from batchgray.commands.report import page as module

    if serve:
        if html is not None:
            raise UsageError("--serve writes no file: leave --html out, or --serve.")
        _serve(manifest, host, port)
    elif isinstance(manifest, str):
        _say_written(module.write_job(manifest, store_options({}), html))
    else:
        try:
            _say_written(module.write(manifest, html))
        except errors.IsJob:
            _say_written(module.write_job(str(manifest.parent), store_options({}), html))


def _say_written(path: Path) -> None:
    say(f"Report: {shown(str(path))}")


def _serve(manifest: Path | str, host: str, port: int) -> None:
    """Until a signal comes, which is its good end."""
    from batchgray.commands.report import live, subject
    from batchgray.manifest.document import check_is_manifest

    stopped = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda *_: stopped.set())
    place = manifest if isinstance(manifest, str) else ""
    if isinstance(manifest, Path):
        try:
            check_is_manifest(manifest)
        except errors.IsJob:
            place = str(manifest.parent)
    stores = store_options({})

    def read(framed: Any, look: bool) -> Any:
        if place:
            return subject.job_subject(place, stores, Path(), framed, look)
        return subject.manifest_subject(Path(manifest), Path(), framed)

    live.serve(live.LivePage(read), host, port, lambda url: say(f"Report: {url}  (to end it: Ctrl-C)"), stopped)


@click.command(cls=Command, short_help="Check this machine, and say what to do.", epilog=EXIT_CODES)
@option("--out", type=PLACE, metavar="DIR-OR-URL", help="Also try what a run needs where its outputs are to go.")
@option("--json", is_flag=True, help="As JSON.")
@QUEUE_OPTIONS[0]
@QUEUE_OPTIONS[1]
@IDENTITY_OPTIONS[0]
@IDENTITY_OPTIONS[1]
def doctor(out: str | None, json: bool, **given: Any) -> None:
    """Check this machine: cores, memory, shared memory, kernel, credentials, queue, instance id; say what to do.

    With --out also the place where outputs are to go: a folder, or oss://, s3://, gs:// or az:// with BUCKET/PREFIX.
    A little is put there, and taken away again.
    """
    from batchgray.commands import doctor as module

    findings = module.examine(notice_options(given), out, store_options(given))
    say(as_json(findings) if json else "\n".join([*module.finding_lines(findings), *module.policy_lines(out)]))
    sys.exit(1 if any(finding.verdict == "wrong" for finding in findings) else 0)
