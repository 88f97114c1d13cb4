"""The metadata service of an ECS instance: the local servers answer for it, and take the credentials it gives out."""

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from email.message import Message
from typing import Protocol

MAX_TOKEN_SECONDS = 21_600

# Status and text.
Item = tuple[int, str | None]


class Asked(Protocol):
    """What this module reads of a request: `subject` is the role's name, where one is asked for."""

    headers: Message
    body: bytes
    operation: str
    subject: str


@dataclass(frozen=True)
class RoleCredentials:
    expires: float
    access_key_id: str = field(default_factory=lambda: "STS." + secrets.token_hex(12))
    access_key_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    security_token: str = field(default_factory=lambda: _base64(secrets.token_bytes(48)))

    def json(self) -> str:
        return json.dumps(
            {
                "AccessKeyId": self.access_key_id,
                "AccessKeySecret": self.access_key_secret,
                "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.expires)),
                "SecurityToken": self.security_token,
                "Code": "Success",
            }
        )


class InstanceMetadata:
    """What the metadata service says. Everything may be changed while a server answers for it."""

    def __init__(self, instance_id: str, region_id: str, role: str | None, hardened: bool) -> None:
        self.instance_id, self.region_id, self.role, self.hardened = instance_id, region_id, role, hardened
        self.termination_time: str | None = None
        self.credential_lifetime = 6 * 3600.0
        self._credentials: list[RoleCredentials] = []
        self._tokens: dict[str, float] = {}
        self._ahead = 0.0
        self._changed = threading.Condition()

    def now(self) -> float:
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let the server's time jump: tokens, role credentials, time-outs and long polls run out accordingly."""
        with self._changed:
            self._ahead += seconds
            self._changed.notify_all()

    def rotate_credentials(self) -> RoleCredentials:
        """Give the role new credentials, valid for `credential_lifetime` from now; all earlier ones are dead."""
        with self._changed:
            self._credentials = [RoleCredentials(self.now() + self.credential_lifetime)]
            return self._credentials[0]

    def given_out(self, access_key_id: str) -> RoleCredentials | None:
        """The role's credentials with this id, expired ones too; None: there are none, or they were rotated away."""
        with self._changed:
            return next((given for given in self._credentials if given.access_key_id == access_key_id), None)

    def _create_token(self, request: Asked) -> Item:
        seconds = request.headers.get("X-aliyun-ecs-metadata-token-ttl-seconds", "")
        if not seconds.isdecimal() or not 1 <= int(seconds) <= MAX_TOKEN_SECONDS:
            return 400, ""
        token = _base64(secrets.token_bytes(36))
        self._tokens[token] = self.now() + int(seconds)
        return 200, token

    def _set_termination_time(self, request: Asked) -> Item:
        self.termination_time = request.body.decode() or None
        return 204, None

    def _metadata(self, request: Asked) -> Item:
        token = request.headers.get("X-aliyun-ecs-metadata-token")
        if token is None and self.hardened:
            return 403, ""
        if token is not None and self._tokens.get(token, 0.0) <= self.now():
            return 401, ""
        item = self._item(request.operation, request.subject)
        return (404, "") if item is None else (200, item)

    def _item(self, operation: str, subject: str) -> str | None:
        if operation == "GetRoleCredentials":
            return self._newest_credentials().json() if subject == self.role else None
        items = {"GetInstanceId": self.instance_id, "GetRegionId": self.region_id, "GetRoleName": self.role}
        return (items | {"GetTerminationTime": self.termination_time}).get(operation)

    def _newest_credentials(self) -> RoleCredentials:
        """They are renewed at half their lifetime; the earlier ones live on until theirs is over."""
        if not self._credentials or self._credentials[-1].expires < self.now() + self.credential_lifetime / 2:
            self._credentials.append(RoleCredentials(self.now() + self.credential_lifetime))
        return self._credentials[-1]


# Method, path, needed parameters, operation; the first match counts.
_METADATA = "/latest/meta-data"
_TERMINATION = f"{_METADATA}/instance/spot/termination-time"
ROUTES = [
    ("PUT", "/latest/api/token", "", "CreateToken", InstanceMetadata._create_token),
    ("GET", f"{_METADATA}/instance-id", "", "GetInstanceId", InstanceMetadata._metadata),
    ("GET", f"{_METADATA}/region-id", "", "GetRegionId", InstanceMetadata._metadata),
    ("GET", _TERMINATION, "", "GetTerminationTime", InstanceMetadata._metadata),
    # The real service has nothing like the next one; it is for people who rehearse.
    ("PUT", _TERMINATION, "", "SetTerminationTime", InstanceMetadata._set_termination_time),
    ("GET", f"{_METADATA}/ram/security-credentials/?", "", "GetRoleName", InstanceMetadata._metadata),
    ("GET", f"{_METADATA}/ram/security-credentials/([^/]+)", "", "GetRoleCredentials", InstanceMetadata._metadata),
    ("GET", "/latest/.*", "", "GetOtherMetadata", InstanceMetadata._metadata),
]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
