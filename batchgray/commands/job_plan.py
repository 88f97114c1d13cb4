"""What a run of a job would do, in words and for programs: the answer of `run --dry-run`. Nothing is put anywhere."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchgray import events
from batchgray.commands.job_view import JobView, viewing
from batchgray.errors import NoSuchManifest, PlaceUnusable
from batchgray.manifest.job_head import JobInput
from batchgray.manifest.layers import Layers
from batchgray.options import JobOptions
from batchgray.planning import job_inputs, job_listing
from batchgray.planning.shares import Planner
from batchgray.planning.wanted import choosing
from batchgray.storage.base import Content, PlaceError, Put
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.names import is_url
from batchgray.storage.urls import StoreOptions, open_input


class JobPlan:
    """`conversions` lists what is there; `already_done` is known after the last of them. Raises BatchgrayError."""

    def __init__(self, options: JobOptions, inputs: Sequence[JobInput], stores: StoreOptions) -> None:
        """`inputs` are as they would be listed."""
        self.already_done = 0
        self._options, self._inputs, self._stores = options, inputs, stores
        self._out = job_inputs.full_name(options.out)

    def conversions(self) -> Iterator[events.WouldConvert]:
        """What would be converted; of a round that is not over, what is left of it."""
        with contextlib.ExitStack() as stack:
            view = self._view(stack)
            if view is not None and not view.is_over:
                yield from self._left_of(view)
            else:
                yield from self._found(view)

    def _view(self, stack: contextlib.ExitStack) -> JobView | None:
        """The job that is there already, if there is one."""
        if self._options.overwrite or (not is_url(self._out) and not os.path.isdir(Path(self._out))):
            return None
        try:
            return stack.enter_context(viewing(self._out, self._stores))
        except NoSuchManifest:
            return None

    def _left_of(self, view: JobView) -> Iterator[events.WouldConvert]:
        for image in view.images():
            self.already_done += image.state == "done"
            if image.state in ("pending", "partial"):
                yield self._event(image.root, image.source, image.output)

    def _found(self, view: JobView | None) -> Iterator[events.WouldConvert]:
        layers = None if view is None else Layers(view.place, view.head.prefix)
        self.already_done = layers.totals().done if layers else 0
        with contextlib.ExitStack() as stack:
            besides = self._out if self._options.follow_links else None
            try:
                places = [
                    stack.enter_context(contextlib.closing(open_input(each.place, self._stores, besides)))
                    for each in self._inputs
                ]
                inputs = job_listing.listed(self._inputs, places, self._out)
                wanted = choosing(self._options.include, self._options.exclude)
                planner = Planner(_Nowhere(), "nowhere", inputs, self._options.pixels.format, wanted, layers=layers)
                for share in planner.plan():
                    for image in share.images:
                        yield self._event(share.input, image.source, image.output)
            except PlaceError as error:
                raise PlaceUnusable(", ".join(each.place for each in self._inputs), str(error)) from None

    def _event(self, index: int, source: str, output: str) -> events.WouldConvert:
        return events.WouldConvert(
            source=f"{self._inputs[index].place.rstrip('/')}/{source}", output=f"{self._out.rstrip('/')}/{output}"
        )


class _Nowhere(MemoryPlace):
    """Shares that are put here are forgotten: a plan of any length takes no memory."""

    def put_absent(self, key: str, content: Content) -> Put:
        return Put.CREATED if key.rpartition("/")[2].isdecimal() else super().put_absent(key, content)
