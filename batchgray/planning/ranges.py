"""How a listing is cut into ranges of names, which are listed side by side.

The names themselves say where: a few requests at once ask for the first name after some string, and so find where names
begin to differ, and which characters stand there: years, cameras, the first digit of a number. Nothing is known of how
many names are in a range, so there are more of them than threads. Of a short listing nothing is cut.

A border never falls between names that could come out as the same output, those that are equal up to the first dot of
their last part: there is no dot in the last part of a border. So each range is planned by itself.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from batchgray.manifest.records import Count
from batchgray.spelling import Bytes
from batchgray.storage.base import Place
from batchgray.storage.folder import FolderPlace
from batchgray.storage.keys import key_order
from batchgray.storage.side_by_side import THREADS

MOST_RANGES = 64
MANY_NAMES = 20_000  # fewer are not cut: their shares would be small, and each costs some requests after one another
_PAUSE_NAMES = 1000  # which a store lists with one answer
_ENOUGH = THREADS
_MOST_SECONDS = 1.0  # after that what was found has to do
_WAYS = THREADS  # how many strings are asked for at once
_TRIED = sorted(
    {*"0123456789_~", *"acegikmoqsuwyACEGIKMOQSUWY", *map(chr, (0xA1, 0x400, 0x3041, *range(0x4E00, 0xA000, 0x800)))}
)


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one input after `after`, up to `until` inclusive; "" is no bound."""

    input: Count
    after: str = ""
    after_base64: Bytes = msgspec.UNSET
    until: str = ""
    until_base64: Bytes = msgspec.UNSET

    def cut(self, borders: Sequence[str]) -> list["Range"]:
        """The range in pieces, by borders within it, in order."""
        names = [self.after, *borders, self.until]
        return [Range(input=self.input, after=after, until=until) for after, until in itertools.pairwise(names)]


def find_borders(
    place: Place, after: str, clock: Callable[[], float] = time.monotonic, pause: Callable[[], None] = lambda: None
) -> list[str]:
    """Where to cut what a place lists after a name, in order. Raises PlaceError.

    A folder is not cut: to read a part of one takes as long as all of it. Nor are few names; `pause` is called while
    they are counted, and may raise.
    """
    if isinstance(place, FolderPlace) or not _has_many(place, after, pause):
        return []
    with ThreadPoolExecutor(_WAYS, "probe") as threads:

        def first_names(strings: Iterable[str]) -> list[str]:
            return list(threads.map(lambda string: _first_after(place, string), strings))

        found = _Search(first_names, clock).prefixes()
    return [name for name in found if key_order(name) > key_order(after) and _is_border(name)][: MOST_RANGES - 1]


class _Search:
    """Looks for the prefixes of names. `first_names` gives the first name after each of some strings, "" for none."""

    def __init__(self, first_names: Callable[[Iterable[str]], list[str]], clock: Callable[[], float]) -> None:
        self._first_names, self._clock = first_names, clock
        self._until = clock() + _MOST_SECONDS

    def prefixes(self) -> list[str]:
        """In order; level by level, until there are enough."""
        whole: dict[str, str] = {}  # prefixes of which it is not known how they go on, with their first names
        ends: list[str] = []
        (first,) = self._first_names([""])
        whole[""] = first
        while whole and len(whole) + len(ends) < _ENOUGH and self._clock() < self._until:
            level, whole = whole, {}
            for prefix, name in level.items():
                children = self._children(prefix, name) if self._clock() < self._until else {}
                whole.update(children)
                ends += [] if children else [prefix]
        return sorted({*whole, *ends}, key=key_order)

    def _children(self, prefix: str, first: str) -> dict[str, str]:
        """What all names with a prefix go on with, each with the first name; none where there is but one name."""
        at = self._parting(prefix, first)
        if at is None:
            return {}
        common = first[:at]
        tried = [_next(first[at]), *(each for each in _TRIED if each > first[at])]
        found = self._first_names(common + each for each in tried)
        names = [first, *(name for name in found if name.startswith(common) and len(name) > at)]
        children: dict[str, str] = {}
        for name in sorted(names, key=key_order):
            children.setdefault(name[: at + 1], name)
        return children

    def _parting(self, prefix: str, first: str) -> int | None:
        """The first place at which not all names that begin with `prefix` are as the first of them."""
        low, high = len(prefix), len(first)  # it is in between; `high` where they all are alike as far as that goes
        while low < high:
            step = -(-(high - low) // _WAYS)
            places = range(low, high, step)
            names = self._first_names(first[:at] + _next(first[at]) for at in places)
            apart = [at for at, name in zip(places, names, strict=True) if name.startswith(prefix) and name]
            if not apart:
                low = places[-1] + 1
            else:
                low, high = max(low, apart[0] - step + 1), apart[0]
        return high if high < len(first) else None


def _has_many(place: Place, after: str, pause: Callable[[], None]) -> bool:
    for count, _ in enumerate(place.list(after=after), 1):
        if count % _PAUSE_NAMES == 0:
            pause()
        if count == MANY_NAMES:
            return True
    return False


def _first_after(place: Place, string: str) -> str:
    entry = next(iter(place.list(after=string)), None)
    return entry.key if entry else ""


def _next(character: str) -> str:
    """The one after it: what follows a string that ends so comes after all names that begin with this one."""
    following = ord(character) + 1
    return chr(0xE000 if 0xD800 <= following < 0xE000 else min(following, 0x10FFFF))


def _is_border(name: str) -> bool:
    return "." not in name.rpartition("/")[2]
