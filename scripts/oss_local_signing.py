"""OSS4-HMAC-SHA256, OSS's V4 signature, read from a request: in its Authorization header, or in its URL (presigned).

A request is signed over its canonical form, which is put together here from what arrived:

    METHOD \n /BUCKET/KEY, quoted \n query, sorted \n headers, sorted \n names of additional headers \n payload's hash

Signed are all x-oss- headers, Content-Type, Content-MD5, and the additional headers that the request names. The key is
derived from the secret, the day, the region and the product. Source: the vendor's "V4 signature" and the SDK's signer.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from urllib.parse import quote, unquote

ALGORITHM = "OSS4-HMAC-SHA256"


@dataclass(frozen=True)
class Signature:
    """What a request says of its signature; `date` is as it came, such as 20261122T180000Z, `expires` in seconds."""

    access_key_id: str
    day: str
    region: str
    product: str
    date: str
    additional_headers: tuple[str, ...]
    value: str
    token: str
    expires: int | None = None

    @property
    def scope(self) -> str:
        return f"{self.day}/{self.region}/{self.product}/aliyun_v4_request"

    def string_to_sign(self, canonical_request: str) -> str:
        digest = hashlib.sha256(canonical_request.encode()).hexdigest()
        return "\n".join([ALGORITHM, self.date, self.scope, digest])

    def expected(self, secret: str, string_to_sign: str) -> str:
        key = b"aliyun_v4" + secret.encode()
        for part in (self.day, self.region, self.product, "aliyun_v4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.new(key, string_to_sign.encode(), "sha256").hexdigest()


def of_header(headers: Message, date: str) -> Signature | None:
    """The signature in the Authorization header; None: it is not one of V4."""
    fields = _fields(headers.get("Authorization", ""))
    token = headers.get("x-oss-security-token", "")
    if fields is None:
        return None
    return _signature(
        fields.get("Credential", ""), date, fields.get("AdditionalHeaders", ""), fields.get("Signature", ""), token
    )


def of_query(query: Mapping[str, str]) -> Signature | None:
    """The signature of a presigned URL; None: it is none of V4, or not whole."""
    if query.get("x-oss-signature-version") != ALGORITHM or not query.get("x-oss-expires", "").isdecimal():
        return None
    return _signature(
        query.get("x-oss-credential", ""),
        query.get("x-oss-date", ""),
        query.get("x-oss-additional-headers", ""),
        query.get("x-oss-signature", ""),
        query.get("x-oss-security-token", ""),
        int(query["x-oss-expires"]),
    )


def canonical_request(method: str, target: str, headers: Message, additional: tuple[str, ...]) -> str:
    """`target` is the path and query of the request's first line, as it came."""
    path, _, query = target.partition("?")
    signed = sorted((name.lower(), value.strip()) for name, value in headers.items() if _is_signed(name, additional))
    return "\n".join(
        [
            method,
            _requoted(path, safe="/"),
            _canonical_query(query),
            "".join(f"{name}:{value}\n" for name, value in signed),
            ";".join(additional),
            headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )


def _fields(authorization: str) -> dict[str, str] | None:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        return None
    return dict(re.findall(r"(\w+)=([^,\s]*)", rest))


def _signature(
    credential: str, date: str, additional: str, value: str, token: str, expires: int | None = None
) -> Signature | None:
    match = re.fullmatch(r"([^/]+)/([^/]+)/([^/]*)/([^/]*)/aliyun_v4_request", credential)
    if not match or not value:
        return None
    names = tuple(name for name in additional.lower().split(";") if name)
    access_key_id, day, region, product = match.groups()
    return Signature(access_key_id, day, region, product, date, names, value, token, expires)


def _is_signed(name: str, additional: tuple[str, ...]) -> bool:
    name = name.lower()
    return name.startswith("x-oss-") or name in ("content-type", "content-md5") or name in additional


def _canonical_query(query: str) -> str:
    pairs = sorted(tuple(map(_requoted, item.partition("=")[::2])) for item in query.split("&") if item)
    return "&".join(f"{name}={value}" if value else name for name, value in pairs if name != "x-oss-signature")


def _requoted(text: str, safe: str = "") -> str:
    """Quoted in the one way that is signed, however it came."""
    return quote(unquote(text, errors="surrogateescape"), safe=safe, errors="surrogateescape")
