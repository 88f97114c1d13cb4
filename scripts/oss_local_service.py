"""What OSS does: it finds out who asks, grants or denies, and works on buckets and objects. It knows no connection."""

import base64 as b64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import oss_local_signing
from metadata_local import InstanceMetadata
from oss_local_buckets import Bucket, MadeUpBucket, Version, after_of, list_page, token_of, version_of
from oss_local_forms import (
    Answer,
    OSSError,
    check_conditions,
    check_key,
    deleted,
    headers_of_get,
    headers_of_put,
    iso,
    kept_headers,
    listed,
    max_keys,
    quoted,
    requested_range,
    xml_answer,
)
from oss_local_policies import grants
from oss_local_signing import Signature

MAX_CLOCK_SKEW_SECONDS = 15 * 60
MAX_PRESIGNED_SECONDS = 7 * 24 * 3600
OWNER = "1690000000000030"
REFUSED_ON_PUT = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
KNOWN_PARAMETERS = {
    *("bucketInfo", "location", "versioning", "versionId", "delete", "encoding-type", "objectMeta"),
    *("list-type", "prefix", "delimiter", "start-after", "continuation-token", "max-keys", "fetch-owner"),
    *("x-oss-signature-version", "x-oss-credential", "x-oss-date", "x-oss-expires", "x-oss-additional-headers"),
    *("x-oss-signature", "x-oss-security-token"),
}


class Asked(Protocol):
    """What this module reads of a request. `path` is as it came, with its query; `query`, `bucket_name` and `key` are
    unquoted. The RAM actions that it takes are added to `actions`."""

    command: str
    path: str
    headers: Message
    body: bytes
    query: Mapping[str, str]
    operation: str
    bucket_name: str
    key: str
    actions: list[str]


class Service:
    """All state, guarded by one condition; see LocalOSS for what may be changed."""

    def __init__(
        self,
        access_key_id: str,
        access_key_secret: str,
        region: str,
        folder: Path | None,
        metadata: InstanceMetadata,
        denied: Iterable[str],
        skew: float,
    ) -> None:
        self.access_key_id, self.access_key_secret, self.region = access_key_id, access_key_secret, region
        self.folder, self.metadata, self.denied, self.skew = folder, metadata, set(denied), skew
        self.policies: list[dict[str, Any]] | None = None
        self.buckets: dict[str, Bucket] = {}
        self._changed = threading.Condition()
        self._load()

    def now(self) -> float:
        """The server's wall clock, as its answers show it. Tokens run out by that of `metadata`."""
        return time.time() + self.skew

    def create_bucket(self, name: str, versioning: str = "") -> Bucket:
        """Make a bucket; `versioning` is "", "Enabled" or "Suspended". One that is there is left as it is."""
        with self._changed:
            if name in self.buckets:
                return self.buckets[name]
            bucket = Bucket(name, self.now(), self.folder / name if self.folder else None, versioning)
            bucket.save()
            self.buckets[name] = bucket
            return bucket

    def make_up_bucket(self, name: str, count: int, content: bytes, prefix: str = "", per_folder: int = 1000) -> Bucket:
        """A bucket of `count` objects with this content, computed and not stored, that can't be written to."""
        with self._changed:
            self.buckets[name] = MadeUpBucket(name, self.now(), count, content, prefix, per_folder)
            return self.buckets[name]

    def put(self, bucket: str, key: str, content: bytes, content_type: str = "application/octet-stream") -> Version:
        """Place an object, past all conditions and faults."""
        version = self.buckets[bucket].stage(version_of(key, content, self.now(), {"Content-Type": content_type}))
        with self._changed:
            return self.buckets[bucket].put(version)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """The objects that are there, with their content."""
        with self._changed:
            of = self.buckets[bucket]
            return {key: version.read() for key in of.keys if (version := of.get(key))}

    def perform(self, request: Asked) -> Answer:
        """Look for the bucket, find out who asks and whether it is granted, and do it; OSSError: it is refused."""
        if request.bucket_name:
            self._check_bucket(request)
        self._authenticate(request)
        if unknown := request.query.keys() - KNOWN_PARAMETERS:
            raise OSSError("NotImplemented", f"This server does not implement {', '.join(sorted(unknown))}.")
        if request.key:
            check_key(request.key)
        if action := ACTIONS.get(request.operation):
            self._grant(request, action + ("Version" if "versionId" in request.query else ""))
        return _PERFORM[request.operation](self, request)

    def _check_bucket(self, request: Asked) -> None:
        """Ahead of the signature, since the service finds by the bucket who answers for it."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", request.bucket_name):
            raise OSSError("InvalidBucketName", BucketName=request.bucket_name)
        if request.operation != "PutBucket":
            self._bucket(request.bucket_name)

    def _grant(self, request: Asked, action: str) -> None:
        request.actions.append(action)
        if action in self.denied or not self._is_allowed(request, action):
            raise OSSError("AccessDenied")

    def _is_allowed(self, request: Asked, action: str) -> bool:
        resource = f"{request.bucket_name}/{request.key}" if request.key else request.bucket_name
        conditions = {"oss:Prefix": request.query.get("prefix", "")}
        return self.policies is None or grants(self.policies, action, resource, conditions)

    def _bucket(self, name: str) -> Bucket:
        with self._changed:
            if name not in self.buckets:
                raise OSSError("NoSuchBucket", BucketName=name)
            return self.buckets[name]

    def _writable(self, name: str) -> Bucket:
        bucket = self._bucket(name)
        if isinstance(bucket, MadeUpBucket):
            raise OSSError("AccessDenied", "The bucket is made up: it can't be written to.")
        return bucket

    def _authenticate(self, request: Asked) -> None:
        signature = self._signature(request)
        secret = self._secret(signature)
        if signature.product != "oss":
            raise OSSError("InvalidArgument", "Invalid signing product in Authorization header.", "0002-00000227")
        if signature.region != self.region:
            raise OSSError("InvalidArgument", "Invalid signing region in Authorization header.", "0002-00000226")
        self._check_date(signature)
        canonical = oss_local_signing.canonical_request(
            request.command, request.path, request.headers, signature.additional_headers
        )
        text = signature.string_to_sign(canonical)
        if not secrets.compare_digest(signature.expected(secret, text), signature.value):
            raise OSSError(
                "SignatureDoesNotMatch",
                OSSAccessKeyId=signature.access_key_id,
                SignatureProvided=signature.value,
                StringToSign=text,
                CanonicalRequest=canonical,
            )

    def _signature(self, request: Asked) -> Signature:
        if "Authorization" in request.headers:
            signature = oss_local_signing.of_header(request.headers, _date_of(request.headers))
        elif "x-oss-signature" in request.query:
            signature = oss_local_signing.of_query(request.query)
        else:
            what = "object" if request.key else "bucket"
            raise OSSError("AccessDenied", f"Anonymous user has no right to access this {what}.", "0003-00000905")
        if signature is None:
            raise OSSError("InvalidArgument", "Authorization header is invalid.")
        return signature

    def _secret(self, signature: Signature) -> str:
        if signature.access_key_id == self.access_key_id:
            if signature.token:
                raise OSSError("InvalidSecurityToken")
            return self.access_key_secret
        given = self.metadata.given_out(signature.access_key_id)
        if given is None:
            raise OSSError("InvalidAccessKeyId", OSSAccessKeyId=signature.access_key_id)
        if not signature.token:
            message = (
                "The OSS Access Key Id you provided does not exist in our records. "
                "The Security Token may be lost to specify that it is a STS Access Id."
            )
            raise OSSError("InvalidAccessKeyId", message, "0002-00000003", OSSAccessKeyId=signature.access_key_id)
        if signature.token != given.security_token:
            raise OSSError("InvalidSecurityToken", SecurityToken=signature.token)
        if given.expires <= self.metadata.now():
            raise OSSError("SecurityTokenExpired", SecurityToken=signature.token)
        return given.access_key_secret

    def _check_date(self, signature: Signature) -> None:
        sent = _parsed(signature.date)
        if signature.day != signature.date[:8]:
            raise OSSError("InvalidArgument", "Invalid signing date in Authorization header.", "0002-00000212")
        if signature.expires is not None:
            if signature.expires > MAX_PRESIGNED_SECONDS:
                raise OSSError("InvalidArgument", "x-oss-expires must be less than a week (in seconds).")
            if sent + signature.expires < self.metadata.now() + self.skew:
                times = iso(sent + signature.expires), iso(self.now())
                raise OSSError("AccessDenied", "Request has expired.", Expires=times[0], ServerTime=times[1])
        elif abs(self.now() - sent) > MAX_CLOCK_SKEW_SECONDS:
            raise OSSError(
                "RequestTimeTooSkewed",
                MaxAllowedSkewMilliseconds=str(MAX_CLOCK_SKEW_SECONDS * 1000),
                RequestTime=iso(sent),
                ServerTime=iso(self.now()),
            )

    def _list_buckets(self, request: Asked) -> Answer:
        with self._changed:
            buckets = [self.buckets[name] for name in sorted(self.buckets)]
        described = [("Bucket", self._described(bucket)) for bucket in buckets]
        return xml_answer("ListAllMyBucketsResult", {"Owner": _OWNER, "Buckets": described})

    def _put_bucket(self, request: Asked) -> Answer:
        self.create_bucket(request.bucket_name)
        return Answer(200, headers={"Location": f"/{request.bucket_name}"})

    def _delete_bucket(self, request: Asked) -> Answer:
        with self._changed:
            bucket = self._bucket(request.bucket_name)
            if bucket:
                raise OSSError("BucketNotEmpty", BucketName=bucket.name)
            bucket.remove()
            del self.buckets[bucket.name]
        return Answer(204)

    def _described(self, bucket: Bucket) -> dict[str, Any]:
        return {
            "CreationDate": iso(bucket.created),
            "ExtranetEndpoint": f"oss-{self.region}.aliyuncs.com",
            "IntranetEndpoint": f"oss-{self.region}-internal.aliyuncs.com",
            "Location": f"oss-{self.region}",
            "Name": bucket.name,
            "StorageClass": "Standard",
        }

    def _get_info(self, request: Asked) -> Answer:
        bucket = self._bucket(request.bucket_name)
        described = self._described(bucket) | {"Owner": _OWNER, "AccessControlList": {"Grant": "private"}}
        described |= {"Versioning": bucket.versioning} if bucket.versioning else {}
        return xml_answer(
            "BucketInfo", {"Bucket": described | {"DataRedundancyType": "LRS", "AccessMonitor": "Disabled"}}
        )

    def _get_location(self, request: Asked) -> Answer:
        return xml_answer("LocationConstraint", f"oss-{self.region}")

    def _get_versioning(self, request: Asked) -> Answer:
        status = self._bucket(request.bucket_name).versioning
        return xml_answer("VersioningConfiguration", {"Status": status} if status else {})

    def _put_versioning(self, request: Asked) -> Answer:
        status = _parsed_xml(request.body).findtext("Status", "")
        if status not in ("Enabled", "Suspended"):
            raise OSSError("MalformedXML")
        with self._changed:
            self._bucket(request.bucket_name).set_versioning(status)
        return Answer(200)

    def _list(self, request: Asked) -> Answer:
        query = {name: request.query.get(name, "") for name in ("prefix", "delimiter", "start-after")}
        limit, token = max_keys(request.query.get("max-keys", "100")), request.query.get("continuation-token", "")
        bucket = self._bucket(request.bucket_name)
        with self._changed:
            page = list_page(
                bucket.keys, query["prefix"], query["delimiter"], _after(query["start-after"], token), limit
            )
            found = [version for key in page.keys if (version := bucket.get(key))]
        shown = quoted if request.query.get("encoding-type") == "url" else escape
        owner = _OWNER_XML if request.query.get("fetch-owner") == "true" else ""
        parts = [
            f"<Name>{bucket.name}</Name><Prefix>{shown(query['prefix'])}</Prefix>",
            f"<StartAfter>{shown(query['start-after'])}</StartAfter>" if query["start-after"] else "",
            f"<MaxKeys>{limit}</MaxKeys><Delimiter>{shown(query['delimiter'])}</Delimiter>",
            "<EncodingType>url</EncodingType>" if shown is quoted else "",
            f"<ContinuationToken>{escape(token)}</ContinuationToken>" if token else "",
            f"<IsTruncated>{'true' if page.token else 'false'}</IsTruncated>",
            f"<NextContinuationToken>{token_of(page.token)}</NextContinuationToken>" if page.token else "",
            *(listed(version, shown, owner) for version in found),
            *(f"<CommonPrefixes><Prefix>{shown(prefix)}</Prefix></CommonPrefixes>" for prefix in page.prefixes),
            f"<KeyCount>{len(page.keys) + len(page.prefixes)}</KeyCount>",
        ]
        return xml_answer("ListBucketResult", parts)

    def _put_object(self, request: Asked) -> Answer:
        for name in REFUSED_ON_PUT:
            if name in request.headers:
                raise OSSError("NotImplemented", Header=name)
        self._check_digest(request)
        version = self._stored(
            request, version_of(request.key, request.body, self.now(), kept_headers(request.headers))
        )
        md5 = b64.b64encode(bytes.fromhex(version.etag)).decode()
        return Answer(200, headers=headers_of_put(version) | {"ETag": f'"{version.etag}"', "Content-MD5": md5})

    def _copy_object(self, request: Asked) -> Answer:
        path, _, query = request.headers["x-oss-copy-source"].partition("?")
        name, _, key = unquote(path).removeprefix("/").partition("/")
        version_id = query.removeprefix("versionId=") or None
        self._grant(request, "oss:GetObjectVersion" if version_id else "oss:GetObject")
        with self._changed:
            source = self._found(self._bucket(name), key, version_id)
            content = source.read()
        if not check_conditions(source, request.headers, "x-oss-copy-source-"):
            return Answer(304)
        replaced = request.headers.get("x-oss-metadata-directive", "COPY").upper() == "REPLACE"
        headers = kept_headers(request.headers) if replaced else source.headers
        version = self._stored(request, version_of(request.key, content, self.now(), headers))
        answer = xml_answer("CopyObjectResult", {"ETag": f'"{version.etag}"', "LastModified": iso(version.modified)})
        of_source = {"x-oss-copy-source-version-id": version_id} if version_id else {}
        return answer._replace(headers={**answer.headers, **headers_of_put(version), **of_source})

    def _check_digest(self, request: Asked) -> None:
        digest = b64.b64encode(hashlib.md5(request.body).digest()).decode()
        if request.headers.get("Content-MD5", digest) != digest:
            raise OSSError("InvalidDigest")

    def _stored(self, request: Asked, version: Version) -> Version:
        """The object as it was put in; where it was there already and may not be replaced, nothing is changed."""
        forbid = request.headers.get("x-oss-forbid-overwrite", "false").lower()
        if forbid not in ("true", "false"):
            raise OSSError("InvalidArgument", "x-oss-forbid-overwrite must be true or false.", "0017-00000279")
        bucket = self._writable(request.bucket_name)
        staged = bucket.stage(version)
        with self._changed:
            if forbid == "true" and not bucket.versioning and bucket.get(version.key):
                bucket.discard(staged)
                raise OSSError("FileAlreadyExists")
            return bucket.put(staged)

    def _get_object(self, request: Asked) -> Answer:
        with self._changed:
            bucket = self._bucket(request.bucket_name)
            version = self._found(bucket, request.key, request.query.get("versionId"))
            headers = headers_of_get(version, bool(bucket.versioning))
            if not check_conditions(version, request.headers):
                return Answer(304, headers=headers)
            wanted = requested_range(request.headers, version.size)
            start, end = wanted or (0, version.size)
            content = version.read(start, end) if request.command == "GET" else b""
        headers |= {"Content-Length": str(end - start)}
        if wanted is None:
            return Answer(200, content, headers)
        return Answer(206, content, headers | {"Content-Range": f"bytes {start}-{end - 1}/{version.size}"})

    def _found(self, bucket: Bucket, key: str, version_id: str | None) -> Version:
        version = bucket.get(key, version_id)
        if version and not version.marker:
            return version
        marked = {"x-oss-delete-marker": "true", "x-oss-version-id": version.version_id} if version else {}
        if version_id is None:
            raise OSSError("NoSuchKey", headers=marked, Key=key)
        if version is None:
            raise OSSError("NoSuchVersion", Key=key, VersionId=version_id)
        raise OSSError("MethodNotAllowed", headers=marked, Method="GET", ResourceType="DeleteMarker")

    def _delete_object(self, request: Asked) -> Answer:
        version_id = request.query.get("versionId")
        removed = self._deleted(request.bucket_name, request.key, version_id)
        if removed is None:
            return Answer(204)
        marker = {"x-oss-delete-marker": "true"} if removed.marker else {}
        return Answer(204, headers=marker | {"x-oss-version-id": removed.version_id})

    def _deleted(self, bucket: str, key: str, version_id: str | None) -> Version | None:
        with self._changed:
            return self._writable(bucket).delete(key, self.now(), version_id)

    def _delete_several(self, request: Asked) -> Answer:
        if "Content-MD5" not in request.headers:
            raise OSSError("MissingArgument", ArgumentName="Content-MD5")
        self._check_digest(request)
        root = _parsed_xml(request.body)
        wanted = [(item.findtext("Key", ""), item.findtext("VersionId")) for item in root.iterfind("Object")]
        if not 1 <= len(wanted) <= 1000:
            raise OSSError("MalformedXML")
        for action in sorted({"oss:DeleteObject" + ("Version" if version_id else "") for _, version_id in wanted}):
            self._grant(request, action)
        shown = quoted if request.query.get("encoding-type") == "url" else escape
        told = [
            deleted(key, version_id, self._deleted(request.bucket_name, key, version_id), shown)
            for key, version_id in wanted
        ]
        if root.findtext("Quiet") == "true":
            told = []
        return xml_answer("DeleteResult", [*(["<EncodingType>url</EncodingType>"] if shown is quoted else []), *told])

    def _not_there(self, request: Asked) -> Answer:
        raise OSSError("NotImplemented", f"This server does not implement {request.command} {request.path}.")

    def _load(self) -> None:
        for path in sorted(self.folder.glob("*/bucket.json")) if self.folder else []:
            kept = json.loads(path.read_text())
            bucket = Bucket(path.parent.name, kept["created"], path.parent, kept["versioning"])
            bucket.load()
            self.buckets[bucket.name] = bucket


# Method, what it is asked of, needed parameter or header, operation; the first match counts. Requests are counted and
# made to fail by these names.
ROUTES = [
    ("GET", "service", "", "ListBuckets", Service._list_buckets),
    ("PUT", "bucket", "versioning", "PutBucketVersioning", Service._put_versioning),
    ("PUT", "bucket", "", "PutBucket", Service._put_bucket),
    ("DELETE", "bucket", "", "DeleteBucket", Service._delete_bucket),
    ("GET", "bucket", "versioning", "GetBucketVersioning", Service._get_versioning),
    ("GET", "bucket", "location", "GetBucketLocation", Service._get_location),
    ("GET", "bucket", "bucketInfo", "GetBucketInfo", Service._get_info),
    ("GET", "bucket", "list-type", "ListObjectsV2", Service._list),
    ("POST", "bucket", "delete", "DeleteMultipleObjects", Service._delete_several),
    ("PUT", "object", "x-oss-copy-source", "CopyObject", Service._copy_object),
    ("PUT", "object", "", "PutObject", Service._put_object),
    ("GET", "object", "", "GetObject", Service._get_object),
    ("HEAD", "object", "", "HeadObject", Service._get_object),
    ("DELETE", "object", "", "DeleteObject", Service._delete_object),
    ("[A-Z]+", "[a-z]+", "", "Unknown", Service._not_there),
]
_PERFORM = {operation: perform for _, _, _, operation, perform in ROUTES}

# The RAM action of each operation. Deleting several is granted action by action, and copying takes that of reading too.
ACTIONS = {
    operation: f"oss:{operation}"
    for _, _, _, operation, _ in ROUTES
    if operation not in ("DeleteMultipleObjects", "Unknown")
}
ACTIONS |= {"HeadObject": "oss:GetObject", "CopyObject": "oss:PutObject", "ListObjectsV2": "oss:ListObjects"}

_OWNER = {"ID": OWNER, "DisplayName": OWNER}
_OWNER_XML = f"<Owner><ID>{OWNER}</ID><DisplayName>{OWNER}</DisplayName></Owner>"


def _date_of(headers: Message) -> str:
    """When the request was signed, as the signature has it."""
    if date := headers.get("x-oss-date"):
        return date
    try:
        return parsedate_to_datetime(headers.get("Date", "")).strftime("%Y%m%dT%H%M%SZ")
    except ValueError as error:
        raise OSSError("AccessDenied", "OSS authentication requires a valid Date.", "0002-00000503") from error


def _parsed(date: str) -> float:
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise OSSError("AccessDenied", "OSS authentication requires a valid Date.", "0002-00000502") from error


def _after(start_after: str, token: str) -> str:
    try:
        return after_of(token) if token else start_after
    except ValueError as error:
        raise OSSError(
            "InvalidArgument", "The continuation token you provided is invalid.", ArgumentName="continuation-token"
        ) from error


def _parsed_xml(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise OSSError("MalformedXML") from error
