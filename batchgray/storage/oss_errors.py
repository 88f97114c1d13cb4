"""What OSS's refusals mean for a place, and in words: which of bucket, key, right, region, signature or clock it is."""

import re
from collections.abc import Mapping
from datetime import datetime

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

_REFUSED_TOKEN = frozenset({"SecurityTokenExpired", "InvalidSecurityToken", "InvalidAccessKeyId"})
_WRONG_SIGNING_REGION = "0002-00000226"

_KINDS: dict[str, tuple[type[PlaceError], str]] = {
    "NoSuchKey": (Missing, "there is no such object"),
    "PreconditionFailed": (Changed, "it is another version"),
    "InvalidObjectName": (BadKey, "OSS takes no such name; rename it"),
    "EntityTooLarge": (BadKey, "it is larger than the 5 GB that one put may have"),
    "InvalidObjectState": (BadKey, "it is archived; restore it first"),
    "QuotaExceeded": (Full, "the bucket's quota is used up"),
    "InvalidAccessKeyId": (LockedOut, "OSS does not know the access key; check ALIBABA_CLOUD_ACCESS_KEY_ID"),
    "SignatureDoesNotMatch": (LockedOut, "the signature is wrong; check ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
    "InvalidSecurityToken": (LockedOut, "the security token is wrong; check ALIBABA_CLOUD_SECURITY_TOKEN"),
    "AccessKeyIdAndSecurityTokenNotMatch": (
        LockedOut,
        "the security token is another key's; check ALIBABA_CLOUD_SECURITY_TOKEN",
    ),
    "SecurityTokenExpired": (
        LockedOut,
        "the security token has expired; set a new one, or use the instance's RAM role, whose tokens are renewed",
    ),
    **dict.fromkeys(
        ("UserDisable", "InDebt", "InDebtOverdue"),
        (LockedOut, "the account is disabled; see whether its bills are paid"),
    ),
    **dict.fromkeys(
        ("BucketDisable", "AbnormalBucketOwnerStatus"),
        (LockedOut, "the bucket is disabled; see whether its owner's bills are paid, and the messages in the console"),
    ),
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of OSS that is an error; `fields` are all that its document has."""

    status: int
    code: str
    message: str = ""
    ec: str = ""
    fields: Mapping[str, str] = {}
    retry_after: float = 0.0

    @property
    def may_pass(self) -> bool:
        """Whether the same request may work later."""
        return self.status >= 500 or self.status in (408, 429) or self.code in ("OperationAborted", "RequestTimeout")

    @property
    def is_of_the_token(self) -> bool:
        """Whether the request may work with credentials that are renewed."""
        return self.code in _REFUSED_TOKEN


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go."""

    name: str
    endpoint: str
    region: str


def meaning_of(refusal: Refusal, key: str, action: str, bucket: Bucket) -> PlaceError:
    """`action` is the RAM action that was wanted."""
    if refusal.may_pass:
        return _passing(refusal, key)
    if elsewhere := _elsewhere(refusal, bucket):
        return NoPlace("", elsewhere)
    if refusal.code == "NoSuchBucket":
        where = f"{bucket.name} at {bucket.endpoint}"
        return NoPlace("", f"there is no bucket {where}; check its name, or create it")
    if refusal.code == "AccessDenied":
        return Denied(key, f"{action} is denied; grant it to the access key or the RAM role")
    if refusal.code == "RequestTimeTooSkewed":
        return LockedOut("", f"this machine's clock is {_apart(refusal)}; set it")
    if refusal.code in _KINDS:
        kind, words = _KINDS[refusal.code]
        return kind("" if kind is LockedOut else key, words)
    kind = {404: Missing, 403: Denied}.get(refusal.status, Unreachable)
    return kind(key, f"OSS answered {refusal.status} {shown(refusal.code)}: {one_line(refusal.message)}")


def _passing(refusal: Refusal, key: str) -> PlaceError:
    """500 is a fault of the service, 503 that it has too much to do."""
    kind = Unreachable if refusal.status in (500, 502, 504) else Busy
    words = "OSS has a fault" if kind is Unreachable else "OSS wants fewer requests"
    return kind(key, f"{words}: {refusal.status} {shown(refusal.code)}")


def _elsewhere(refusal: Refusal, bucket: Bucket) -> str:
    """What is wrong with region or endpoint; "" where that is not what was refused."""
    if refusal.ec == _WRONG_SIGNING_REGION or "signing region" in refusal.message:
        return f"{bucket.region} is not the region of {bucket.endpoint}; set OSS_REGION to the bucket's"
    endpoint = refusal.fields.get("Endpoint", "")
    if refusal.code in ("AccessDenied", "TemporaryRedirect", "PermanentRedirect") and endpoint:
        return (
            f"the bucket {bucket.name} is at {shown(endpoint)}; set OSS_ENDPOINT to that, and OSS_REGION to its region"
        )
    return ""


def _apart(refusal: Refusal) -> str:
    """How far the clock is off, from the two times in the answer."""
    times = [re.sub(r"\.\d+Z$", "+00:00", refusal.fields.get(name, "")) for name in ("RequestTime", "ServerTime")]
    try:
        ours, theirs = (datetime.fromisoformat(time) for time in times)
    except ValueError:
        return "more than 15 minutes off"
    seconds = (ours - theirs).total_seconds()
    return f"{abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} OSS's"
