"""Coverage-guided fuzzing of everything that parses what a stranger may have written; `make fuzz` runs each target.

    python tests/fuzz/targets.py TARGET [CORPUS...] [libFuzzer's options]

Each target takes bytes and may raise only what its docstring in batchgray allows. Sealed documents are sealed again
here, since nobody who attacks lets a seal stop him. Not collected by pytest: atheris is needed (CPython 3.11 to 3.13).
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import atheris

with atheris.instrument_imports(include=["batchgray"]):
    from batchgray import errors, options
    from batchgray.checkpoints import sidecar
    from batchgray.codecs import (
        gif_outline,
        heif_outline,
        jpeg2000_outline,
        jpeg_outline,
        metadata,
        opening,
        png_outline,
        pnm_outline,
        signatures,
        tiff_outline,
        webp_outline,
    )
    from batchgray.codecs.opened import SecondOpinion
    from batchgray.manifest import document
    from batchgray.manifest.files import files_of
    from batchgray.manifest.journal import seed_of
    from batchgray.manifest.records import find_fault
    from batchgray.manifest.store import load_manifest
    from batchgray.storage import intents, sealing
    from batchgray.storage.durable import Folder
from batchgray.notices import spot_event

_FOLDER = Path(tempfile.mkdtemp())
_HELD = Folder.at(_FOLDER)
_HEAD = b'{"version":1,"batchgray":"0.1.0",'
_LINEAGE, _GENERATION = "0123456789abcdef", 1
_DOCUMENT = (
    _HEAD + b'"state":"running","generation":1,"run_id":"default","lineage":"0123456789abcdef","options":{},'
    b'"max_pixels":9,"output_root":".","input_roots":["/in"],"interruptions":[],"images":['
    b'{"root":0,"source":"a.png","output":"a.jpg","size":1,"mtime_ns":1},'
    b'{"root":0,"source":"b.png","output":"b.jpg","size":1,"mtime_ns":1}]}'
)


def fuzz_manifest(data: bytes) -> None:
    """The document: what is loaded has no fault and encodes again."""
    path = _FOLDER / "manifest.json"
    body = data if data.startswith(b"{") else _HEAD + data
    path.write_bytes(sealing.seal(body) if body.endswith(b"}") else body)
    with contextlib.suppress(errors.UsageError):
        found = load_manifest(path)
        assert find_fault(found, path) is None
        document.encode(found)


def fuzz_journal(data: bytes) -> None:
    """The journal: each line of the input is sealed for its place, but for those that begin with `!`."""
    path = _FOLDER / "journalled.json"
    path.write_bytes(sealing.seal(_DOCUMENT))
    seed = seed_of(_LINEAGE, _GENERATION)
    journal = sealing.seal(b'{"generation":1,"lineage":"0123456789abcdef"}') + b"\n"
    for line in data.split(b"\n"):
        whole = len(line) > 2 and not line.startswith(b"!")
        journal += (sealing.seal(line, seed + len(journal)) if whole else line) + b"\n"
    files_of(path).journal.write_bytes(journal)
    with contextlib.suppress(errors.UsageError):
        assert find_fault(load_manifest(path), path) is None


def fuzz_sidecar(data: bytes) -> None:
    """The header of a sidecar, and that what follows is as long as it says."""
    path = _FOLDER / "sidecar.tiles"
    line, _, payload = data.partition(b"\n")
    path.write_bytes((sealing.seal(line) if len(line) > 2 else line) + b"\n" + payload)
    header = sidecar.read_header(_HELD, path.name)
    if header is not None:
        assert len(payload) == header.record.metadata_bytes + header.pixels
        assert 0 <= header.tiles_done <= header.record.tiles_total


def fuzz_intents(data: bytes) -> None:
    """A worker's log of intents."""
    path = _FOLDER / "1.intents"
    path.write_bytes(b"\n".join(sealing.seal(line) if len(line) > 2 else line for line in data.split(b"\n")))
    for intent in intents.read(_HELD, path.name):
        assert intent.size >= 0


def fuzz_event(data: bytes) -> None:
    """The body of a message from the queue."""
    with contextlib.suppress(spot_event.Unreadable):
        found = spot_event.parse(data.decode("utf-8", "surrogateescape"))
        assert found is None or found.instance_id


def fuzz_markers(data: bytes) -> None:
    """The walks over a file's own structure."""
    for walk in (
        signatures.format_of,
        jpeg_outline.JpegOutline.walk,
        png_outline.PngOutline.walk,
        gif_outline.GifOutline.walk,
        tiff_outline.TiffOutline.walk,
        webp_outline.WebpOutline.walk,
        jpeg2000_outline.Jpeg2000Outline.walk,
        heif_outline.HeifOutline.walk,
        pnm_outline.PnmOutline.walk,
    ):
        with contextlib.suppress(errors.ImageError):
            walk(data)


def fuzz_images(data: bytes) -> None:
    """Opening an image: its header, by whichever library takes it."""
    path = _FOLDER / "image"
    path.write_bytes(data)
    with contextlib.suppress(errors.ImageError):
        opening.open_image(str(path), "luma", 10**9).close()


def fuzz_metadata(data: bytes) -> None:
    """XMP, IPTC, Photoshop's resources and a PNG's texts: what is kept of them is kept again as it is."""
    besides = metadata.Besides()
    besides.take_resources(data)
    besides.take_text(data, slice(0, len(data)))
    for kind in (metadata.XMP, metadata.IPTC):
        besides.take(kind, data, slice(0, len(data)))
    for kind, kept in besides.kept.items():
        again = metadata.Besides()
        again.take(kind, kept, slice(0, len(kept)))
        assert again == metadata.Besides({kind: kept}) or not kept


def fuzz_pixels(data: bytes) -> None:
    """Decoding a picture of up to a megapixel: what is read without Pillow is what Pillow would have read."""
    path = _FOLDER / "pixels"
    path.write_bytes(data)
    readers = dict(opening._READERS)
    found = _decoded(path)
    try:
        opening._READERS.clear()
        assert found == _decoded(path)
    finally:
        opening._READERS.update(readers)


def _decoded(path: Path) -> tuple | str:
    """Sides, notes and colours, of gray those that it stands for; or why there are none."""
    try:
        with contextlib.closing(opening.open_image(str(path), "bt601", 10**6)) as opened:
            shape = opened.height, opened.width, 3 if opened.colour else 1
            plane = memoryview(bytearray(shape[0] * shape[1] * shape[2]))
            planes = SimpleNamespace(rgb=plane, gray=plane)
            try:
                note = opened.decode(planes)
            except SecondOpinion as wanted:
                with contextlib.closing(wanted.opened):
                    note = wanted.opened.decode(planes)
            colours = bytes(plane) if opened.colour else b"".join(bytes([value]) * 3 for value in plane)
            return shape[:2], note, opened.note, opened.exif, colours
    except errors.ImageError as error:
        return str(error)


def fuzz_size(data: bytes) -> None:
    """`--memory SIZE`."""
    with contextlib.suppress(errors.BadSize):
        assert options.parse_size(data.decode("utf-8", "replace")) >= 0


TARGETS = {name.removeprefix("fuzz_"): each for name, each in list(globals().items()) if name.startswith("fuzz_")}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: targets.py {'|'.join(TARGETS)} [CORPUS...] [libFuzzer's options]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
