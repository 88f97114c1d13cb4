"""A round of a job that tries again what failed, and nothing else: nothing is listed for it."""

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator

from batchgray.manifest.results import Layers, Result
from batchgray.planning.shares import PlannedImage, Planner, Share
from batchgray.spelling import is_utf8
from batchgray.storage.base import PlaceError


class FailedAgain(Planner):
    """See `Planner`; `layers` are the job's results. Images keep their outputs, and are read as they are now."""

    layers: Layers  # to be set before `shares` is called

    def shares(self) -> Iterator[Share]:
        """See `Planner`."""
        number = 0
        for share in self.written():
            number = share.number
            yield share
        if self.is_through():
            return
        for some in itertools.islice(self._cut_failures(), number, None):
            number += 1
            images = [self._as_it_is_now(result) for result in some]
            yield self._write(Share(number=number, input=some[0].input, ignored={}, images=images))
        self._put_end(number, Counter())

    def _cut_failures(self) -> Iterable[list[Result]]:
        for _, of_input in itertools.groupby(self.layers.failures(), lambda result: result.input):
            while some := list(itertools.islice(of_input, self._share_images)):
                yield some

    def _as_it_is_now(self, result: Result) -> PlannedImage:
        version = result.version
        with contextlib.suppress(PlaceError):  # reading it will tell why
            version = self._inputs[result.input].place.stat(result.source).version
        names = b"" if is_utf8(result.source) else os.fsencode(f"{result.source}\0{result.output}")
        return PlannedImage(result.source, result.output, version.size, version.mtime_ns, version.etag, names)
