"""Following links to folders (`--follow-links`) to an end: no circles, and no multiplying of ways."""

import os
from collections import Counter

from batchgray.records import CIRCLES, MANY_WAYS

FileId = tuple[int, int]
_MOST_WAYS = 40  # to one folder: with folders that are all linked to each other the ways would be without number


def file_id(path: str | os.PathLike[str]) -> FileId | None:
    """Which file or folder a path leads to; None where it leads nowhere."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Ways:
    """The way from an INPUT folder to where the walk is, and how often links have led to each folder.

    What a folder really holds is always walked, so each is come to as often as links lead to it or above it, at most.
    """

    def __init__(self, root: str) -> None:
        self._above: list[FileId | None] = [file_id(root)]
        self._linked: Counter[FileId] = Counter()

    def enter(self, path: str, is_link: bool) -> str | None:
        """Go down into a folder. Returns why not, as a kind of what is left out, where it must not be entered."""
        folder = file_id(path)
        if folder is not None:  # else reading it says why
            if folder in self._above:
                return CIRCLES
            self._linked[folder] += is_link
            if is_link and self._linked[folder] > _MOST_WAYS:
                return MANY_WAYS
        self._above.append(folder)
        return None

    def leave(self) -> None:
        """Go up again."""
        self._above.pop()
