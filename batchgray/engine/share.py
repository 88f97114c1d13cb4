"""A share of a job as the engine takes it: a plan in memory, tasks, and its log for books."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from batchgray.checkpoints import preview
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.records import ImageChange, Interruption, Manifest
from batchgray.manifest.share_log import LogEntry, ShareLog
from batchgray.planning.replay import replayed
from batchgray.planning.shares import Share
from batchgray.records import Task
from batchgray.storage.lease import Lease

# What the plan says of an image already, and what is known of the copy that was converted.
_OF_THE_COPY = {"size": msgspec.UNSET, "mtime_ns": msgspec.UNSET}


@dataclass
class SharePlan:
    """A share ready to be worked on. `todo` are indices into its images, `already_done` counts the others.

    `flight` is the machine's folder of what is in flight.
    """

    share: Share
    manifest: Manifest
    todo: list[int] = field(default_factory=list)
    already_done: int = 0
    flight: Path = field(default_factory=Path)


def plan_of(head: JobHead, share: Share, entries: Sequence[LogEntry], log_name: str) -> SharePlan:
    """The share with what its log tells; what failed is to be tried again. Raises DamagedLog."""
    manifest = replayed(head, share, entries, log_name)
    for image in manifest.images:
        if image.state == "failed":
            image.state, image.error = "pending", None
    todo = [index for index, image in enumerate(manifest.images) if image.state != "done"]
    return SharePlan(share, manifest, todo, len(manifest.images) - len(todo))


class ShareTasks:
    """What a share wants done (see `backlog.Tasks`). `resumable` are the images, by their indices, with a sidecar.

    `handed_out` are those that were asked for.
    """

    def __init__(self, plan: SharePlan, resumable: Collection[int]) -> None:
        self._plan, self._resumable = plan, resumable
        self._images = plan.share.images
        self._outputs = {image.output for image in self._images}
        self.handed_out: set[int] = set()

    @property
    def indices(self) -> Sequence[int]:
        return self._plan.todo

    def size(self, index: int) -> int:
        return self._images[index].size

    def task(self, index: int) -> Task:
        image = self._images[index]
        self.handed_out.add(index)
        return Task(
            index=index,
            source=image.source,
            output=image.output,
            version=image.version,
            preview=preview.name_of(image.output) not in self._outputs and preview.has_room(image.output),
            resumable=index in self._resumable,
        )


class ShareBooks:
    """The log of a share as the ledger writes it (see `ledger.Books`). `path` is what the job is called.

    `lease` tells the workers of each time that the share is renewed.
    """

    def __init__(self, path: str, log: ShareLog, lease: Lease) -> None:
        self.path: str = path
        self._log, self._lease = log, lease
        lease.extend(log.certain_until)
        self._interruption: Interruption | None = None

    def commit(self, manifest: Manifest) -> None:
        """Close the share, or give it back: where work is left, also where images failed, which are tried again."""
        self._log.sync("done" if manifest.state == "complete" else "free", self._interruption)

    def record(self, changes: list[ImageChange]) -> None:
        self._log.record([msgspec.structs.replace(change, **_OF_THE_COPY) for change in changes])

    def record_interruption(self, interruption: Interruption) -> None:
        self._interruption = msgspec.structs.replace(interruption, run=None)

    def sync(self) -> None:
        self._log.sync()
        self._lease.extend(self._log.certain_until)

    @property
    def unsynced(self) -> bool:
        return self._log.unsynced

    def close(self) -> None:
        """There is nothing to let go of."""
