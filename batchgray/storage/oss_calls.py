"""Requests to a bucket of OSS through the SDK: signed, bounded, tried again, and refused in our words.

The SDK signs (V4) and takes errors apart. It bounds each wait alone, and gives up within a second: so a request's time
is bounded by oss_http, and what may pass is tried again for `patience` seconds. Credentials come from where the
queue's do. Those that are refused are renewed once, or as soon as the instance metadata answers.
"""

import http.client
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from alibabacloud_oss_v2 import Client, Config, Credentials, exceptions
from alibabacloud_oss_v2.types import OperationInput

from batchgray.cloud.instance import Credentials as OurCredentials
from batchgray.cloud.instance import CredentialsSource, Unanswered, Unknown
from batchgray.cloud.request_limit import TooSlow
from batchgray.storage.base import BadKey, LockedOut, Unreachable
from batchgray.storage.oss_errors import Bucket, Refusal, meaning_of
from batchgray.storage.oss_http import BoundedHttp
from batchgray.storage.retrying import Again, persist

PATIENCE_SECONDS = 60.0
NO_CREDENTIALS = "there are no credentials (ALIBABA_CLOUD_ACCESS_KEY_ID and ..._SECRET, or an instance role)"

_ACTIONS = {"HeadObject": "oss:GetObject", "ListObjectsV2": "oss:ListObjects"}  # others are called as they are granted

Body = bytes | bytearray | memoryview


class OssAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How OSS is reached. `endpoint` is a URL; one of an IP address or localhost is addressed path-style."""

    region: str
    endpoint: str
    credentials: CredentialsSource
    patience: float = PATIENCE_SECONDS

    @property
    def is_path_style(self) -> bool:
        host = urlsplit(self.endpoint).hostname or ""
        return host == "localhost" or ":" in host or re.fullmatch(r"[0-9.]+", host) is not None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `key` is what people are told of, `full` what it is in the bucket."""

    operation: str
    method: str
    key: str = ""
    full: str | None = None
    headers: Mapping[str, str] = {}
    body: Body = b""
    parameters: Mapping[str, str] = {}

    @property
    def action(self) -> str:
        """The RAM action that it takes."""
        return _ACTIONS.get(self.operation, f"oss:{self.operation}")


class Reply(NamedTuple):
    headers: Mapping[str, str]  # by names in any case
    content: bytes


class Refused(Exception):
    """OSS refused it with a code that the caller has a use for."""


class OssCalls:
    """A client of one bucket, for several threads."""

    def __init__(self, bucket: str, access: OssAccess) -> None:
        self.bucket = Bucket(name=bucket, endpoint=access.endpoint, region=access.region)
        self.patience = access.patience
        self._source = access.credentials
        self._http = BoundedHttp(access.endpoint)
        self._client = Client(
            Config(
                region=access.region,
                endpoint=access.endpoint,
                credentials_provider=_Provider(access.credentials),
                http_client=self._http,
                retry_max_attempts=1,
                use_path_style=access.is_path_style,
                user_agent="batchgray",
            )
        )

    def __call__(self, call: Call, expected: Collection[str] = ()) -> Reply:
        """Raises PlaceError, and Refused where OSS's code is one of those that are expected."""
        return persist(lambda: self._attempt(call, expected), self.patience)

    def close(self) -> None:
        self._http.close()

    def _attempt(self, call: Call, expected: Collection[str]) -> Reply:
        used = self._credentials(call)
        try:
            return self._send(call)
        except exceptions.ServiceError as error:
            refusal = _refusal(error)
        if refusal.is_of_the_token and self._has_others(used):
            try:
                return self._send(call)
            except exceptions.ServiceError as error:
                refusal = _refusal(error)
        raise self._meaning(refusal, call, expected)

    def _meaning(self, refusal: Refusal, call: Call, expected: Collection[str]) -> Exception:
        if refusal.code in expected:
            return Refused(refusal.code)
        error = meaning_of(refusal, call.key, call.action, self.bucket)
        may_pass = refusal.may_pass or (refusal.is_of_the_token and self._source.may_renew)
        return Again(error, refusal.retry_after) if may_pass else error

    def _send(self, call: Call) -> Reply:
        """Raises the SDK's ServiceError, and Again where there was no whole answer."""
        given = OperationInput(
            op_name=call.operation,
            method=call.method,
            headers=dict(call.headers),
            parameters=dict(call.parameters),
            body=call.body,  # oss_http takes any buffer
            bucket=self.bucket.name,
            key=call.full,
        )
        try:
            answer = self._client.invoke_operation(given)
        except exceptions.OperationError as error:
            raise self._told(error.unwrap(), call) from None  # the SDK's quote requests
        return Reply(answer.headers or {}, answer.http_response.content if answer.http_response else b"")

    def _told(self, error: Exception, call: Call) -> Exception:
        if isinstance(error, http.client.IncompleteRead) and call.operation == "GetObject":
            return Again(BadKey(call.key, "what comes of it ends before it does"))  # others may come whole
        if isinstance(error, OSError | http.client.HTTPException | TooSlow):
            why = str(error) if isinstance(error, TooSlow) else type(error).__name__
            return Again(Unreachable(call.key, f"{self.bucket.endpoint} can't be reached ({why})"))
        return error

    def _credentials(self, call: Call) -> OurCredentials:
        try:
            return self._source.current()
        except Unknown as error:
            unknown = LockedOut("", f"{NO_CREDENTIALS}: {error}")
            raise (Again(unknown) if isinstance(error, Unanswered) else unknown) from None

    def _has_others(self, refused: OurCredentials) -> bool:
        """Whether there are other credentials by now than those that were refused."""
        if self._source.current() == refused:
            self._source.renew()
        return self._source.current() != refused


class _Provider:
    """The SDK asks it before every request, so that renewed credentials are used at once."""

    def __init__(self, source: CredentialsSource) -> None:
        self._source = source

    def get_credentials(self) -> Credentials:
        current = self._source.current()
        return Credentials(current.key_id, current.secret, current.token or None)


def _refusal(error: exceptions.ServiceError) -> Refusal:
    headers = error.headers or {}
    return Refusal(
        status=error.status_code,
        code=error.code or "",
        message=error.message or "",
        ec=error.ec or "",
        fields={name: text or "" for name, text in (error.error_fileds or {}).items()},
        retry_after=_seconds(headers.get("Retry-After", "")),
    )


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
