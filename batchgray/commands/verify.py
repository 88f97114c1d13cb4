"""Re-read every finished output against the manifest: there, right size, right checksum, decodes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchgray import errors, machine, program
from batchgray.commands import output_check
from batchgray.errors import shown
from batchgray.manifest import lock, outcome
from batchgray.manifest.document import check_is_manifest
from batchgray.manifest.records import Image, Manifest
from batchgray.manifest.store import Store, load_manifest
from batchgray.planning.checks import refuse_empty_output
from batchgray.spelling import Bytes
from batchgray.storage import run_folder
from batchgray.storage.guards import open_regular


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """An output that is not what the manifest says; `gone` is its input, so that it can't be made anew."""

    output: str
    output_base64: Bytes = msgspec.UNSET
    fault: str
    gone: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`checked` outputs were read; `mended` of the damaged ones are pending now."""

    damaged: list[Damage]
    checked: int
    mended: int


def verify(path: Path, mend: bool = False, locked: bool = True) -> Verdict:
    """Check the outputs of a manifest; with `mend`, mark damaged ones pending, as its owner (see `lock.owning`).

    Raises BatchgrayError.
    """
    if not mend:
        return _verdict(load_manifest(path), path)
    check_is_manifest(path)
    with lock.owning(path, locked), contextlib.ExitStack() as stack:
        document = load_manifest(path)
        refuse_empty_output(document, path)
        with contextlib.suppress(OSError):  # nothing is in flight
            stack.enter_context(_holding_run_folder(document, path, locked))
        damaged = _verdict(document, path)
        mended = 0
        if damaged.damaged:
            mended = _mark_pending(document, {damage.output for damage in damaged.damaged})
            try:
                with contextlib.closing(Store(path)) as store:
                    store.commit(document)
            except OSError as error:
                raise errors.ManifestUnwritable(path, error.strerror) from None
        return msgspec.structs.replace(damaged, mended=mended)


def verdict_lines(verdict: Verdict, name: str) -> list[str]:
    """For people; `name` is the manifest's path or URL, as it was given."""
    lost = sum(damage.gone for damage in verdict.damaged)
    return [*map(damage_line, verdict.damaged), *end_lines(verdict, len(verdict.damaged), lost, name)]


def damage_line(damage: Damage) -> str:
    """For people."""
    return f"damaged: {shown(damage.output)}: {damage.fault}"


def end_lines(verdict: Verdict, damaged: int, lost: int, name: str) -> list[str]:
    """The last words, where so many outputs are damaged, and `lost` of them can't be made anew now."""
    lines = [f"{verdict.checked} output{'' if verdict.checked == 1 else 's'} checked, {damaged} damaged."]
    resume = outcome.resume_command(name)
    if verdict.mended:
        lines.append(f"Marked pending. To make them anew: {resume}")
    elif damaged > lost:
        mend = program.command("verify", "--mend", outcome.quoted(name))
        lines.append(f"To mend them: {mend}, then {resume}")
    if lost:
        lines.append(f"{lost} of them can be made anew only when their input is back.")
    return lines


def _holding_run_folder(
    document: Manifest, path: Path, locked: bool
) -> contextlib.AbstractContextManager[run_folder.RunFolder]:
    """Entering raises ManifestLocked, LinkInTheWay, and OSError where nothing is in flight."""
    return run_folder.holding(
        document.output_folder(path), document.run_id, lambda inner: lock.owning_flight(inner, path, locked)
    )


def _verdict(document: Manifest, path: Path) -> Verdict:
    out = document.output_folder(path)
    if not os.path.isdir(out):
        raise errors.MovedOutput(out)
    made = [image for image in document.images if is_told_of(image)]
    damaged = [
        Damage(output=image.output, fault=fault, gone=image.state == "gone")
        for image, fault in _check_all(out, made)
        if fault
    ]
    return Verdict(checked=len(made), damaged=damaged, mended=0)


def is_told_of(image: Image) -> bool:
    """Whether the manifest vouches for the file under an output's name.

    It does not where work on the image goes on: a crash may just have put the next version there. What was found
    damaged is damaged until it is made anew.
    """
    return image.checksum is not None and (image.mend or image.state in ("done", "failed", "gone"))


def _check_all(out: Path, images: list[Image]) -> Iterator[tuple[Image, str | None]]:
    return output_check.side_by_side(lambda image: fault_of(out, image), images, machine.usable_cores())


def fault_of(out: Path, image: Image) -> str | None:
    """What is wrong with a finished image's output, or None."""
    try:
        with open_regular(out / image.output, follow_links=False) as file:
            return output_check.fault_of_file(file, os.fstat(file.fileno()).st_size, image)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"can't be read: {error.strerror}"


def _mark_pending(document: Manifest, outputs: set[str]) -> int:
    """Have damaged outputs made anew: those of gone inputs when these come back. Returns how many are pending now."""
    pending = 0
    for image in document.images:
        if image.output in outputs:
            image.mend = True
            if image.state in ("done", "failed"):
                image.state, image.tiles_done, image.error = "pending", 0, None
            elif image.was == "done":
                image.was, image.tiles_done = "pending", 0
            pending += image.state != "gone"
    if pending:
        document.state = "interrupted"
    return pending
