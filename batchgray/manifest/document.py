"""The document of a manifest: one JSON object with its seal, written with a line an image."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchgray import errors, spelling
from batchgray.manifest.records import VERSION, Manifest
from batchgray.storage import integrity
from batchgray.storage.guards import may_be_cut_off, open_regular
from batchgray.texts import brief

BEGINNING = b'{"version":1,"batchgray":"'

_HEAD_BYTES = 200
_READ_BYTES = 8 << 20
_LONGEST_LINE = 256 << 20  # the head line has all input folders and interruptions; no image's line comes near
_DOCUMENTS = msgspec.json.Decoder(Manifest)
_ENCODER = msgspec.json.Encoder()
_VERSION = re.compile(rb'\s*\{\s*"version"\s*:\s*(\d{1,18})\s*,\s*"batchgray"')
_UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError, errors.UsageError)


def encode(manifest: Manifest) -> bytes:
    """The document as it is written, with its seal."""
    head = spelling.to_json(msgspec.structs.replace(manifest, images=[]))
    document = bytearray(head[: -len(b"]}")])
    for image in manifest.images:
        document += b"\n"
        end = len(document)
        try:
            _ENCODER.encode_into(image, document, end)
        except UnicodeEncodeError:
            _ENCODER.encode_into(spelling.spelled(image), document, end)
        document += b","
    if manifest.images:
        document[-1:] = b"\n"
    document += b"]}"
    return integrity.seal(document)


def check_is_manifest(path: Path, or_ruin: bool = False) -> None:
    """A quick look, before anything is written beside it; `or_ruin` takes what a crash or a full disk left of one too.

    Raises NoSuchManifest, UnreadableManifest, DamagedManifest, ForeignManifest.
    """
    head = read_head(path)
    if _VERSION.match(head):
        return
    if not may_be_cut_off(os.path.realpath(path), BEGINNING):
        raise errors.ForeignManifest(path, "it is not a manifest")
    if not or_ruin:
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
    data = _read_sealed(path)
    try:
        manifest: Manifest = spelling.decoded(_DOCUMENTS, data)
    except _UNDECODABLE as error:
        _refuse_future(path, data)
        raise errors.DamagedManifest(path, brief(str(error))) from None
    if manifest.version != VERSION:
        raise errors.FutureManifest(path, manifest.version, VERSION)
    return manifest


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise errors.NoSuchManifest(path) from None
    except OSError as error:
        raise errors.UnreadableManifest(path, error.strerror) from None


def _read_sealed(path: Path) -> bytearray:
    """The document, to the bit as it was written. What is not costs no more memory than a line of it."""
    with _reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - integrity.SEAL_BYTES))
        if not integrity.looks_sealed(file.read(integrity.SEAL_BYTES)):
            _refuse_future(path, read_head(path))
            raise errors.DamagedManifest(path, "it is not whole")
        file.seek(0)
        data = bytearray()
        line_at = 0
        while piece := file.read(_READ_BYTES):
            data += piece
            line_at = max(line_at, data.rfind(b"\n", len(data) - len(piece)))
            if len(data) - line_at > _LONGEST_LINE:
                raise errors.DamagedManifest(path, "a line of it is longer than any that batchgray writes")
    if not integrity.sealed(data):
        _refuse_future(path, data)
        raise errors.DamagedManifest(path, "it is not as it was written")
    return data


def _refuse_future(path: Path, data: bytes | bytearray) -> None:
    """What can't be read may be of a later version, whose first two fields are the same. Raises FutureManifest."""
    found = _VERSION.match(data)
    if found and int(found[1]) > VERSION:
        raise errors.FutureManifest(path, int(found[1]), VERSION)
