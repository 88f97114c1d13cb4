"""Re-read every finished output against the manifest: there, right size, right checksum, decodes."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from batchgray import errors, machine
from batchgray.codecs import codec
from batchgray.engine import flight
from batchgray.errors import ImageError
from batchgray.manifest import locks, manifest
from batchgray.manifest.manifest import Image, Manifest, Store
from batchgray.planning.checks import refuse_empty_output
from batchgray.spelling import Bytes
from batchgray.storage import integrity
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
    """Check the outputs of a manifest; with `mend`, mark damaged ones pending, as its owner (see `locks.owning`).

    Raises BatchgrayError.
    """
    if not mend:
        return _verdict(manifest.load(path), path)
    manifest.check_is_manifest(path)
    with locks.owning(path, locked), contextlib.ExitStack() as stack:
        document = manifest.load(path)
        refuse_empty_output(document, path)
        with contextlib.suppress(OSError):  # nothing is in flight
            stack.enter_context(flight.owning(document, path, locked))
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
        codec.check_decodes(data)
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
