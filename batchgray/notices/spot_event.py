"""CloudMonitor's event for a spot instance that is about to be released: which messages are one, and of which instance.

The body is Base64 of UTF-8 JSON, or the JSON itself. As CloudMonitor pushes it, and as its "Debug Event Subscription"
does:

{"ver": "1.0", "id": "2256A988-0B26-4E2B-820A-8A00000000E5", "product": "ECS",
 "resourceId": "acs:ecs:cn-hangzhou:1690000000000030:instance/i-bp1ecr00000005go2go", "level": "INFO",
 "name": "Instance:PreemptibleInstanceInterruption", "userId": "1690000000000030",
 "eventTime": "20190409T121826.922+0800", "regionId": "cn-hangzhou",
 "content": {"instanceId": "i-bp1ecr00000005go2go", "action": "delete"}}

{"product": "ECS", "resourceId": "acs:ecs:cn-shanghai:1690000000000030UID:instance/i-x", "level": "WARN",
 "instanceName": "instanceName", "regionId": "cn-shanghai", "groupId": "0",
 "name": "Instance:PreemptibleInstanceInterruption",
 "content": {"instanceId": "i-x", "instanceName": "worker", "action": "delete"}, "status": "Normal"}

Only `name` and an instance id are required: `content.instanceId`, else the tail of `resourceId`.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

NAME = "Instance:PreemptibleInstanceInterruption"
NOTICE = timedelta(minutes=5)  # from the event to the release


class Unreadable(Exception):
    """A message that is no event at all. The text says why."""


class SpotEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The interruption of an instance. `event_time` is UTC; `event_id` and it are missing from debug events."""

    instance_id: str
    event_id: str | None
    event_time: datetime | None

    def deadline(self, now: datetime) -> datetime:
        """When the instance goes: five minutes after the event, or after `now` where the clocks can't both be right."""
        if self.event_time is not None and -NOTICE < self.event_time - now <= timedelta(0):  # near year 9999 no sum is
            return self.event_time + NOTICE
        return now + NOTICE


def parse(body: str) -> SpotEvent | None:
    """The event in a message's body; None where it is another kind of event. Raises Unreadable."""
    event = _decode(body)
    if event.get("name") != NAME:
        return None
    content = event.get("content")
    instance_id = content.get("instanceId") if isinstance(content, dict) else None
    if not instance_id and isinstance(event.get("resourceId"), str):
        instance_id = event["resourceId"].rpartition("instance/")[2]
    if not isinstance(instance_id, str) or not instance_id:
        raise Unreadable("an interruption event without an instance id")
    event_id = event.get("id")
    return SpotEvent(
        instance_id=instance_id,
        event_id=event_id if isinstance(event_id, str) and event_id else None,
        event_time=_time(event.get("eventTime")),
    )


def simulated(instance_id: str, region: str) -> bytes:
    """The body that "Debug Event Subscription" would push, for an instance of one's own."""
    event = {
        "product": "ECS",
        "resourceId": f"acs:ecs:{region}:1690000000000030UID:instance/{instance_id}",
        "level": "WARN",
        "instanceName": "instanceName",
        "regionId": region,
        "groupId": "0",
        "name": NAME,
        "content": {"instanceId": instance_id, "instanceName": "worker", "action": "delete"},
        "status": "Normal",
    }
    return base64.b64encode(msgspec.json.encode(event))


def _decode(body: str) -> dict[str, Any]:
    data = body.encode("utf-8", "surrogatepass")
    try:
        data = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        pass  # raw JSON: its braces are not in Base64's alphabet
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("neither JSON nor JSON in Base64") from None
    if not isinstance(event, dict):
        raise Unreadable("JSON, but not an object")
    return event


def _time(text: Any) -> datetime | None:
    """`20190409T121826.922+0800`. A time that can't be read is no time: never silently now."""
    if not isinstance(text, str):
        return None
    for layout in ("%Y%m%dT%H%M%S.%f%z", "%Y%m%dT%H%M%S%z", "%Y-%m-%dT%H:%M:%S%z"):
        try:
            return datetime.strptime(text, layout).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None
