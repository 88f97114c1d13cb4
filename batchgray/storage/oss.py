"""A bucket of Alibaba Cloud's Object Storage Service, or a prefix of it.

OSS has no compare-and-swap: If-Match and If-None-Match on a put are refused. What it has is `x-oss-forbid-overwrite`,
and two things are to be known of it:

- an answer may be lost and the put tried again, so that what is found there may be one's own. It is SAME, as the bytes
  are equal;
- a bucket whose versioning is on or suspended ignores it. The answer then has a version id, and the bucket is Unfit.

Outputs are single puts, with their MD5 for OSS to check: there are no parts that could be left behind. What is read, if
it is all of an object, is held against its CRC-64, or where this machine has none, against its MD5, if OSS has one.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree

from batchgray.records import InputVersion
from batchgray.storage.base import BadKey, Changed, Content, Entry, Missing, Put, Unfit, Unreachable, read_all
from batchgray.storage.crc64 import crc64
from batchgray.storage.keys import KeySpace, is_marker
from batchgray.storage.oss_calls import Body, Call, OssAccess, OssCalls, Refused, Reply
from batchgray.storage.retrying import Again, persist

MOST_KEY_BYTES = 1023
VERSIONED = "the bucket has versioning on or suspended, under which OSS replaces what it is told to keep"

_PAGE = 1000  # the most that OSS lists at once
_TAKEN = "FileAlreadyExists"
_BEHIND_THE_END = "InvalidRange"


class _Page(NamedTuple):
    objects: list[tuple[str, int, str]]  # full key, size, ETag
    token: str  # "" at the end


class OssPlace:
    """See `Place`. Besides, any call may raise BadKey, and put_absent Unfit."""

    def __init__(self, bucket: str, prefix: str, access: OssAccess) -> None:
        self.name = f"oss://{bucket}/{prefix}".rstrip("/")
        self._keys = KeySpace(prefix, MOST_KEY_BYTES)
        self._calls = OssCalls(bucket, access)
        self.endpoint = access.endpoint

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """A page is asked for when the one before is used up."""
        parameters = {"list-type": "2", "encoding-type": "url", "max-keys": str(_PAGE)}
        parameters["prefix"] = self._keys.prefix + prefix
        if after:
            parameters["start-after"] = self._keys.prefix + after
        while True:
            page = self._page(parameters)
            for full, size, etag in page.objects:
                key = self._keys.below(full)
                if not is_marker(key, size):
                    yield Entry(key, size, _version(size, etag))
            if not page.token:
                return
            parameters["continuation-token"] = page.token

    def stat(self, key: str) -> Entry:
        headers = self._head(key)
        size = int(headers["Content-Length"])
        return Entry(key, size, _version(size, headers["ETag"]))

    def age(self, key: str) -> float | None:
        """See `Place`: both times are of the same answer, to the second."""
        headers = self._head(key)
        try:
            now, put = (parsedate_to_datetime(headers[name]) for name in ("Date", "Last-Modified"))
        except (KeyError, ValueError):
            return None
        return max(0.0, (now - put).total_seconds())

    def get(self, key: str, version: InputVersion | None = None, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and end <= start:
            self._check(key, version)
            return b""
        headers = {} if version is None else {"If-Match": f'"{version.etag}"'}
        if (start, end) != (0, None):
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
            headers["x-oss-range-behavior"] = "standard"  # else one that is not within the object gets all of it
        call = self._call("GetObject", "GET", key, headers)
        try:
            return persist(lambda: self._read(call), self._calls.patience)
        except Refused:
            return b""

    def put(self, key: str, content: Content) -> None:
        body = read_all(content)
        self._calls(self._call("PutObject", "PUT", key, {"Content-MD5": _digest(body)}, body))

    def put_absent(self, key: str, content: Content) -> Put:
        body = read_all(content)
        headers = {"Content-MD5": _digest(body), "x-oss-forbid-overwrite": "true"}
        call = self._call("PutObject", "PUT", key, headers, body)
        return persist(lambda: self._put_absent(call), self._calls.patience)

    def delete(self, key: str) -> None:
        self._calls(self._call("DeleteObject", "DELETE", key))

    def close(self) -> None:
        self._calls.close()

    def versioning(self) -> str:
        """`Enabled`, `Suspended`, or "" where the bucket never had it."""
        reply = self._calls(Call(operation="GetBucketVersioning", method="GET", parameters={"versioning": ""}))
        return _parsed(reply.content).findtext("Status", "")

    def _call(
        self, operation: str, method: str, key: str, headers: Mapping[str, str] | None = None, body: Body = b""
    ) -> Call:
        """Raises BadKey."""
        full = self._keys.full(key)
        return Call(operation=operation, method=method, key=key, full=full, headers=headers or {}, body=body)

    def _read(self, call: Call) -> bytes:
        """Raises Refused, and Again where the bytes are others than the object's."""
        reply = self._calls(call, {_BEHIND_THE_END})
        if _is_whole(reply) and not _is_as_told(reply):
            raise Again(BadKey(call.key, "what comes of it are other bytes than its checksum is of"))
        return reply.content

    def _head(self, key: str) -> Mapping[str, str]:
        return self._calls(self._call("HeadObject", "HEAD", key)).headers

    def _check(self, key: str, version: InputVersion | None) -> None:
        found = self.stat(key).version
        if version is not None and not version.is_same(found):
            raise Changed(key, "it is another version")

    def _put_absent(self, call: Call) -> Put:
        try:
            answer = self._calls(call, {_TAKEN}).headers
        except Refused:
            return self._compare(call)
        if "x-oss-version-id" in answer:
            raise Unfit(call.key, VERSIONED)
        return Put.CREATED

    def _compare(self, call: Call) -> Put:
        """What is under a name that is taken. It is read only where neither its size nor its MD5 tells."""
        try:
            found = self._head(call.key)
            if int(found["Content-Length"]) != memoryview(call.body).nbytes:
                return Put.OTHER
            if md5 := found.get("Content-MD5"):
                return Put.SAME if md5 == call.headers["Content-MD5"] else Put.OTHER
            return Put.SAME if self.get(call.key) == call.body else Put.OTHER
        except Missing:  # it was removed meanwhile, and the name is free
            raise Again(Changed(call.key, "it comes and goes")) from None

    def _page(self, parameters: dict[str, str]) -> _Page:
        return persist(lambda: self._read_page(dict(parameters)), self._calls.patience)

    def _read_page(self, parameters: dict[str, str]) -> _Page:
        """Raises Again where the answer is not as documented."""
        reply = self._calls(Call(operation="ListObjectsV2", method="GET", parameters=parameters))
        try:
            root = _parsed(reply.content)
            objects = [
                (unquote(item.findtext("Key", "")), int(item.findtext("Size", "")), item.findtext("ETag", ""))
                for item in root.iterfind("Contents")
            ]
        except ValueError:
            raise Again(Unreachable("", "OSS's listing is not as documented")) from None
        return _Page(objects, root.findtext("NextContinuationToken", ""))


def _version(size: int, etag: str) -> InputVersion:
    return InputVersion(size=size, mtime_ns=0, etag=etag.strip('"'))


def _is_whole(reply: Reply) -> bool:
    """Whether the answer is all of an object, and no part of it."""
    content_range = reply.headers.get("Content-Range")
    return content_range is None or content_range.rpartition("/")[2] == str(len(reply.content))


def _is_as_told(reply: Reply) -> bool:
    """Whether all of an object has the checksum that OSS tells, if any."""
    told = reply.headers.get("x-oss-hash-crc64ecma")
    if told and crc64 is not None:
        return told == str(crc64(reply.content))
    md5 = reply.headers.get("Content-MD5")
    return md5 is None or md5 == _digest(reply.content)


def _digest(body: Body) -> str:
    """As Content-MD5 has it."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _parsed(content: bytes) -> ElementTree.Element:
    """Raises ValueError."""
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
