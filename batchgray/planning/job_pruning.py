"""Removing what a job made of inputs that are gone, with `--prune`: only what is as it was made."""

from collections.abc import Callable, Sequence

from batchgray.manifest.results import Result
from batchgray.planning.merging import Input
from batchgray.storage import integrity
from batchgray.storage.base import Missing, Place, PlaceError


class JobPruning:
    """Removes the outputs of images whose inputs are gone, as `merging.Rules.prune` does.

    `altered` are outputs that are not as they were made: they stay, as nothing of the job's any more. `stuck` are those
    that could not be removed, with the reason. `check` is called before each, and may raise: by then it is known that
    the plan is still this machine's.
    """

    def __init__(self, inputs: Sequence[Input], out: Place, check: Callable[[], None]) -> None:
        self.altered: list[str] = []
        self.stuck: list[tuple[str, str]] = []
        self._inputs, self._out, self._check = inputs, out, check

    def __call__(self, gone: Result) -> bool:
        """Whether nothing more is to be known of an image."""
        self._check()
        try:
            return self._is_absent(gone) and self._remove(gone)
        except PlaceError as error:
            self.stuck.append((gone.output, error.reason))
            return False

    def _is_absent(self, gone: Result) -> bool:
        """Whether there is no such input, for sure: what is not listed may come back."""
        try:
            self._inputs[gone.input].place.stat(gone.source)
        except Missing:
            return True
        return False

    def _remove(self, gone: Result) -> bool:
        if gone.checksum is None:
            return True
        try:
            if integrity.checksum_in(self._out, gone.output) == gone.checksum:
                self._out.delete(gone.output)
            else:
                self.altered.append(gone.output)
        except Missing:
            pass
        return True
