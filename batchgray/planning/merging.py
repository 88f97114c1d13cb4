"""One range of a listing, held against what earlier rounds came to: two sorted streams, of which none is kept.

What is new, changed or failed is work; what is missing is gone, and keeps what was made of it; what is done and as it
was costs nothing. The rule of output names needs no more than neighbours: names that are equal up to the first dot of
their last part follow each other, those of the listing and those of earlier rounds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from batchgray.manifest.results import Result, Totals, order_of, totals_of
from batchgray.options import SUFFIXES, Format
from batchgray.planning.discovery import Found, TakenName, assign_outputs
from batchgray.planning.planned import PlannedImage, Share, planned_image
from batchgray.storage.base import Entry, Missing, Place, PlaceError
from batchgray.storage.keys import key_order

Unwanted = Callable[[str], str | None]


class Input(NamedTuple):
    """Where images are listed, and the folder below the output place that mirrors it: "", or `name/`."""

    place: Place
    mirrored: str


class Rules(NamedTuple):
    """What holds for all of a job. `kind_of_unwanted` says of a key why it is not taken, None where it is an image.

    `prune` removes what was made of an image that is gone, and says whether that is to be forgotten.
    """

    format: Format
    kind_of_unwanted: Unwanted
    prune: Callable[[Result], bool] = lambda gone: False


class _Item(NamedTuple):
    """A name, as the listing and as earlier rounds know it."""

    entry: Entry | None
    result: Result | None


class Merge:
    """Takes what a range lists, in its order; has what is to be the next share (see `Share` for the fields)."""

    def __init__(self, number: int, input: Input, rules: Rules, earlier: Iterable[Result] = ()) -> None:
        self._number, self._input, self._rules = number, input, rules
        self._earlier = iter(earlier)
        self._ahead = next(self._earlier, None)
        self._stem: str | None = None
        self._group: list[_Item] = []
        self._group_through = ""
        self._begin()

    def _begin(self) -> None:
        self.images: list[PlannedImage] = []
        self.noted: list[Result] = []
        self.ignored: Counter[str] = Counter()
        self.kept = Totals()
        self._through = ""
        self._changed = self._retried = 0

    def add(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Yields each time when what is there can be a share. Raises Collisions."""
        for entry in entries:
            if self._ahead is not None:
                yield from self._add_earlier(key_order(entry.key))
            result = None
            if self._ahead is not None and self._ahead.source == entry.key:
                result, self._ahead = self._ahead, next(self._earlier, None)
            yield from self._add(entry.key, _Item(entry, result))

    def end(self) -> Iterator[None]:
        """All is listed; see `add`."""
        yield from self._add_earlier(None)
        yield from self._close_group()

    def retry(self, failed: Result) -> None:
        """One that failed, and nothing else; as its input is now."""
        self._through = failed.source
        try:
            entry = self._input.place.stat(failed.source)
        except Missing:
            self._note_gone(failed)
            return
        except PlaceError:  # reading it will tell why
            entry = Entry(failed.source, failed.size, failed.version)
        self._classify(entry, failed, failed.output, failed.checksum or "")

    @property
    def size(self) -> int:
        """How many images a share of what is there would tell of."""
        return len(self.images) + len(self.noted)

    def take(self, number: int, range: int) -> Share:
        """What is there, as a share; the next begins."""
        share = Share(
            number=number,
            input=self._number,
            range=range,
            through=self._through,
            ignored=dict(self.ignored),
            images=self.images,
            noted=sorted(self.noted, key=order_of),
            kept=self.kept,
            changed=self._changed,
            retried=self._retried,
        )
        self._begin()
        return share

    def _add_earlier(self, until: bytes | None) -> Iterator[None]:
        """What only earlier rounds know, of the names before one; None is the end."""
        while self._ahead is not None and (until is None or key_order(self._ahead.source) < until):
            result, self._ahead = self._ahead, next(self._earlier, None)
            yield from self._add(result.source, _Item(None, result))

    def _add(self, key: str, item: _Item) -> Iterator[None]:
        kind = None if item.entry is None else self._rules.kind_of_unwanted(key)
        stem = _stem(key)
        if stem != self._stem:
            yield from self._close_group()
            self._stem = stem
        self._group_through = key
        if kind is None:
            self._group.append(item)
        else:
            self.ignored[kind] += 1
            if item.result is not None:  # what could be read when it was done, and can't be now, is no less done
                self._keep(item.result)

    def _close_group(self) -> Iterator[None]:
        if self._stem is None:
            return
        group, self._group = self._group, []
        if group and not (len(group) == 1 and self._plan_alone(*group[0])):
            self._plan(group)
        self._through = self._group_through
        yield

    def _plan_alone(self, entry: Entry | None, result: Result | None) -> bool:
        """What `_plan` does, for most images, in a tenth of the time. False where it takes more to say."""
        if entry is None:
            return False
        output = _without_suffix(self._input.mirrored + entry.key) + SUFFIXES[self._rules.format]
        if result is None:
            self.images.append(planned_image(entry.key, output, entry.version))
        elif result.output == output:
            self._classify(entry, result, output, result.checksum or "")
        return result is None or result.output == output

    def _plan(self, group: list[_Item]) -> None:
        place, mirrored = self._input
        here = [(item.entry, item.result) for item in group if item.entry is not None]
        found = [
            Found(place.name, entry.key, mirrored + entry.key, entry.version.size, entry.version.mtime_ns)
            for entry, _ in here
        ]
        gone = [item.result for item in group if item.entry is None and item.result is not None]
        stay = [result for result in gone if not self._note_gone(result)]
        before = {(place.name, entry.key): result.output for entry, result in here if result is not None}
        taken = [TakenName(f"{place.name}/{each.source}", each.output) for each in stay if each.checksum]
        outputs = assign_outputs(found, self._rules.format, before, taken)
        made = {item.result.output: item.result.checksum or "" for item in group if item.result is not None}
        for (entry, result), output in zip(here, outputs, strict=True):
            self._classify(entry, result, output, made.get(output, ""))

    def _note_gone(self, result: Result) -> bool:
        """Its input is not there. Whether that is to be forgotten."""
        if self._rules.prune(result):
            self.noted.append(msgspec.structs.replace(result, state="pruned", was_done=False))
            return True
        if result.state == "gone":
            self._keep(result)
        else:
            self.noted.append(
                msgspec.structs.replace(result, state="gone", was_done=result.state == "done", error=None)
            )
        return False

    def _classify(self, entry: Entry, result: Result | None, output: str, replaces: str) -> None:
        """Whether there is work."""
        known = result is not None and result.output == output
        if known and result is not None and result.version.is_same(entry.version):
            if result.state == "done":
                self._keep(result)
                return
            if result.was_done:
                self.noted.append(msgspec.structs.replace(result, state="done", was_done=False))
                return
            self._retried += result.state == "failed"
        else:
            self._changed += known and result is not None and result.finished
        self.images.append(planned_image(entry.key, output, entry.version, replaces))

    def _keep(self, result: Result) -> None:
        self.kept += totals_of([result])


def _stem(key: str) -> str:
    """What names have in common that could come out as the same: all up to the first dot of the last part."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _without_suffix(name: str) -> str:
    """As os.path.splitext; the name of an image has a suffix."""
    return name.rpartition(".")[0]
