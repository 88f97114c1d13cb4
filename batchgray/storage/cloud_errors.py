"""What the errors of obstore mean for a place.

It tells a missing object, a refused right and a failed condition apart by their types, and all else by words that hold
the answer: `status code: 404`, and `<Code>NoSuchBucket</Code>` where the store sent a document. A HEAD has none.
"""

import re

import msgspec

from batchgray.errors import shown
from batchgray.storage.base import (
    BadKey,
    Busy,
    Changed,
    Denied,
    Full,
    LockedOut,
    Missing,
    NoPlace,
    PlaceError,
    Unreachable,
)
from batchgray.texts import one_line

_STATUS = re.compile(r"status(?: code)?: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_TRANSPORT = re.compile(r"HTTP error: ([^\n]*)")

_REDIRECT = "Received redirect without LOCATION"
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "ResourceNotFound"})
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_MAY_PASS = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "ServerBusy"})
_KINDS: dict[str, tuple[type[PlaceError], str]] = {
    "InvalidAccessKeyId": (LockedOut, "the store does not know the access key"),
    "SignatureDoesNotMatch": (LockedOut, "the signature is wrong; check the secret key"),
    "ExpiredToken": (LockedOut, "the session token has expired; set a new one"),
    "TokenRefreshRequired": (LockedOut, "the session token has expired; set a new one"),
    "RequestTimeTooSkewed": (LockedOut, "this machine's clock is more than 15 minutes off the store's; set it"),
    "InvalidObjectState": (BadKey, "it is archived; restore it first"),
    "EntityTooLarge": (BadKey, "it is larger than one put may be"),
    "KeyTooLongError": (BadKey, "its name is longer than the store takes"),
    "QuotaExceeded": (Full, "the quota is used up"),
    "XMinioStorageFull": (Full, "the store has no room left"),
}


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What an error of obstore tells: the name of its type, HTTP status (0 where there was no answer), code, text."""

    kind: str
    status: int
    code: str
    text: str

    @property
    def may_pass(self) -> bool:
        """Whether the same request may work later."""
        has_no_answer = not self.status and "HTTP error" in self.text
        return self.status >= 500 or self.status in (408, 429) or self.code in _MAY_PASS or has_no_answer

    @property
    def is_behind_the_end(self) -> bool:
        """Whether a range began where the object has no more bytes."""
        return self.status == 416 or "Wanted range starting at" in self.text


def failure_of(error: Exception) -> Failure:
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    kind = "NotFound" if isinstance(error, FileNotFoundError) else type(error).__name__
    return Failure(kind=kind, status=int(status[1]) if status else 0, code=code[1] if code else "", text=text)


def meaning_of(failure: Failure, key: str, action: str, place: str) -> PlaceError:
    """`action` is what was wanted, `place` is a URL."""
    if failure.kind in ("InvalidPathError", "ValueError"):
        return BadKey(
            key, f"its name, or one below it, is none that can be had: {_first_line(failure.text)}; rename it"
        )
    if failure.code in _NO_BUCKET:
        return NoPlace("", f"there is no bucket at {place}; check its name and the region, or create it")
    if failure.code in _ELSEWHERE or failure.status in (301, 307) or _REDIRECT in failure.text:
        return NoPlace(
            "", f"the bucket of {place} is in another region; set AWS_REGION, or AWS_ENDPOINT_URL, to its own"
        )
    if failure.code in _KINDS:
        kind, words = _KINDS[failure.code]
        return kind("" if kind is LockedOut else key, words)
    if failure.kind == "NotFound":
        return Missing(key, "there is no such object")
    if failure.kind == "PreconditionError":
        return Changed(key, "it is another version")
    if failure.kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return Denied(key, f"{action} is denied; grant it to the credentials that are used")
    if failure.status in (429, 503) or failure.code in _MAY_PASS:
        return Busy(key, f"the store wants fewer requests: {failure.status} {failure.code}".rstrip())
    return Unreachable(key, _words(failure))


def _words(failure: Failure) -> str:
    if failure.status:
        return f"the store answered {failure.status} {failure.code}".rstrip()
    transport = _TRANSPORT.search(failure.text)
    return f"the store can't be reached ({shown(transport[1] if transport else _first_line(failure.text))})"


def _first_line(text: str) -> str:
    return one_line(text.partition("\n")[0].replace("Could not parse path: ", ""))
