"""What OSS's requests and answers say, in its own words: errors, headers, conditions, ranges, XML."""

import base64 as b64
import functools
import re
import time
from collections.abc import Callable, Mapping
from email.message import Message
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape

from oss_local_buckets import Version

# Status, number of the vendor's (EC; "" where it is not known), and message.
ERRORS: dict[str, tuple[int, str, str]] = {
    "AccessDenied": (403, "", "You have no right to access this object because of bucket acl."),
    "BucketNotEmpty": (409, "0015-00000301", "The bucket has objects. Please delete them first."),
    "DownloadTrafficRateLimitExceeded": (503, "", "Please reduce your download request traffic."),
    "FileAlreadyExists": (409, "0026-00000002", "The object you specified already exists and can not be overwritten."),
    "InternalError": (500, "", "Please contact the server administrator, oss@service.aliyun.com."),
    "InDebt": (403, "", "Current user is indebted."),
    "InvalidAccessKeyId": (
        403,
        "0002-00000902",
        "The OSS Access Key Id you provided does not exist in our records.",
    ),
    "InvalidArgument": (400, "", "Invalid Argument."),
    "InvalidBucketName": (400, "0015-00000001", "The specified bucket is not valid."),
    "InvalidDigest": (400, "", "The Content-MD5 you specified was invalid."),
    "InvalidObjectName": (400, "", "The specified object is not valid."),
    "InvalidRange": (416, "", "The requested range cannot be satisfied"),
    "InvalidSecurityToken": (403, "0002-00000006", "The security token you provided is invalid."),
    "MalformedXML": (
        400,
        "",
        "The XML you provided was not well-formed or did not validate against our published schema.",
    ),
    "MethodNotAllowed": (405, "", "The specified method is not allowed against this resource."),
    "MissingArgument": (400, "", "Missing Some Required Arguments."),
    "NoSuchBucket": (404, "0015-00000101", "The specified bucket does not exist."),
    "NoSuchKey": (404, "0026-00000001", "The specified key does not exist."),
    "NoSuchVersion": (404, "", "The specified version does not exist."),
    "NotImplemented": (400, "", "A header you provided implies functionality that is not implemented."),
    "PreconditionFailed": (412, "", "At least one of the pre-conditions you specified did not hold."),
    "QuotaExceeded": (403, "", "The storage capacity of the bucket has exceeded its quota."),
    "RequestTimeTooSkewed": (
        403,
        "0002-00000504",
        "The difference between the request time and the current time is too large.",
    ),
    "SecurityTokenExpired": (403, "0002-00000007", "The security token you provided has expired."),
    "ServiceUnavailable": (503, "", "Thread pool is almost full, please retry later."),
    "SignatureDoesNotMatch": (
        403,
        "0002-00000201",
        "The request signature we calculated does not match the signature you provided. "
        "Check your key and signing method.",
    ),
    "SlowDown": (503, "", "Please reduce your request rate."),
    "TotalQpsLimitExceeded": (503, "0004-00000302", "Max total qps limit is exceeded."),
    "UserDisable": (403, "", "UserDisable"),
    "UploadTrafficRateLimitExceeded": (503, "", "Please reduce your upload request traffic."),
}

# Headers of an object that are kept with it and given back.
KEPT_HEADERS = (
    "Content-Type",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Expires",
)


class OSSError(Exception):
    """An answer that is an error of the service; `fields` are those beyond the usual ones."""

    def __init__(
        self, code: str, message: str = "", ec: str = "", headers: Mapping[str, str] | None = None, **fields: str
    ):
        self.code, (self.status, known, usual) = code, ERRORS[code]
        super().__init__(message or usual)
        self.ec, self.headers, self.fields = ec or known, dict(headers or {}), fields


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


def check_key(key: str) -> None:
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:  # it is not UTF-8
        raise OSSError(
            "InvalidObjectName", ObjectName=key.encode(errors="surrogateescape").decode(errors="replace")
        ) from error
    if length > 1023 or key.startswith(("/", "\\")):
        raise OSSError("InvalidObjectName", ObjectName=key)


def check_conditions(version: Version, headers: Message, prefix: str = "") -> bool:
    """Whether the object is wanted: False is "not modified"; PreconditionFailed where it is another than expected."""
    match, none_match = headers.get(prefix + "If-Match"), headers.get(prefix + "If-None-Match")
    since, unmodified = headers.get(prefix + "If-Modified-Since"), headers.get(prefix + "If-Unmodified-Since")
    modified = int(version.modified)
    if match is not None and match.strip('"').upper() != version.etag:
        raise OSSError("PreconditionFailed", Condition="If-Match")
    if unmodified is not None and modified > parsedate_to_datetime(unmodified).timestamp():
        raise OSSError("PreconditionFailed", Condition="If-Unmodified-Since")
    same = none_match is not None and none_match.strip('"').upper() == version.etag
    return not same and not (since is not None and modified <= parsedate_to_datetime(since).timestamp())


def requested_range(headers: Message, size: int) -> tuple[int, int] | None:
    """First byte, and the one behind the last; None: everything, as for a range that is not within the object.

    With x-oss-range-behavior "standard", such a range is cut to the object, or is InvalidRange.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
    standard = headers.get("x-oss-range-behavior") == "standard"
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size
        within = 0 < int(match[2]) <= size
    else:
        start, end = int(match[1]), int(match[2]) + 1 if match[2] else size
        within = start < end <= size
    if within:
        return start, end
    if not standard:
        return None
    if start >= size or end <= start:
        raise OSSError("InvalidRange", headers={"Content-Range": f"bytes */{size}"}, ActualObjectSize=str(size))
    return start, min(end, size)


def max_keys(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise OSSError(
            "InvalidArgument",
            "Argument max-keys must be an integer between 1 and 1000.",
            ArgumentName="max-keys",
            ArgumentValue=text,
        )
    return int(text)


def kept_headers(headers: Message) -> dict[str, str]:
    kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
    own = {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-oss-meta-")}
    return {"Content-Type": "application/octet-stream"} | kept | own


def headers_of_put(version: Version) -> dict[str, str]:
    """Headers of the answer to a put or a copy."""
    headers = {"x-oss-hash-crc64ecma": str(version.crc64)}
    return headers if version.version_id == "null" else headers | {"x-oss-version-id": version.version_id}


def headers_of_get(version: Version, versioned: bool) -> dict[str, str]:
    return {
        **version.headers,
        "Accept-Ranges": "bytes",
        "ETag": f'"{version.etag}"',
        "Last-Modified": formatdate(version.modified, usegmt=True),
        "Content-MD5": b64.b64encode(bytes.fromhex(version.etag)).decode(),
        "x-oss-object-type": "Normal",
        "x-oss-storage-class": "Standard",
        "x-oss-hash-crc64ecma": str(version.crc64),
        **({"x-oss-version-id": version.version_id} if versioned else {}),
    }


def listed(version: Version, shown: Callable[[str], str], owner: str) -> str:
    return (
        f"<Contents><Key>{shown(version.key)}</Key><LastModified>{iso(version.modified)}</LastModified>"
        f'<ETag>"{version.etag}"</ETag><Type>Normal</Type><Size>{version.size}</Size>'
        f"<StorageClass>Standard</StorageClass>{owner}</Contents>"
    )


def deleted(key: str, version_id: str | None, removed: Version | None, shown: Callable[[str], str]) -> str:
    """An entry of the answer to deleting several."""
    of_version = f"<VersionId>{version_id}</VersionId>" if version_id else ""
    if removed and removed.marker:
        of_version += (
            f"<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{removed.version_id}</DeleteMarkerVersionId>"
        )
    return f"<Deleted><Key>{shown(key)}</Key>{of_version}</Deleted>"


def quoted(text: str) -> str:
    return quote(text, safe="")


@functools.lru_cache  # objects that are made up are all of one moment
def iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03}Z"


def xml_answer(name: str, content: Any) -> Answer:
    return Answer(200, xml(name, content), {"Content-Type": "application/xml"})


def xml(name: str, content: Any) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_element(name, content)}'.encode()


def _element(name: str, content: Any) -> str:
    """`content` is a text, elements by name, pairs of name and content, or a list of what is XML already."""
    if isinstance(content, Mapping):
        inner = "".join(_element(key, value) for key, value in content.items())
    elif isinstance(content, list):
        inner = "".join(part if isinstance(part, str) else _element(*part) for part in content)
    else:
        inner = escape(str(content))
    return f"<{name}>{inner}</{name}>"
