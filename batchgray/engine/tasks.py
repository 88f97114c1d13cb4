"""Images of a list as tasks for the supervisor: of a plan; those of a share are in `share`."""

from collections.abc import Collection, Sequence

from batchgray.checkpoints import preview
from batchgray.engine.backlog import Backlog
from batchgray.manifest.records import Image
from batchgray.planning.plan import Plan
from batchgray.planning.planned import PlannedImage
from batchgray.records import Task


class ListedTasks:
    """What is to be done of a list of images (see `backlog.Tasks`): `todo` are their indices, `resumable` those with a
    sidecar.
    """

    def __init__(
        self, images: Sequence[Image] | Sequence[PlannedImage], todo: Sequence[int], resumable: Collection[int]
    ) -> None:
        self.indices = todo
        self._images, self._resumable = images, resumable
        self._outputs = {image.output for image in images}

    def size(self, index: int) -> int:
        """See `backlog.Tasks`."""
        return self._images[index].size

    def share_out(self, backlog: Backlog) -> None:
        """See `backlog.Tasks`. There are no others."""

    def _task(self, index: int, source: str, replaces: str) -> Task:
        image = self._images[index]
        partial = preview.name_of(image.output)
        return Task(
            index=index,
            source=source,
            output=image.output,
            version=image.version,
            replaces=replaces,
            preview=partial not in self._outputs and preview.has_room(partial),
            resumable=index in self._resumable,
        )


class PlannedTasks(ListedTasks):
    """What a plan wants done."""

    def __init__(self, plan: Plan, resumable: Collection[int]) -> None:
        super().__init__(plan.manifest.images, plan.todo, resumable)
        self._plan = plan

    def task(self, index: int) -> Task:
        """See `backlog.Tasks`."""
        image = self._plan.manifest.images[index]
        return self._task(index, self._plan.source_path(image), "*" if image.mend else image.checksum or "")
