"""Texts of any length and lists of any number, shortened for people: here alone, so that they look alike everywhere."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from batchgray.errors import shown

NAMES = 3  # in a sentence
LINES = 20  # in a list
_CHARACTERS = 200

Measure = Callable[[str], int]


def brief(text: str, most: int = _CHARACTERS) -> str:
    """Text that may be of any length, short enough for a sentence: its beginning."""
    return text if len(text) <= most else f"{text[:most]}..."


def one_line(text: str, most: int = _CHARACTERS) -> str:
    """What a library or a service says: on one line, in visible characters, short enough for a sentence."""
    return brief(shown(" ".join(text[: 4 * most].split())), most)


def beginning(text: str, room: int, width_of: Measure = len) -> str:
    """As much of the beginning as has room; `width_of` is in the same unit: characters, or cells of a terminal."""
    return text if width_of(text) <= room else _longest(text, room, width_of)


def without_middle(text: str, room: int, width_of: Measure = len) -> str:
    """The same, but what is missing is missing in the middle, nearer to the beginning: names differ in their ends."""
    if width_of(text) <= room:
        return text
    head = max(0, room - 1) // 3
    tail = max(0, room - 1 - head)
    return f"{_longest(text, head, width_of)}…{_longest(text[::-1], tail, width_of)[::-1]}"


def _longest(text: str, room: int, width_of: Measure) -> str:
    short = text[: max(0, room)]  # nothing is narrower than one cell, but for marks on the character before
    while short and width_of(short) > room:
        short = short[:-1]
    return short


def names(first: Sequence[str], count: int | None = None) -> str:
    """`a.png, b.png, c.png and 997 more`: the first few of `count` names, or of as many as are given."""
    named = first[:NAMES]
    more = (len(first) if count is None else count) - len(named)
    text = ", ".join(map(shown, named))
    return f"{text} and {more:,} more" if more else text


def first_lines(lines: Sequence[str], what: str, most: int = LINES) -> list[str]:
    """The first of many lines, and how many more there are; `what` says of what, or where."""
    more = len(lines) - most
    return [*lines[:most], f"  ... and {more:,} more{what}"] if more > 0 else list(lines)


@dataclass
class Shared:
    """What several have in common: the words of the first, of how many, and the names of the first few."""

    text: str
    count: int = 0
    names: list[str] = field(default_factory=list)


class Sharing:
    """Texts of many names, the commonest first. Texts that are `alike` count as one; each is kept once."""

    def __init__(self, alike: Callable[[str], str] = str) -> None:
        self._alike = alike
        self._found: dict[str, Shared] = {}

    def add(self, name: str, text: str) -> None:
        one = self._found.setdefault(self._alike(text), Shared(text))
        one.count += 1
        if len(one.names) < NAMES:
            one.names.append(name)

    def all(self) -> list[Shared]:
        return sorted(self._found.values(), key=lambda one: -one.count)


def shared(texts: Iterable[tuple[str, str]], alike: Callable[[str], str] = str) -> list[Shared]:
    """From names and their texts, the texts, as `Sharing` has them."""
    sharing = Sharing(alike)
    for name, text in texts:
        sharing.add(name, text)
    return sharing.all()
