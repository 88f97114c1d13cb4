"""A round of a job that tries again what failed, and nothing else: nothing is listed for it."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator

from batchgray.manifest.results import Layers, Result, Totals
from batchgray.planning.planned import PlannedImage, Share, planned_image
from batchgray.planning.shares import PlanEnd, Planner
from batchgray.storage.base import Missing, Place, PlaceError

_MARK = "failed"  # under it, in the plan, an object says that the round is such a one


def is_of_failures(place: Place, plan: str) -> bool:
    """Whether the round whose plan's keys begin so was begun as one. Raises PlaceError."""
    try:
        place.stat(f"{plan}/{_MARK}")
    except Missing:
        return False
    return True


class FailedAgain(Planner):
    """See `Planner`. Images keep their outputs, and are read as they are now."""

    def plan(self) -> Iterator[Share]:
        """See `Planner`. The same failures make the same shares, so it does not matter who writes them."""
        if self._layers is None or self.is_through():
            return
        self._job.put_absent(f"{self._prefix}/plan/{_MARK}", b"")
        last = 0
        for last, some in enumerate(self._cut(self._layers), 1):
            self._pause()
            share = Share(
                number=last,
                input=some[0].input,
                through=some[-1].source,
                ignored={},
                images=[self._as_it_is_now(result) for result in some],
                retried=len(some),
            )
            self._job.put_absent(self._key(last), self.packed(share))
            yield self.share(last)
        totals = self._layers.totals()
        kept = Totals(
            done=totals.done,
            gone=totals.gone,
            pixels=totals.pixels,
            source_bytes=totals.source_bytes,
            output_bytes=totals.output_bytes,
        )
        self._write_end(PlanEnd(shares=last, order=list(range(1, last + 1)), ignored={}, kept=kept))

    def _cut(self, layers: Layers) -> Iterable[list[Result]]:
        for _, of_input in itertools.groupby(layers.failures(), lambda result: result.input):
            while some := list(itertools.islice(of_input, self._share_images)):
                yield some

    def _as_it_is_now(self, result: Result) -> PlannedImage:
        version = result.version
        with contextlib.suppress(PlaceError):  # reading it will tell why
            version = self._inputs[result.input].place.stat(result.source).version
        return planned_image(result.source, result.output, version, result.checksum or "")
