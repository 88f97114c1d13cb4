"""Sealed records: JSON objects that carry a checksum of themselves as their last member.

Whatever batchgray writes for itself is one: the manifest's document, the lines of its journal, the headers of what is
in flight, intents. A power cut tears files and a disk flips bits, so nothing is believed that is not, to the bit, as it
was written. A seal is no signature, though: any program can make one. What was read is checked for its sense as well.
"""

import os
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Generic, TypeVar

import msgspec
import xxhash

from batchgray import errors, spelling

Record = TypeVar("Record", bound=msgspec.Struct)

_SEAL = b',"seal":"%s"}'
_A_SEAL = re.compile(rb',"seal":"[0-9a-f]{16}"\}')
SEAL_BYTES = len(_SEAL % bytes(16))

_READ_BYTES = 8 << 20
_HEAD_BYTES = 200
_VERSION = re.compile(rb'\s*\{\s*"version"\s*:\s*(\d{1,18})\s*[,}]')
_UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError, errors.UsageError)  # the last: of options


class UnreadableRecord(Exception):
    """A record can't be had. The text says why; it may quote the file, at any length."""


class Torn(UnreadableRecord):
    """Its end is missing."""


class TooLong(UnreadableRecord):
    """A line is longer than any that is written."""


class Altered(UnreadableRecord):
    """The seal is that of something else."""


class Undecodable(UnreadableRecord):
    """It is as it was written, and still no such record."""


class OtherVersion(UnreadableRecord):
    """It is of another `version`."""

    def __init__(self, version: int) -> None:
        super().__init__(f"it is of version {version}")
        self.version = version


class SealedRecords(Generic[Record]):
    """Records of one type, as they are written and read.

    No line of theirs is longer than `longest` bytes. With `version`, they begin with their own, and only those of this
    one are read. All that read raise UnreadableRecord, and those that take a file OSError.
    """

    def __init__(self, kind: type[Record], longest: int, version: int | None = None) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._longest, self._version = longest, version

    def line(self, record: Record, seed: int = 0) -> bytes:
        """A record as a line, with the line break. With a `seed` it is only read by the same (see `seal`)."""
        return seal(spelling.to_json(record), seed) + b"\n"

    def packed(self, record: Record) -> bytes:
        """A record as an object of its own, compressed."""
        return zlib.compress(self.line(record), 6)

    def unpack(self, data: bytes) -> Record:
        """The record that `packed` made; what it would take of memory is bounded by `longest`."""
        inflate = zlib.decompressobj()
        try:
            line = inflate.decompress(data, self._longest)
        except zlib.error:
            raise Altered("it is not as it was written") from None
        if not inflate.eof:
            raise Torn("it is not whole") if not inflate.unconsumed_tail else TooLong("it is longer than any")
        return self.decode_line(line)

    def lines(self, file: BinaryIO) -> Iterator[bytes]:
        """The lines of a file for `decode_line`; what is longer than any is cut into pieces."""
        return iter(lambda: file.readline(self._longest), b"")

    def decode_line(self, line: bytes, seed: int = 0) -> Record:
        if len(line) == self._longest and not line.endswith(b"\n"):
            raise TooLong("it is longer than any that batchgray writes")
        return self._decode(line.removesuffix(b"\n"), seed)

    def read_line(self, file: BinaryIO) -> Record:
        """The record on the next line of a file."""
        return self.decode_line(file.readline(self._longest))

    def read_document(self, file: BinaryIO) -> Record:
        """The one record that a file holds, in any number of lines.

        What is none costs no more memory than a line of it.
        """
        head = file.read(_HEAD_BYTES)
        try:
            data = self._read_whole(file)
        except UnreadableRecord:
            self._refuse_other_version(head)
            raise
        return self._decode(data, 0)

    def _read_whole(self, file: BinaryIO) -> bytearray:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SEAL_BYTES))
        if not _may_be_seal(file.read(SEAL_BYTES)):
            raise Torn("it is not whole")
        file.seek(0)
        data = bytearray()
        line_at = 0
        while piece := file.read(_READ_BYTES):
            data += piece
            line_at = max(line_at, data.rfind(b"\n", len(data) - len(piece)))
            if len(data) - line_at > self._longest:
                raise TooLong("a line of it is longer than any that batchgray writes")
        return data

    def _decode(self, data: bytes | bytearray, seed: int) -> Record:
        try:
            check_seal(data, seed)
            record: Any = spelling.decoded(self._decoder, data)
        except UnreadableRecord:
            self._refuse_other_version(data)
            raise
        except _UNDECODABLE as error:
            self._refuse_other_version(data)
            raise Undecodable(str(error)) from None
        if self._version is not None and record.version != self._version:
            raise OtherVersion(record.version)
        found: Record = record
        return found

    def _refuse_other_version(self, data: bytes | bytearray) -> None:
        """Of what can't be read, only a later one is told: it may be sealed, or laid out, in another way."""
        found = _VERSION.match(data)
        if found and self._version is not None and int(found[1]) > self._version:
            raise OtherVersion(int(found[1]))


def seal(document: bytes | bytearray, seed: int = 0) -> bytes:
    """A JSON object with its checksum as the last member. The object must not be empty.

    The seal holds only for the same `seed` (0 to 2**64 - 1).
    """
    body = memoryview(document)[:-1]
    return b"".join((body, _SEAL % xxhash.xxh3_64_hexdigest(body, seed).encode("ascii")))


def check_seal(document: bytes | bytearray, seed: int = 0) -> None:
    """Raises Torn or Altered where a JSON object is not, to the bit, what `seal` made."""
    body, tail = memoryview(document)[:-SEAL_BYTES], document[-SEAL_BYTES:]
    if not _may_be_seal(tail):
        raise Torn("it is not whole")
    if not body or tail != _SEAL % xxhash.xxh3_64_hexdigest(body, seed).encode("ascii"):
        raise Altered("it is not as it was written")


def _may_be_seal(tail: bytes | bytearray) -> bool:
    return _A_SEAL.fullmatch(tail) is not None
