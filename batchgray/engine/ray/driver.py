"""The driver of a job on a Ray cluster: a connection, and a fleet that the round's own loop looks after.

The driver is a machine that joins the job like any other, but for one thing: it has no workers. So it plans, unless
another does, it sees by the logs what is done, it finishes the round, and it may be killed and started again.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

from batchgray.engine.ray import cluster
from batchgray.engine.ray.fleet import Fleet, Settings
from batchgray.notices.fleet import FleetListener
from batchgray.notices.inbox import Inbox, NoticeListener

# Where a store is. Credentials stay where they are: a node has its own, in its environment or by its role.
_PLACES = ("OSS_ENDPOINT", "OSS_REGION", "AWS_ENDPOINT_URL", "AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME")


@contextlib.contextmanager
def driving(
    address: str | None,
    arguments: Sequence[str],
    workers: int | None,
    grace: float,
    metadata_url: str | None,
    tell: Callable[[str, str], None],
) -> Iterator[Fleet]:
    """A fleet on the cluster at `address`. Raises ExtraMissing, RayUnreachable, RayTokenUnfit."""
    with cluster.connected(address):
        settings = Settings(
            arguments=arguments,
            environment={name: os.environ[name] for name in _PLACES if name in os.environ},
            workers=workers,
            grace=grace,
            metadata_url=metadata_url,
        )
        with contextlib.closing(Fleet(settings, None, tell)) as fleet:
            yield fleet


class FleetNotices:
    """See `inbox.NoticeListener`: starts and stops the queue's listener with the driver's own, and reports nothing."""

    def __init__(self, listener: FleetListener) -> None:
        self.name, self._listener = listener.name, listener

    def start(self, inbox: Inbox) -> None:
        self._listener.start(inbox)

    def acknowledge(self, notice: object) -> None:
        """The fleet acknowledges what is a node's."""

    def stop(self) -> None:
        """The fleet does, when it has acknowledged."""


def heard_by(fleet: Fleet, own: list[NoticeListener], listener: FleetListener | None) -> list[NoticeListener]:
    """The driver's listeners, with the one that hears for the fleet's nodes."""
    fleet.listener = listener
    return [*own, FleetNotices(listener)] if listener is not None else own
