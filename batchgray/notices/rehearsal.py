"""Making the queue and rehearsing an interruption: what a person does with the queue, apart from runs."""

from collections.abc import Callable

from batchgray import errors
from batchgray.cloud.instance import Credentials, MetadataService, RoleCredentials
from batchgray.notices.listeners import NoticeOptions
from batchgray.notices.queue import NO_CREDENTIALS, NO_ENDPOINT, QueueFault, SmqQueue, usage_error
from batchgray.notices.spot_event import simulated


def create_queue(options: NoticeOptions) -> bool:
    """True where it was made now, False where it was there. Raises UsageError."""
    queue = open_queue(options)
    try:
        return queue.create()
    except QueueFault as fault:
        raise usage_error(fault, queue.name, queue.endpoint) from None
    finally:
        queue.close()


def simulate(options: NoticeOptions, instance_id: str) -> str:
    """Send an instance's interruption event; returns the message's id. Raises UsageError."""
    queue = open_queue(options)
    try:
        return queue.send(simulated(instance_id, region="cn-hangzhou").decode("ascii"))
    except QueueFault as fault:
        raise usage_error(fault, queue.name, queue.endpoint) from None
    finally:
        queue.close()


def open_queue(options: NoticeOptions) -> SmqQueue:
    """The queue as the options name it. Raises UsageError where they name too little."""
    if not options.endpoint:
        raise errors.IncompleteSmq(options.queue, NO_ENDPOINT)
    try:
        return SmqQueue(options.endpoint, options.queue, _credentials(options))
    except QueueFault as fault:
        raise usage_error(fault, options.queue, options.endpoint) from None


def _credentials(options: NoticeOptions) -> Callable[[], Credentials]:
    given = options.credentials
    if given is not None:
        return lambda: given
    if not options.known_metadata_url:
        raise errors.IncompleteSmq(options.queue, NO_CREDENTIALS)
    return RoleCredentials(MetadataService(options.known_metadata_url)).current
