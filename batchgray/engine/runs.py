"""One run or resume from beginning to end: lock, load, plan, supervise, acknowledge. The library's two verbs."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from batchgray import errors, events
from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.engine import foresight, recovery, session, summary
from batchgray.engine.ledger import Ledger, Listener
from batchgray.engine.pool import Inheritance
from batchgray.engine.session import DONE, INTERRUPTED, SOME_FAILED, ExitCode
from batchgray.engine.supervisor import Supervisor
from batchgray.engine.tasks import PlannedTasks
from batchgray.errors import shown
from batchgray.manifest import lock
from batchgray.manifest.document import check_is_manifest
from batchgray.manifest.records import Manifest, Run
from batchgray.manifest.store import Store, load_manifest
from batchgray.notices.inbox import Inbox, NoticeListener
from batchgray.options import EngineOptions, ResumeOptions, RunOptions
from batchgray.planning import pruning
from batchgray.planning.discovery import IMAGE_SUFFIXES
from batchgray.planning.plan import Plan
from batchgray.planning.planner import plan_resume, plan_run
from batchgray.storage.names import kind_of
from batchgray.storage.run_folder import FLIGHT_FOLDER, RunFolder
from batchgray.workers.forkserver import ForkServer, forking

AnyEvent = TypeVar("AnyEvent", bound=events.Event)


def _ignore(_event: events.Event) -> None:
    pass


def _always() -> bool:
    return True


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended.

    `exit_code` is the command's: 0 when every image is done, 3 when some failed, 75 when it was interrupted or the disk
    is full; everything is flushed then, and `resume` goes on. `manifest` is the file that `resume` takes, `out` the
    folder of the outputs, both absolute. `failures` has each image that failed, by the full name of its file, and why.
    `summary` is the last event, with all the counts and figures.
    """

    exit_code: ExitCode
    manifest: Path
    out: Path
    failures: dict[Path, str]
    summary: events.Summary


def run(
    options: RunOptions,
    on_event: Listener = _ignore,
    notices: Sequence[NoticeListener] = (),
    server: ForkServer | None = None,
    ready: Callable[[], bool] = _always,
) -> Result:
    """Convert what the INPUTs hold, or go on with it, and return when it ended.

    Nothing is written to the terminal. `on_event` is called with each event as it happens, in this thread; it should
    not take long, as nothing is handed out and no notice is heard meanwhile. Whoever can't keep up with the events says
    so through `ready`, which is asked before work is handed out: while it is false none is, and all else goes on.

    `notices` is where interruptions come from: an Interrupter for the program's own, a SignalSource for SIGTERM, SIGINT
    and SIGHUP, which is the only one to touch signal handlers, and only works in the main thread. Without it a Ctrl-C
    is a KeyboardInterrupt as anywhere. That, or whatever `on_event` raises, ends the run as a crash would: nothing
    that was done is lost, no process is left, `resume` goes on; but the images in work begin again.

    The work is done in processes of their own, which know nothing of the caller's: any thread may call this, from any
    kind of program, several at a time on manifests of their own. `server` is a fork server that was started before,
    for this call alone; there is no need for one.

    Raises BatchgrayError, whose `exit_code` is what the command would end with: UsageError (2) before any work,
    InterruptedEarly (75) where a notice came before the list of images was made, others (1) where the run can't go on.
    """
    path = _manifest_of(options)
    with contextlib.ExitStack() as stack:
        server = server or stack.enter_context(forking())
        inbox = stack.enter_context(session.listening(notices))
        stack.enter_context(session.folders(options.out.absolute(), path.parent))
        stack.enter_context(lock.owning(path, options.engine.locked, session.pause(inbox)))
        plan = plan_run(
            options, _previous(path, options.overwrite), session.pause(inbox), _telling_left_out(on_event, ready, inbox)
        )
        if options.overwrite:
            _take_over(plan, options.engine.locked)
        return _supervise(stack, plan, options.engine, on_event, inbox, server, notices, ready)


def resume(
    options: ResumeOptions,
    on_event: Listener = _ignore,
    notices: Sequence[NoticeListener] = (),
    server: ForkServer | None = None,
    ready: Callable[[], bool] = _always,
) -> Result:
    """Go on where the manifest stopped, and return when it ended. All else is as with `run`."""
    given = options.manifest.absolute()
    check_is_manifest(given)
    path = Path(os.path.realpath(given))
    with contextlib.ExitStack() as stack:
        server = server or stack.enter_context(forking())
        inbox = stack.enter_context(session.listening(notices))
        stack.enter_context(lock.owning(path, options.engine.locked, session.pause(inbox)))
        plan = plan_resume(options, load_manifest(path), session.pause(inbox))
        return _supervise(stack, plan, options.engine, on_event, inbox, server, notices, ready)


def dry_run(options: RunOptions, notices: Sequence[NoticeListener] = (), on_event: Listener = _ignore) -> Plan:
    """What `run` would do. Touches nothing. Raises BatchgrayError, also for what a run would refuse after its plan.

    `on_event` is called with what is left out alone.
    """
    path = _manifest_of(options)
    with session.listening(notices) as inbox:
        for folder in (options.out.absolute(), path.parent):
            foresight.check_folder(folder)
        tell = _telling_left_out(on_event, _always, inbox)
        plan = plan_run(options, _previous(path, options.overwrite), session.pause(inbox), tell)
        foresight.check_plan(plan, options.overwrite, options.engine.locked)
        return plan


def _manifest_of(options: RunOptions) -> Path:
    """The real path of the manifest.

    Raises LinkInTheWay, ManifestInFlight, ForeignManifest, UnreadableManifest, OutputNotFolder.

    A link to a manifest is that manifest, where the user names it. One that stands in the output folder may be
    anybody's, and so may be one that leads to nothing: what is written through it would be in a place of their choice.
    """
    _refuse_file_as_output(options)
    given = options.manifest_path.absolute()
    if os.path.islink(given) and not os.path.exists(given):
        raise errors.LinkInTheWay(given)
    path = Path(os.path.realpath(given))
    if os.path.islink(given) and options.manifest is None and str(path.parent) != os.path.realpath(options.out):
        raise errors.LinkInTheWay(given)
    if path.is_relative_to(os.path.join(os.path.realpath(options.out), FLIGHT_FOLDER)):
        raise errors.ManifestInFlight(path)
    _refuse_foreign(path, options.overwrite)
    return path


def _refuse_file_as_output(options: RunOptions) -> None:
    """`--out b.jpg` for a single file means a file, and would make a folder of that name."""
    out = options.out
    if os.path.isfile(out):
        what = "is a file"
    elif len(options.inputs) == 1 and os.path.isfile(options.inputs[0]) and _would_be_an_image(out):
        what = "has the name of one"
    else:
        return
    folder = out.parent if out.parent.name else Path("gray")
    raise errors.OutputNotFolder(out, what, folder)


def _would_be_an_image(out: Path) -> bool:
    return kind_of(out.name) in IMAGE_SUFFIXES and not os.path.lexists(out)


def _refuse_foreign(path: Path, overwrite: bool) -> None:
    if os.path.exists(path):
        check_is_manifest(path, or_damaged=overwrite)


def _previous(path: Path, overwrite: bool) -> Manifest | None:
    return None if overwrite or not os.path.exists(path) else load_manifest(path)


def _take_over(plan: Plan, locked: bool) -> None:
    """What the overwritten run has in flight is cleaned up with this one's, or now if it is in another output folder.

    Raises ManifestLocked.
    """
    try:
        before = load_manifest(plan.path)
    except errors.UsageError:  # none, or a ruin of one
        ours = recovery.run_ids_of(plan.out, plan.path)
    else:
        here = os.path.realpath(before.output_folder(plan.path)) == os.path.realpath(plan.out)
        if not here:
            recovery.abandon(before, plan.path, locked)
        ours = [before.run_id] if here else []
    if ours:
        plan.manifest.run_id = ours[0]


def _telling_left_out(emit: Listener, ready: Callable[[], bool], inbox: Inbox) -> Callable[[str, str], None]:
    def tell(path: str, kind: str) -> None:
        session.wait_until(ready, inbox)
        emit(events.LeftOut(source=path, kind=kind))

    return tell


def _supervise(
    stack: contextlib.ExitStack,
    plan: Plan,
    engine: EngineOptions,
    emit: Listener,
    inbox: Inbox,
    server: ForkServer,
    sources: Sequence[NoticeListener],
    ready: Callable[[], bool],
) -> Result:
    began = time.monotonic()

    def send(event: events.Event) -> None:
        emit(session.at(began, event))

    held = stack.enter_context(recovery.holding(plan, engine.locked, session.pause(inbox)))
    store = stack.enter_context(contextlib.closing(Store(plan.path)))
    pruned = _prune(plan, held, send)
    resumable = recovery.prepare(plan, held)
    _commit_start(plan, engine.workers, store)
    recovery.forget_intents(plan, held)
    ledger = Ledger(plan, lambda: recovery.remove(plan, held), store, engine.checkpoint, send, began)
    planned = summary.planned(plan, engine.workers, sources)
    session.preload(server, planned, plan.manifest.options)
    send(planned)
    for image in plan.manifest.images:
        if image.state == "failed":
            session.wait_until(ready, inbox)
            send(events.Failed(source=image.source, output=image.output, error=image.error or "", source_bytes=0))
    tasks = PlannedTasks(plan, resumable)
    checkpoints = FolderCheckpoints(held.inner, held.out, plan.manifest.options)
    inheritance = _inheritance(plan, held, engine)
    supervisor = Supervisor(inheritance, checkpoints, engine, server, inbox)
    try:
        outcome = supervisor.run(tasks, ledger, ready)
    finally:
        supervisor.close()
        ledger.close()
    if outcome.notice is not None:
        lacking = "the disk is full, and the manifest lacks what was flushed"
        for failure in session.acknowledge(outcome.notice, sources, ledger.durable, lacking):
            send(events.Warned(message=f"the notice could not be acknowledged ({failure}); it may come again"))
    last = session.at(began, summary.summarize(plan, ledger, outcome, pruned))
    emit(last)
    if outcome.fault is not None:
        raise errors.OutputLost(plan.out, outcome.fault)
    return _result(plan, last)


def _inheritance(plan: Plan, held: RunFolder, engine: EngineOptions) -> Inheritance:
    return Inheritance(
        out=held.out.path,
        flight=held.inner.path,
        descriptors=tuple(held.for_workers),
        pixels=plan.manifest.options,
        max_pixels=plan.manifest.max_pixels,
        times=plan.manifest.times,
        checkpoint=engine.checkpoint,
        cores=engine.workers,
    )


def _result(plan: Plan, last: events.Summary) -> Result:
    exit_code = SOME_FAILED if last.failed else DONE
    return Result(
        exit_code=INTERRUPTED if last.resume is not None else exit_code,
        manifest=plan.path,
        out=plan.out,
        failures={
            Path(plan.source_path(image)): image.error or ""
            for image in plan.manifest.images
            if image.state == "failed"
        },
        summary=last,
    )


def _prune(plan: Plan, held: RunFolder, emit: Listener) -> int:
    """Remove the outputs of inputs that are gone for good: before the manifest forgets them, as it may lag the disk.

    Returns how many were removed.
    """
    try:
        pruned = pruning.remove_outputs(held.out, plan.pruned)
    except OSError as error:
        raise errors.UnwritableOutput(plan.out, error.strerror) from None
    for output in pruned.altered:
        emit(events.Warned(message=f"{shown(output)} is not as it was made, and stays; its input is gone"))
    for image, reason in pruned.stuck:
        plan.manifest.images.append(image)
        emit(events.Warned(message=f"{shown(image.output)} can't be removed: {reason}; its input is gone"))
    return pruned.removed


def _commit_start(plan: Plan, workers: int, store: Store) -> None:
    if plan.todo:  # else it is no run, and its death would be taken for that of the one before
        found = plan.manifest.state if plan.resumed else None
        plan.manifest.runs.append(Run(at=datetime.now(UTC), workers=workers, found=found))
        plan.manifest.state = "running"
    try:
        store.commit(plan.manifest)
    except OSError as error:  # the store lets only a full disk through
        raise errors.DiskFullAtStart(plan.path, error.strerror) from None
