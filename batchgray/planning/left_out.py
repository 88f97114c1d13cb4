"""What the walk left out: of each kind how many, and the names of the first few.

The names of all are told as they are met, and not kept: there may be a million.
"""

from collections import Counter
from collections.abc import Callable

from batchgray.records import LeftOutKind

HIDDEN = "hidden"
FILTERED = "left out by --include or --exclude"
NO_SUFFIX = "no suffix"
OTHERS = "other types"

_NAMES = 10
_KINDS = 100  # a tree may have a file type for each of its files


class LeftOut:
    """`ignored` counts what was not taken, by file type; `passed_over` what was not examined, and why.

    `tell` is called with the path of each, absolute, and its kind.
    """

    def __init__(self, tell: Callable[[str, str], None] = lambda path, kind: None) -> None:
        self.ignored: Counter[str] = Counter()
        self.passed_over: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}
        self._tell = tell

    def ignore(self, path: str, kind: str) -> None:
        """A file of a type that is not read, or a link to a folder."""
        if kind not in self.ignored and len(self.ignored) >= _KINDS:
            kind = OTHERS
        self._count(self.ignored, path, kind)

    def pass_over(self, path: str, reason: str) -> None:
        """What was not looked at, be it a file or a folder."""
        self._count(self.passed_over, path, reason)

    def _count(self, counts: Counter[str], path: str, kind: str) -> None:
        counts[kind] += 1
        first = self._first.setdefault(kind, [])
        if len(first) < _NAMES:
            first.append(path)
        self._tell(path, kind)

    def kinds(self) -> list[LeftOutKind]:
        """The commonest first; first those of which the type was the reason."""
        counts = [*self.ignored.most_common(), *self.passed_over.most_common()]
        return [LeftOutKind(kind=kind, count=count, sources=self._first[kind]) for kind, count in counts]
