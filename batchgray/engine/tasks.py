"""The plan's images as tasks for the supervisor."""

from collections.abc import Collection, Sequence

from batchgray.checkpoints import preview
from batchgray.engine.backlog import Backlog
from batchgray.planning.plan import Plan
from batchgray.records import Task


class PlannedTasks:
    """What a plan wants done (see `backlog.Tasks`). `resumable` are the images, by their indices, with a sidecar."""

    def __init__(self, plan: Plan, resumable: Collection[int]) -> None:
        self._plan, self._resumable = plan, resumable
        self._images = plan.manifest.images
        self._outputs = {image.output for image in self._images}

    @property
    def indices(self) -> Sequence[int]:
        return self._plan.todo

    def size(self, index: int) -> int:
        return self._images[index].size

    def task(self, index: int) -> Task:
        image = self._images[index]
        return Task(
            index=index,
            source=self._plan.source_path(image),
            output=image.output,
            version=image.version,
            replaces="*" if image.mend else image.checksum or "",
            preview=preview.name_of(image.output) not in self._outputs and preview.has_room(image.output),
            resumable=index in self._resumable,
        )

    def share_out(self, backlog: Backlog) -> None:
        """There are no others."""
