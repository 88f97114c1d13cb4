"""One range of a listing, held against what earlier rounds came to: two sorted streams, of which none is kept.

What is new, changed or failed is work; what is missing is gone, and keeps what was made of it; what is done and as it
was costs nothing. The rule of output names needs no more than neighbours: names that are equal up to the first dot of
their last part follow each other, those of the listing and those of earlier rounds. But for folders that begin so too:
`a.raw/` stands between `a.jpg` and `a.png`. Only then the others are looked for, by a few requests.
"""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from batchgray.manifest.results import Result, Totals, order_of, totals_of
from batchgray.options import SUFFIXES, Format
from batchgray.planning.discovery import Found, TakenName, assign_outputs
from batchgray.planning.planned import PlannedImage, Share, planned_image
from batchgray.storage.base import Entry, Missing, Place, PlaceError
from batchgray.storage.keys import key_order

Named = TypeVar("Named", Entry, Result)
Unwanted = Callable[[str], str | None]
Permit = Callable[[list[PlannedImage]], list[PlannedImage]]

_LAST = "\U0010ffff"  # the last character: after it no name in a folder comes


class Input(NamedTuple):
    """Where images are listed, and the folder below the output place that mirrors it: "", or `name/`.

    With `always` all that is listed is taken for images: files that were named one by one.
    """

    place: Place
    mirrored: str
    always: bool = False


class Rules(NamedTuple):
    """What holds for all of a job. `kind_of_unwanted` says of a key why it is not taken, None where it is an image.

    `prune` removes what was made of an image that is gone, and says whether that is to be forgotten. `mend` are the
    images, by input and name, that are to be made anew, whatever is under their outputs' names. `permit` is given the
    images of a share, and says of each what it may replace.
    """

    format: Format
    kind_of_unwanted: Unwanted
    mend: Collection[tuple[int, str]] = ()
    prune: Callable[[Result], bool] = lambda gone: False
    permit: Permit = lambda images: images


class _Item(NamedTuple):
    """A name, as the listing and as earlier rounds know it."""

    key: str
    entry: Entry | None
    result: Result | None


class Merge:
    """Takes what a range lists, in its order; has what is to be the next share (see `Share` for the fields).

    `read_earlier` gives what earlier rounds know of the input after a name; `until` is the range's end.
    """

    def __init__(
        self,
        number: int,
        input: Input,
        rules: Rules,
        read_earlier: Callable[[str], Iterator[Result]] = lambda after: iter(()),
        after: str = "",
        until: str = "",
    ) -> None:
        self._number, self._input, self._rules, self._read_earlier = number, input, rules, read_earlier
        self._until, last = until, key_order(until)
        earlier = read_earlier(after)
        self._earlier = itertools.takewhile(lambda each: not until or key_order(each.source) <= last, earlier)
        self._key_before, self._key = "", after  # before the group, and the last one
        self._ahead = next(self._earlier, None)
        self._stem: str | None = None
        self._group: list[_Item] = []
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
            yield from self._add(_Item(entry.key, entry, result))

    def end(self) -> Iterator[None]:
        """All is listed; see `add`."""
        yield from self._add_earlier(None)
        yield from self._close_group(self._until)

    def retry(self, failed: Result) -> None:
        """One that failed, or is to be mended, and nothing else; as its input is now."""
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
            images=self._rules.permit(self.images),
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
            yield from self._add(_Item(result.source, None, result))

    def _add(self, item: _Item) -> Iterator[None]:
        key = item.key
        kind = None if item.entry is None or self._input.always else self._rules.kind_of_unwanted(key)
        stem = _stem(key)
        if stem != self._stem:
            yield from self._close_group(key)
            self._stem, self._key_before = stem, self._key
        self._key = key
        if kind is None:
            self._group.append(item)
        else:
            self.ignored[kind] += 1
            if item.result is not None:  # what could be read when it was done, and can't be now, is no less done
                self._keep(item.result)

    def _close_group(self, next_key: str) -> Iterator[None]:
        if self._stem is None:
            return
        group, self._group = self._group, []
        if group and any(key.startswith(f"{self._stem}.") for key in (self._key_before, next_key)):
            self._plan(group, self._others(self._stem, group))
        elif group and not (len(group) == 1 and self._plan_alone(group[0])):
            self._plan(group)
        self._through = self._key
        yield

    def _others(self, stem: str, group: list[_Item]) -> list[_Item]:
        """Those with this stem that stand behind a folder, seen from the group."""
        place, unwanted = self._input.place, self._rules.kind_of_unwanted
        entries = _beside(lambda after: place.list(f"{stem}.", after), lambda entry: entry.key, stem)
        results = _beside(self._read_earlier, lambda result: result.source, stem)
        listed = {entry.key: entry for entry in entries if self._input.always or unwanted(entry.key) is None}
        known = {result.source: result for result in results}
        names = (listed.keys() | known.keys()).difference(item.key for item in group)
        return [_Item(name, listed.get(name), known.get(name)) for name in sorted(names, key=key_order)]

    def _plan_alone(self, item: _Item) -> bool:
        """What `_plan` does, for most images, in a tenth of the time. False where it takes more to say."""
        _, entry, result = item
        if entry is None:
            return False
        output = os.path.splitext(self._input.mirrored + entry.key)[0] + SUFFIXES[self._rules.format]
        if result is None:
            self.images.append(planned_image(entry.key, output, entry.version))
        elif result.output == output:
            self._classify(entry, result, output, result.checksum or "")
        return result is None or result.output == output

    def _plan(self, group: list[_Item], others: Sequence[_Item] = ()) -> None:
        """`others` are planned where they stand, and have a claim to their names."""
        place, mirrored, _ = self._input
        both = [*group, *others]
        here = [(item.entry, item.result) for item in both if item.entry is not None]
        found = [
            Found(place.name, entry.key, mirrored + entry.key, entry.version.size, entry.version.mtime_ns)
            for entry, _ in here
        ]
        gone = [item.result for item in group if item.entry is None and item.result is not None]
        stay = [result for result in gone if not self._note_gone(result)]
        stay += [item.result for item in others if item.entry is None and item.result is not None]
        before = {(place.name, entry.key): result.output for entry, result in here if result is not None}
        taken = [TakenName(f"{place.name}/{each.source}", each.output) for each in stay if each.checksum]
        outputs = assign_outputs(found, self._rules.format, before, taken)
        made = {item.result.output: item.result.checksum or "" for item in both if item.result is not None}
        count = sum(item.entry is not None for item in group)
        for (entry, result), output in itertools.islice(zip(here, outputs, strict=True), count):
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
        if (self._number, entry.key) in self._rules.mend:
            self._changed += 1
            self.images.append(planned_image(entry.key, output, entry.version, "*"))
            return
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


def _beside(read: Callable[[str], Iterator[Named]], key_of: Callable[[Named], str], stem: str) -> Iterator[Named]:
    """What has a stem, of what can be read after any name, without what is in folders that begin so."""
    after = f"{stem}."
    while after:
        skipped, after = after, ""
        for each in read(skipped):
            rest = key_of(each)[len(stem) + 1 :]
            if not key_of(each).startswith(f"{stem}."):
                return
            if "/" in rest:
                after = f"{stem}.{rest.partition('/')[0]}/{_LAST}"
                break
            yield each


def _stem(key: str) -> str:
    """What names have in common that could come out as the same: all up to the first dot of the last part."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.partition(".")[0]
