"""The instance metadata service: the instance's id, its role's credentials, and when a spot instance is taken away.

    PUT /latest/api/token                                     -> a token, for hardened instances
    GET /latest/meta-data/instance-id                         -> i-bp1ecr00000005go2go
    GET /latest/meta-data/instance/spot/termination-time      -> 404 or blank, or 2015-01-05T18:02:00Z
    GET /latest/meta-data/ram/security-credentials/           -> the role's name; below it, its credentials as JSON

404 is an answer; 401, 403, 429, 5xx, time-outs and nonsense mean "not known": never "safe", and never "interrupted".
It is asked directly, never through a proxy.
"""

import http.client
import re
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from batchgray import errors
from batchgray.cloud.request_limit import RequestLimit, TooSlow

METADATA_URL = "http://100.100.100.200"
POLL_SECONDS = 5.0  # it is throttled
_TIMEOUT_SECONDS = 2.0
_TOKEN_SECONDS = 21600
_TERMINATION = "/latest/meta-data/instance/spot/termination-time"
_ROLES = "/latest/meta-data/ram/security-credentials/"
_RENEW_BEFORE_SECONDS = 600.0
_ANSWER_BYTES = 1 << 20
# What else comes in place of them is a page, such as a proxy's.
_INSTANCE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TOKEN = re.compile(r"[A-Za-z0-9+/=._~-]{1,4096}")

_VENDOR_FILE = Path("/sys/class/dmi/id/sys_vendor")
_CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


class Unknown(Exception):
    """The service did not answer, or not clearly. The text says how."""


class Unanswered(Unknown):
    """The service may answer when it is asked again."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """An access key; `token` is "" for one that lasts. Printing it shows no secret."""

    key_id: str
    secret: str
    token: str = ""
    origin: str = ""

    def __repr__(self) -> str:
        return f"Credentials(from {self.origin})"

    __str__ = __repr__


class _RoleAnswer(msgspec.Struct, rename="pascal"):
    access_key_id: str
    access_key_secret: str
    security_token: str
    expiration: str
    code: str = ""


def on_alibaba_cloud() -> bool:
    """Whether this machine's firmware says that it is an Alibaba Cloud instance. Sends no request."""
    try:
        return "alibaba" in _VENDOR_FILE.read_text("utf-8", "replace").lower()
    except OSError:
        return False


def known_url(given: str | None) -> str | None:
    """Where to ask; None where nothing says that there is such a service."""
    return given or (METADATA_URL if on_alibaba_cloud() else None)


class Address(NamedTuple):
    """Where a service is asked; `path` is what comes before all paths, and ends without a slash."""

    kind: type[http.client.HTTPConnection]
    host: str
    port: int | None
    path: str


def address_of(url: str) -> Address:
    """Raises BadMetadataUrl."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise errors.BadMetadataUrl(url, str(error)) from None
    kind = _CONNECTIONS.get(parts.scheme)
    if kind is None or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise errors.BadMetadataUrl(url, "it is no address such as http://HOST:PORT or https://HOST")
    return Address(kind, parts.hostname, port, parts.path.rstrip("/"))


class MetadataService:
    """A client; each thread has its own. `timeout` is in seconds, for all requests that one question takes.

    Raises BadMetadataUrl.
    """

    def __init__(self, url: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        self._address = address_of(url)
        self._timeout = timeout
        self._until = 0.0
        self._token = ""
        self._token_until = 0.0
        self._date = ""

    def instance_id(self) -> str:
        """Raises Unknown."""
        found = self.get("/latest/meta-data/instance-id")
        if not found or not _INSTANCE_ID.fullmatch(found):
            raise Unknown("the instance metadata has no instance id")
        return found

    def termination_time(self) -> datetime | None:
        """When this spot instance is taken away; None where nothing is planned. Raises Unknown."""
        found = self.get(_TERMINATION)
        return parse_utc(found) if found else None

    def now(self) -> datetime:
        """As the last answer told it, in UTC; else by the clock of this machine, which may be off."""
        try:
            return parsedate_to_datetime(self._date).astimezone(UTC)
        except (ValueError, OverflowError):
            return datetime.now(UTC)

    def role_credentials(self) -> tuple[Credentials, float]:
        """The credentials of the instance's RAM role, and for how many seconds they hold. Raises Unknown."""
        role = self.get(_ROLES)
        if not role:
            raise Unknown("the instance has no RAM role")
        try:
            answer = msgspec.json.decode(self.get(_ROLES + role.split()[0]) or "", type=_RoleAnswer)
        except msgspec.DecodeError:
            raise Unknown("the RAM role's credentials are not as documented") from None
        if answer.code not in ("", "Success"):
            raise Unknown(f"the RAM role's credentials are not there: {answer.code}")
        left = (parse_utc(answer.expiration) - datetime.now(UTC)).total_seconds()
        credentials = Credentials(
            key_id=answer.access_key_id,
            secret=answer.access_key_secret,
            token=answer.security_token,
            origin=f"the instance's RAM role {role.split()[0]}",
        )
        return credentials, left

    def get(self, path: str) -> str | None:
        """The text at a path, None for 404. Raises Unknown."""
        self._until = time.monotonic() + self._timeout
        headers = {"X-aliyun-ecs-metadata-token": self._current_token()} if self._current_token() else {}
        status, text = self._ask("GET", path, headers)
        if status in (401, 403):  # the token died early, or is wanted after all
            self._token_until = 0.0
            status, text = self._ask("GET", path, {"X-aliyun-ecs-metadata-token": self._current_token()})
        if status == 404:
            return None
        if status != 200:
            kind = Unanswered if _may_pass(status) else Unknown
            raise kind(f"the metadata service answered {status}")
        return text.strip()

    def _current_token(self) -> str:
        """A token; "" where the service gives none (it is then not hardened, or says so itself)."""
        if time.monotonic() >= self._token_until:
            status, text = self._ask(
                "PUT", "/latest/api/token", {"X-aliyun-ecs-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            )
            if _may_pass(status):
                raise Unanswered(f"the metadata service answered {status}")
            self._token = text.strip() if status == 200 and _TOKEN.fullmatch(text.strip()) else ""
            self._token_until = time.monotonic() + _TOKEN_SECONDS / 2
        return self._token

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Unanswered(f"the metadata service does not answer ({self._timeout:g} s)")
        kind, host, port, base = self._address
        connection = kind(host, port, timeout=left)
        try:
            with RequestLimit(connection).within(left):
                connection.request(method, base + path, headers=headers)
                answer = connection.getresponse()
                self._date = answer.getheader("Date") or ""
                return answer.status, answer.read(_ANSWER_BYTES).decode("utf-8", "replace")
        except (TooSlow, TimeoutError):
            raise Unanswered(f"the metadata service does not answer ({self._timeout:g} s)") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unanswered(f"the metadata service can't be reached ({type(error).__name__})") from None
        finally:
            connection.close()


def _may_pass(status: int) -> bool:
    return status >= 500 or status == 429


class CredentialsSource(Protocol):
    """Where credentials come from. Several threads may ask.

    `may_renew` is whether those that are in use were to be renewed, and their source did not answer.
    """

    @property
    def may_renew(self) -> bool: ...

    def current(self) -> Credentials:
        """Raises Unknown where there are none that may still hold."""

    def renew(self) -> None:
        """They were refused: look for others next time."""


class GivenCredentials:
    """Those that somebody gave, which are the only ones."""

    may_renew = False

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def current(self) -> Credentials:
        return self._credentials

    def renew(self) -> None:
        """There are no others."""


class NoCredentials:
    """There is nowhere to look for any."""

    may_renew = False

    def current(self) -> Credentials:
        raise Unknown("none are given, and this is no Alibaba Cloud instance")

    def renew(self) -> None:
        """There are no others."""


class RoleCredentials:
    """The credentials of the instance's RAM role, renewed before they expire."""

    def __init__(self, service: MetadataService) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._current: Credentials | None = None
        self._renew_at = 0.0
        self.may_renew = False

    def current(self) -> Credentials:
        """Raises Unknown where there are none that may still hold."""
        with self._lock:
            return self._look()

    def renew(self) -> None:
        """They were refused: ask anew next time."""
        self._renew_at = 0.0

    def _look(self) -> Credentials:
        now = time.monotonic()
        if self._current is None or now >= self._renew_at:
            try:
                self._current, left = self._service.role_credentials()
            except Unknown as error:
                if self._current is None:
                    raise
                self.may_renew = isinstance(error, Unanswered)
                self._renew_at = now + POLL_SECONDS  # what we have may still hold; the service will say if not
            else:
                self.may_renew = False
                self._renew_at = now + max(POLL_SECONDS, min(left - _RENEW_BEFORE_SECONDS, left / 2))
        return self._current


def credentials_source(given: Credentials | None, metadata_url: str | None) -> CredentialsSource:
    """Those that were given, else the RAM role's of the instance; `metadata_url` None is the usual one, where there is
    such a service."""
    if given is not None:
        return GivenCredentials(given)
    url = known_url(metadata_url)
    return NoCredentials() if url is None else RoleCredentials(MetadataService(url))


def parse_utc(text: str) -> datetime:
    """`2015-01-05T18:02:00Z`. Raises Unknown."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unknown("the metadata service told a time that is none") from None


def iso_utc(moment: datetime) -> str:
    """Of a moment in UTC."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
