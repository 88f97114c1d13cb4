"""A disk that loses power: fed with recorded operations, it says in which states it may be found afterwards.

What POSIX promises, and nothing more:
- a file's data is there after fsync of the file, or syncfs of the file system. Before, any of it may be missing: the
  end of it, some blocks, or all but the length (zeros);
- a name is what it was at the last fsync of its folder (or syncfs), or what any operation since then made of it, each
  name for itself: operations on names reach the disk in any order, and a rename may show both names, or neither.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

BLOCK = 512  # bytes, what a drive writes at once

Names = Literal["old", "new", "any"]
Data = Literal["none", "all", "zeros", "torn", "blocks", "any"]
# How much of what is not synced reached the disk: of the names, and of the files' data.
EXTREMES: list[tuple[Names, Data]] = [
    ("old", "none"),
    ("old", "all"),
    ("new", "none"),
    ("new", "all"),
    ("new", "zeros"),
    ("new", "torn"),
    ("new", "blocks"),
]
ODDS: list[tuple[Names, Data]] = [("any", "none"), ("any", "all"), ("any", "torn"), ("any", "any")]

Tree = dict[str, bytes | None]  # absolute paths; None for a folder


@dataclass(eq=False)
class File:
    """Its bytes as a reader sees them, and as the last fsync left them."""

    data: bytes = b""
    synced: bytes = b""

    def after_a_cut(self, how: Data, chance: random.Random) -> bytes:
        if how == "any":
            how = chance.choice(["none", "all", "zeros", "torn", "blocks"])
        if how == "none":
            return self.synced
        if how == "all":
            return self.data
        grown = self.data.startswith(self.synced)
        if how == "torn" and grown:
            return self.data[: chance.randint(len(self.synced), len(self.data))]
        kept = self.synced if grown or len(self.synced) == len(self.data) else b""  # else it began anew
        before = kept.ljust(len(self.data), b"\0")
        if how == "zeros":
            return before
        if how == "torn":
            edge = chance.randint(0, len(self.data))
            return self.data[:edge] + before[edge:]
        starts = range(0, len(self.data), BLOCK)
        return b"".join(chance.choice([before, self.data])[start : start + BLOCK] for start in starts)


@dataclass(eq=False)
class Folder:
    """For each name all that it may be after a cut: what it was at the last fsync, then what it became; None: free."""

    names: dict[str, list["File | Folder | None"]] = field(default_factory=dict)

    def now(self, name: str) -> "File | Folder | None":
        return self.names.get(name, [None])[-1]

    def set(self, name: str, node: "File | Folder | None") -> None:
        self.names.setdefault(name, [None]).append(node)

    def sync(self) -> None:
        self.names = {name: history[-1:] for name, history in self.names.items() if history[-1] is not None}

    def sync_all(self) -> None:
        self.sync()
        for (node,) in self.names.values():
            if isinstance(node, Folder):
                node.sync_all()


class Disk:
    """`root` is a folder that is there and durable, empty at first. Operations elsewhere are refused."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._top = Folder()
        self._open: dict[str, File] = {}

    def apply(self, record: tuple) -> None:
        """Do a recorded operation; other records are none of the disk's business."""
        match record:
            case ("open", path, handle, created, truncated):
                folder, name = self._folder_of(path)
                if created:
                    folder.set(name, File())
                file = folder.now(name)
                if truncated:
                    file.data = b""
                self._open[handle] = file
            case ("write", handle, data):
                self._open[handle].data += data
            case ("write at", handle, at, data):
                file = self._open[handle]
                file.data = file.data[:at] + data + file.data[at + len(data) :]
            case ("truncate", handle, size):
                self._open[handle].data = self._open[handle].data[:size].ljust(size, b"\0")
            case ("sync", handle):
                self._open[handle].synced = self._open[handle].data
            case ("sync folder", path):
                self._folder(path).sync()
            case ("sync all",):
                for file in self._open.values():
                    file.synced = file.data
                self._top.sync_all()
            case ("rename", old, new):
                folder, name = self._folder_of(old)
                node = folder.now(name)
                folder.set(name, None)
                folder, name = self._folder_of(new)
                folder.set(name, node)
            case ("unlink", path):
                folder, name = self._folder_of(path)
                folder.set(name, None)
            case ("mkdir", path):
                folder, name = self._folder_of(path)
                folder.set(name, Folder())
            case ("damage", path, data):  # by somebody else, and durable
                folder, name = self._folder_of(path)
                file = folder.now(name)
                file.data = file.synced = data

    def after_a_cut(self, names: Names, data: Data, chance: random.Random) -> Tree:
        """A state in which the disk may be found if power is cut now."""
        found: Tree = {}
        chosen: dict[File, bytes] = {}  # a file that shows two names is one file

        def look(folder: Folder, path: str) -> None:
            for name, history in folder.names.items():
                node = history[0] if names == "old" else history[-1] if names == "new" else chance.choice(history)
                below = f"{path}/{name}"
                if isinstance(node, File):
                    if node not in chosen:
                        chosen[node] = node.after_a_cut(data, chance)
                    found[below] = chosen[node]
                elif node is not None:
                    found[below] = None
                    look(node, below)

        look(self._top, self._root)
        return found

    def states(self, chance: random.Random, odd: int) -> Iterator[Tree]:
        """The extreme states, and `odd` more by chance. The last one of the extremes comes also where nothing waits."""
        for names, data in EXTREMES:
            yield self.after_a_cut(names, data, chance)
        for _ in range(odd):
            yield self.after_a_cut(*chance.choice(ODDS), chance)

    def _folder(self, path: str) -> Folder:
        if path == self._root:
            return self._top
        folder, name = self._folder_of(path)
        found = folder.now(name)
        assert isinstance(found, Folder), path
        return found

    def _folder_of(self, path: str) -> tuple[Folder, str]:
        parent, name = os.path.split(path)
        assert parent.startswith(self._root), f"{path} is not below {self._root}"
        return self._folder(parent), name
