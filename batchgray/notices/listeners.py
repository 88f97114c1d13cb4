"""Which listeners a run has, from the notice options.

A service that is not there is not asked: no option costs time on a machine without it.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import structs

from batchgray.cloud.instance import METADATA_URL, Credentials, address_of, known_url
from batchgray.notices.fleet import FleetListener
from batchgray.notices.inbox import NoticeListener
from batchgray.notices.metadata import MetadataListener
from batchgray.notices.signals import SignalSource
from batchgray.notices.smq import SmqListener, SmqOptions

Notices = Literal["auto", "smq", "metadata", "smq,metadata", "none"]


class NoticeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`metadata_url` None is the usual one, where this machine says that it is Alibaba Cloud's.

    Raises BadMetadataUrl.
    """

    notices: Notices = "auto"
    queue: str = "spot-interruption"
    endpoint: str | None = None
    credentials: Credentials | None = None
    instance_id: str | None = None
    any_instance: bool = False
    metadata_url: str | None = None

    def __post_init__(self) -> None:
        if self.metadata_url is not None:
            address_of(self.metadata_url)

    @property
    def known_metadata_url(self) -> str | None:
        """Where to ask; None where nothing says that there is such a service."""
        return known_url(self.metadata_url)

    def smq(self, required: bool) -> SmqOptions:
        return SmqOptions(
            queue=self.queue,
            endpoint=self.endpoint,
            credentials=self.credentials,
            instance_id=self.instance_id,
            any_instance=self.any_instance,
            metadata_url=self.known_metadata_url,
            required=required,
        )


def choose_listeners(options: NoticeOptions, afterwards: Callable[[], object]) -> list[NoticeListener]:
    """Signals always; the queue and metadata where they are asked for, or, with `auto`, where they are configured.

    Signals that come after the run has stopped listening call `afterwards`.
    """
    listeners: list[NoticeListener] = [SignalSource(afterwards)]
    asked = options.notices.split(",")
    automatic = options.notices == "auto"
    if "smq" in asked or (automatic and options.endpoint):
        listeners.append(SmqListener(options.smq(required="smq" in asked)))
    if "metadata" in asked or (automatic and options.known_metadata_url):
        listeners.append(MetadataListener(options.known_metadata_url or METADATA_URL))
    return listeners


def choose_fleet_listeners(
    options: NoticeOptions, afterwards: Callable[[], object], is_node: Callable[[str], bool]
) -> tuple[list[NoticeListener], FleetListener | None]:
    """What a driver hears for itself: signals, and its own metadata; and what hears the queue for its nodes."""
    asked = options.notices.split(",")
    listens = "smq" in asked or (options.notices == "auto" and options.endpoint)
    fleet = FleetListener(options.smq(required="smq" in asked), is_node) if listens else None
    own = "none" if options.notices == "smq" else options.notices.removeprefix("smq,")
    return choose_listeners(structs.replace(options, notices=own, endpoint=None), afterwards), fleet
