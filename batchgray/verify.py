"""Re-read every finished output against the manifest: there, right size, right checksum, decodes."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from batchgray import codec, errors, flight, integrity, locks, machine, manifest
from batchgray.errors import ImageError
from batchgray.guards import open_regular
from batchgray.manifest import Image, Manifest, Store

_READ_AHEAD = 8


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A finished output that is not what the manifest says."""

    output: str
    fault: str


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
        with contextlib.suppress(OSError):  # nothing is in flight
            stack.enter_context(flight.owning(document, path, locked))
        damaged = _verdict(document, path)
        if damaged.damaged:
            _mark_pending(document, {damage.output for damage in damaged.damaged})
            try:
                with contextlib.closing(Store(path)) as store:
                    store.commit(document)
            except OSError as error:
                raise errors.ManifestUnwritable(path, error.strerror) from None
        return msgspec.structs.replace(damaged, mended=len(damaged.damaged))


def _verdict(document: Manifest, path: Path) -> Verdict:
    out = document.output_folder(path)
    if not os.path.isdir(out):
        raise errors.MovedOutput(out)
    done = [image for image in document.images if image.state == "done"]
    damaged = [Damage(output=image.output, fault=fault) for image, fault in _check_all(out, done) if fault]
    return Verdict(checked=len(done), damaged=damaged, mended=0)


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


def _mark_pending(document: Manifest, outputs: set[str]) -> None:
    for image in document.images:
        if image.state == "done" and image.output in outputs:
            image.state, image.tiles_done, image.mend = "pending", 0, True
    document.state = "interrupted"
