"""The document of a manifest: one JSON object with its seal, written with a line an image."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchgray import errors, spelling
from batchgray.manifest import job_head
from batchgray.manifest.records import VERSION, Image, Manifest
from batchgray.storage import sealing
from batchgray.storage.guards import may_be_cut_off, open_regular
from batchgray.storage.sealing import OtherVersion, SealedRecords, UnreadableRecord
from batchgray.texts import brief

BEGINNING = b'{"version":1,"batchgray":"'

_HEAD_BYTES = 200
_HEAD = re.compile(rb'\s*\{\s*"version"\s*:\s*\d{1,18}\s*,\s*"batchgray"')  # of all versions
_LONGEST_LINE = 256 << 20  # the head line has all input folders and interruptions; no image's line comes near
_DOCUMENTS = SealedRecords(Manifest, _LONGEST_LINE, VERSION)
_ENCODER = msgspec.json.Encoder()
_IMAGES_AT_ONCE = 1000  # so that nothing as large as the document is there twice


def encode(manifest: Manifest) -> bytes:
    """The document as it is written, with its seal."""
    head = spelling.to_json(msgspec.structs.replace(manifest, images=[]))
    document = bytearray(head[: -len(b"]}")])
    for at in range(0, len(manifest.images), _IMAGES_AT_ONCE):
        lines = _lines(manifest.images[at : at + _IMAGES_AT_ONCE])
        document += b"\n" + lines.removesuffix(b"\n").replace(b"\n", b",\n") + b","
    if manifest.images:
        document[-1:] = b"\n"
    document += b"]}"
    return sealing.seal(document)


def _lines(images: list[Image]) -> bytes:
    try:
        return _ENCODER.encode_lines(images)
    except UnicodeEncodeError:
        return _ENCODER.encode_lines([spelling.spelled(image) for image in images])


def check_is_manifest(path: Path, or_damaged: bool = False) -> None:
    """By its first bytes, before anything is written beside it.

    With `or_damaged` what a crash or a full disk left of one will do, too.

    Raises NoSuchManifest, UnreadableManifest, DamagedManifest, ForeignManifest, IsJob.
    """
    head = read_head(path)
    if job_head.is_head(head):
        raise errors.IsJob(path)
    if _HEAD.match(head):
        return
    if not may_be_cut_off(os.path.realpath(path), BEGINNING):
        raise errors.ForeignManifest(path, "it is not a manifest")
    if not or_damaged:
        raise errors.DamagedManifest(path, "its beginning is lost")


def read_head(path: Path) -> bytes:
    """The document's first bytes, with its state and generation: another commit, another head.

    Raises NoSuchManifest, UnreadableManifest.
    """
    with _reading(path), open_regular(path) as file:
        return file.read(_HEAD_BYTES)


def read(path: Path) -> Manifest:
    """The document, without what its journal tells.

    Raises NoSuchManifest, UnreadableManifest, ForeignManifest, DamagedManifest, FutureManifest.
    """
    check_is_manifest(path)
    try:
        with _reading(path), open_regular(path) as file:
            return _DOCUMENTS.read_document(file)
    except OtherVersion as error:
        raise errors.FutureManifest(path, error.version, VERSION) from None
    except UnreadableRecord as error:
        raise errors.DamagedManifest(path, brief(str(error))) from None


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise errors.NoSuchManifest(path) from None
    except OSError as error:
        raise errors.UnreadableManifest(path, error.strerror) from None
