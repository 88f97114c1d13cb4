"""Re-read every finished output of a job: damage is told as it is found, and no more is kept than a few images."""

from collections.abc import Callable, Iterator
from pathlib import Path

from batchgray import machine
from batchgray.commands import output_check, verify
from batchgray.commands.job_view import JobView
from batchgray.commands.verify import Damage, Verdict
from batchgray.manifest.mending import ToMend
from batchgray.manifest.records import Image
from batchgray.storage.folder import FolderPlace

_REQUESTS = 16  # at a time
_MARKS = 10_000  # put together


class JobVerification:
    """With `mend`, what is damaged is marked to be made anew. All that reads raises as the view does."""

    def __init__(self, view: JobView, mend: bool) -> None:
        self._view, self._mend = view, mend
        self._checked = self._mended = 0
        self._to_mark: list[ToMend] = []

    def damaged(self) -> Iterator[Damage]:
        """Each as it is found."""
        fault_of, threads = self._checking()
        made = (image for image in self._view.images() if verify.is_told_of(image))
        for image, fault in output_check.side_by_side(fault_of, made, threads):
            self._checked += 1
            if fault:
                yield Damage(output=image.output, fault=fault, gone=image.state == "gone")
                self._note(image)
        self._put_marks()

    def verdict(self) -> Verdict:
        """What it came to by now, without what is damaged."""
        return Verdict(damaged=[], checked=self._checked, mended=self._mended)

    def _checking(self) -> tuple[Callable[[Image], str | None], int]:
        """How an output is checked where it lies, and how many at a time."""
        place = self._view.place
        if isinstance(place, FolderPlace):
            out = Path(place.name)
            return lambda image: verify.fault_of(out, image), machine.usable_cores()
        return lambda image: output_check.fault_in_place(place, image), _REQUESTS

    def _note(self, image: Image) -> None:
        if self._mend:
            self._to_mark.append(ToMend(input=image.root, source=image.source, output=image.output))
            self._mended += image.state != "gone"
        if len(self._to_mark) >= _MARKS:
            self._put_marks()

    def _put_marks(self) -> None:
        self._view.mark(self._to_mark)
        self._to_mark.clear()
