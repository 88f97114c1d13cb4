"""Re-read every finished output against the manifest: there, right size, right checksum, decodes."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from batchgray import errors, machine, program
from batchgray.codecs import encoding
from batchgray.errors import ImageError, shown
from batchgray.manifest import lock, outcome
from batchgray.manifest.document import check_is_manifest
from batchgray.manifest.records import Image, Manifest
from batchgray.manifest.store import Store, load_manifest
from batchgray.planning.checks import refuse_empty_output
from batchgray.spelling import Bytes
from batchgray.storage import integrity, run_folder
from batchgray.storage.guards import open_regular

_READ_AHEAD = 8


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """An output that is not what the manifest says; `gone` is its input, so that it can't be made anew."""

    output: str
    output_base64: Bytes = msgspec.UNSET
    fault: str
    gone: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`checked` outputs were read; `mended` of the damaged ones are pending now."""

    checked: int
    damaged: list[Damage]
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


def verdict_lines(verdict: Verdict, path: Path) -> list[str]:
    """For people; `path` is the manifest's, as it was given."""
    damaged, lost = len(verdict.damaged), sum(damage.gone for damage in verdict.damaged)
    lines = [f"damaged: {shown(damage.output)}: {damage.fault}" for damage in verdict.damaged]
    lines.append(f"{verdict.checked} output{'' if verdict.checked == 1 else 's'} checked, {damaged} damaged.")
    resume = outcome.resume_command(str(path))
    if verdict.mended:
        lines.append(f"Marked pending. To make them anew: {resume}")
    elif damaged > lost:
        mend = program.command("verify", "--mend", outcome.quoted(str(path)))
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
    made = [image for image in document.images if _is_told_of(image)]
    damaged = [
        Damage(output=image.output, fault=fault, gone=image.state == "gone")
        for image, fault in _check_all(out, made)
        if fault
    ]
    return Verdict(checked=len(made), damaged=damaged, mended=0)


def _is_told_of(image: Image) -> bool:
    """Whether the manifest vouches for the file under an output's name.

    It does not where work on the image goes on: a crash may just have put the next version there. What was found
    damaged is damaged until it is made anew.
    """
    return image.checksum is not None and (image.mend or image.state in ("done", "failed", "gone"))


def _check_all(out: Path, images: list[Image]) -> Iterator[tuple[Image, str | None]]:
    """In threads: reading and decoding both let go of the interpreter.

    A few at a time, so that memory stays bounded.
    """
    threads = machine.usable_cores()
    step = threads * _READ_AHEAD
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(images), step):
            some = images[start : start + step]
            yield from zip(some, pool.map(lambda image: fault_of(out, image), some), strict=True)


def fault_of(out: Path, image: Image) -> str | None:
    """What is wrong with a finished image's output, or None."""
    path = out / image.output
    try:
        with open_regular(path, follow_links=False) as file:
            found = os.fstat(file.fileno()).st_size
            if found != image.output_size:
                return f"{found} bytes instead of {image.output_size}"
            data = file.read()
        if integrity.checksum([data]) != image.checksum:
            return "its checksum is another"
        encoding.check_decodes(data)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except ImageError as error:
        return str(error)
    return None


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
