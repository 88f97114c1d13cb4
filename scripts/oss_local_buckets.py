"""Buckets of the local OSS: objects with their versions, in memory or in a folder, and a bucket that is made up.

A bucket with a folder keeps each version of an object in a file of its own: a line of JSON, then the content. Files are
written beside and renamed, and the number that a name begins with says which came last: a server that was killed at any
point finds, when it starts again, every object whole, as it was before or after.
"""

import base64
import bisect
import ctypes
import hashlib
import itertools
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, overload

_LAST = "\U0010ffff"  # sorts after everything else that begins alike
_SERIAL = itertools.count(time.time_ns())


@dataclass(frozen=True)
class Version:
    """A version of an object, or a delete marker; `headers` are those that are given back with it.

    `version_id` is "null" where versioning was not on when it was written. `etag` is without its quotes.
    """

    key: str
    size: int
    etag: str
    crc64: int
    modified: float
    headers: Mapping[str, str] = field(default_factory=dict)
    version_id: str = "null"
    marker: bool = False
    content: bytes | Path = b""
    offset: int = 0

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Content from `start` to before `end`."""
        end = self.size if end is None else end
        if isinstance(self.content, bytes):
            return self.content[start:end]
        with self.content.open("rb") as file:
            file.seek(self.offset + start)
            return file.read(end - start)


def version_of(key: str, content: bytes, modified: float, headers: Mapping[str, str] | None = None) -> Version:
    etag = hashlib.md5(content).hexdigest().upper()
    return Version(key, len(content), etag, crc64(content), modified, headers or {}, content=content)


def marker_of(key: str, modified: float) -> Version:
    return Version(key, 0, "", 0, modified, marker=True)


class Bucket:
    """`keys` are those of the objects that are there, sorted; `versioning` is "" as long as it was never set.

    One thread at a time, but for `stage`, which does the slow part of a put.
    """

    def __init__(self, name: str, created: float, folder: Path | None = None, versioning: str = "") -> None:
        self.name, self.created, self.folder, self.versioning = name, created, folder, versioning
        self._keys: list[str] = []
        self.keys: Sequence[str] = self._keys
        self._versions: dict[str, list[Version]] = {}

    def __bool__(self) -> bool:
        return bool(self._versions)

    def get(self, key: str, version_id: str | None = None) -> Version | None:
        """The newest version, or the named one; delete markers too."""
        versions = self._versions.get(key, [])
        if version_id is None:
            return versions[-1] if versions else None
        return next((version for version in versions if version.version_id == version_id), None)

    def stage(self, version: Version) -> Version:
        """The same version, with its content where it will stay."""
        if self.folder is None or version.marker:
            return version
        return _written(version, self.folder / f"{secrets.token_hex(8)}.tmp")

    def discard(self, version: Version) -> None:
        """Remove what `stage` gave and is not put."""
        if isinstance(version.content, Path):
            version.content.unlink()

    def put(self, version: Version) -> Version:
        """Take in what `stage` gave; it replaces the newest version that is not kept."""
        version = replace(version, version_id=_new_id() if self.versioning == "Enabled" else "null")
        version = self._settled(version)
        self._remove(version.key, version.version_id)
        self._versions.setdefault(version.key, []).append(version)
        self._index(version.key)
        return version

    def delete(self, key: str, modified: float, version_id: str | None = None) -> Version | None:
        """The delete marker that was added, or the named version that was removed; None: nothing is told of it."""
        if version_id is not None:
            removed = self._remove(key, version_id)
            self._index(key)
            return removed
        if self.versioning:
            return self.put(marker_of(key, modified))
        self._remove(key, "null")
        self._index(key)
        return None

    def set_versioning(self, status: str) -> None:
        self.versioning = status
        self.save()

    def save(self) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = self.folder / "bucket.tmp"
            beside.write_text(json.dumps({"created": self.created, "versioning": self.versioning}))
            beside.rename(self.folder / "bucket.json")

    def remove(self) -> None:
        """Remove its folder; it is empty of objects."""
        if self.folder is not None:
            (self.folder / "bucket.json").unlink()
            self.folder.rmdir()

    def load(self) -> None:
        """Take in the objects that the folder holds."""
        for path in sorted(self.folder.iterdir()) if self.folder else []:
            if path.suffix == ".tmp":
                path.unlink()
            elif path.suffix == ".object":
                version = _loaded(path)
                self._remove(version.key, version.version_id)  # a put was killed before it removed what it replaced
                self._versions.setdefault(version.key, []).append(version)
        self._keys[:] = sorted(key for key, versions in self._versions.items() if not versions[-1].marker)

    def _settled(self, version: Version) -> Version:
        if self.folder is None:
            return version
        staged = version.content if isinstance(version.content, Path) else self.folder / f"{secrets.token_hex(8)}.tmp"
        path = self.folder / f"{next(_SERIAL):020}-{version.version_id}.object"
        if isinstance(version.content, bytes):
            version = _written(version, staged)
        staged.rename(path)
        return replace(version, content=path)

    def _remove(self, key: str, version_id: str) -> Version | None:
        version = self.get(key, version_id)
        if version:
            self._versions[key].remove(version)
            if not self._versions[key]:
                del self._versions[key]
            if isinstance(version.content, Path):
                version.content.unlink()
        return version

    def _index(self, key: str) -> None:
        newest = self.get(key)
        at = bisect.bisect_left(self._keys, key)
        there = at < len(self._keys) and self._keys[at] == key
        if newest and not newest.marker and not there:
            self._keys.insert(at, key)
        elif there and (not newest or newest.marker):
            del self._keys[at]


class MadeUpBucket(Bucket):
    """`count` objects with the same content, which are computed and not stored; it can't be written to.

    Their keys are PREFIX000012/000012345.jpg, `per_folder` of them in each.
    """

    def __init__(
        self, name: str, created: float, count: int, content: bytes, prefix: str = "", per_folder: int = 1000
    ) -> None:
        super().__init__(name, created)
        self.keys: Sequence[str] = _MadeUpKeys(count, prefix, per_folder)
        self._sample = version_of("", content, created, {"Content-Type": "image/jpeg"})

    def __bool__(self) -> bool:
        return bool(self.keys)

    def get(self, key: str, version_id: str | None = None) -> Version | None:
        return replace(self._sample, key=key) if key in self.keys and version_id in (None, "null") else None


class _MadeUpKeys(Sequence[str]):
    """Sorted, as the numbers have leading zeros."""

    def __init__(self, count: int, prefix: str, per_folder: int) -> None:
        self._count, self._prefix, self._per_folder = count, prefix, per_folder

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self._key(number) for number in range(*at.indices(self._count))]
        if not -self._count <= at < self._count:
            raise IndexError(at)
        return self._key(at % self._count)

    def __contains__(self, key: object) -> bool:
        number = str(key).rpartition("/")[2].removesuffix(".jpg")
        return number.isdecimal() and int(number) < self._count and self._key(int(number)) == key

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number // self._per_folder:06}/{number:09}.jpg"


class Page(NamedTuple):
    """Keys and common prefixes of one answer; `token` goes on after them, None: that was all."""

    keys: list[str]
    prefixes: list[str]
    token: str | None


def list_page(keys: Sequence[str], prefix: str, delimiter: str, after: str, limit: int) -> Page:
    """The first `limit` keys and common prefixes after `after`, a key or what `token_of` made of an earlier answer."""
    page, last = Page([], [], None), ""
    for name, is_prefix in _entries(keys, prefix, delimiter, after):
        if len(page.keys) + len(page.prefixes) == limit:
            return page._replace(token=last)
        (page.prefixes if is_prefix else page.keys).append(name)
        last = name + _LAST if is_prefix else name
    return page


def _entries(keys: Sequence[str], prefix: str, delimiter: str, after: str) -> Iterator[tuple[str, bool]]:
    at = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, after))
    while at < len(keys) and (key := keys[at]).startswith(prefix):
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            yield key, False
            at += 1
        else:
            common = key[: end + len(delimiter)]
            yield common, True
            at = bisect.bisect_right(keys, common + _LAST, at)


def token_of(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode().replace("=", "-")


def after_of(token: str) -> str:
    """What `token_of` was given; ValueError: it can't have made this."""
    return base64.b64decode(token.rstrip("-") + "=" * (-len(token.rstrip("-")) % 4), b"-_", validate=True).decode()


def _written(version: Version, path: Path) -> Version:
    """A file of a line that describes it, its version id apart, which its name will hold, and the content."""
    described = asdict(replace(version, content=b""))
    del described["content"], described["offset"], described["version_id"]
    line = json.dumps(described).encode() + b"\n"
    path.write_bytes(line + version.read())
    return replace(version, content=path, offset=len(line))


def _loaded(path: Path) -> Version:
    with path.open("rb") as file:
        line = file.readline()
    version_id = path.stem.partition("-")[2]
    return Version(**json.loads(line), version_id=version_id, content=path, offset=len(line))


def _new_id() -> str:
    return "CAEQ" + secrets.token_hex(24)


def _crc64_of_liblzma() -> "ctypes._NamedFuncPointer | None":
    """The C function behind the .xz format's check, which is the same CRC: 600 times as fast as a table in Python."""
    try:
        import _lzma

        function = ctypes.CDLL(_lzma.__file__).lzma_crc64
    except (ImportError, OSError, AttributeError):  # built without it, or with it inside
        return None
    function.restype, function.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64)
    return function


def _table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [(value >> 1) ^ (0xC96C5795D7870F42 if value & 1 else 0) for value in table]
    return table


_FAST, _TABLE = _crc64_of_liblzma(), _table()


def crc64(data: bytes) -> int:
    """CRC-64 of ECMA-182, reflected: that of b"123456789" is 0x995DC9BBDF1939FA."""
    return int(_FAST(data, len(data), 0)) if _FAST else crc64_in_python(data)


def crc64_in_python(data: bytes) -> int:
    value = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFFFFFFFFFF
