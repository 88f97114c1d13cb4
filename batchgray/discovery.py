"""INPUTs to the planned list: which files are images, and under which name each comes out.

Folders are walked in the order of their names. Hidden entries and the output folder are skipped, links to files are
followed, links to folders are not (so there are no loops). Files named one by one are taken whatever their name.
"""

import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from batchgray import errors
from batchgray.messages import SourceIdentity
from batchgray.names import folders_of
from batchgray.options import SUFFIXES, Format

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | {".png", ".apng", ".tif", ".tiff", ".webp", ".bmp", ".dib", ".gif", ".avif"}

LINKED_FOLDERS = "links to folders"


class Found(NamedTuple):
    """A discovered input: `source` below the folder `root`, to come out as `mirrored` below the output folder.

    `refused` is why it can't even be planned, else None; its names are then made safe to show, and may not be the
    real ones.
    """

    root: str
    source: str
    mirrored: str
    size: int
    mtime_ns: int
    refused: str | None = None


def check_there(inputs: Sequence[Path]) -> None:
    """Raises NoSuchInput."""
    for path in inputs:
        if not os.path.lexists(path):
            raise errors.NoSuchInput(path)


class Discovery:
    """Walks INPUTs. `ignored` counts what was not taken, by file type.

    `pause` is called now and then, and may raise.
    """

    def __init__(
        self,
        out: Path,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.ignored: Counter[str] = Counter()
        self._include, self._exclude = include, exclude
        self._pause = pause
        self._out_path, self._out = out, _file_id(out)
        self._named: set[str] = set()  # files named one by one, and not found in a folder yet

    def find(self, inputs: Sequence[Path]) -> Iterator[Found]:
        """Everything under the INPUTs, each input once. Raises NoSuchInput before anything is walked."""
        check_there(inputs)
        inputs = list(dict.fromkeys(Path(os.path.abspath(path)) for path in inputs))
        folders = [path for path in inputs if path.is_dir()]
        folders = [path for path in folders if not any(other in path.parents for other in folders)]  # walked anyway
        if any(_file_id(folder) == self._out for folder in folders if self._out):
            raise errors.OutputIsInput(self._out_path)
        self._named = {str(path) for path in inputs if not path.is_dir()}
        for path in folders:
            yield from self._walk(str(path), "", f"{path.name or 'root'}/" if len(folders) > 1 else "")
        for path in inputs:
            if str(path) in self._named:  # not in one of the folders
                yield self._found(str(path.parent), path.name, path.name, path.stat)

    def _walk(self, root: str, folder: str, prefix: str) -> Iterator[Found]:
        self._pause()
        try:
            with os.scandir(os.path.join(root, folder)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            name = f"{folder or '.'}/"
            yield _refuse(
                root, name, f"the folder can't be read: {(error.strerror or str(error)).lower()}; run again when it can"
            )
            return
        for entry in entries:
            source = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or _matches(source, entry.name, self._exclude):
                continue
            if entry.is_dir(follow_symlinks=False):
                if _file_id(entry.path) != self._out:
                    yield from self._walk(root, source, prefix)
            elif self._wanted(entry, source):
                self._named.discard(entry.path)
                yield self._found(root, source, prefix + source, entry.stat)

    def _wanted(self, entry: os.DirEntry[str], source: str) -> bool:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix not in IMAGE_SUFFIXES:
            self.ignored[LINKED_FOLDERS if _leads_to_folder(entry) else suffix or "no suffix"] += 1
            return False
        if _leads_to_folder(entry):
            self.ignored[LINKED_FOLDERS] += 1
            return False
        return not self._include or _matches(source, entry.name, self._include)

    def _found(self, root: str, source: str, mirrored: str, look: Callable[[], os.stat_result]) -> Found:
        try:
            os.path.join(root, source).encode()
        except UnicodeEncodeError:
            return _refuse(root, source, "its name is not UTF-8; rename it, or its folder")
        try:
            found = look()
        except OSError:
            return Found(root, source, mirrored, 0, 0)  # opening it will say why
        if not stat.S_ISREG(found.st_mode):
            return Found(root, source, mirrored, 0, 0)
        identity = SourceIdentity(found.st_size, found.st_mtime_ns)
        return Found(root, source, mirrored, identity.size, identity.mtime_ns)


def assign_outputs(
    found: Sequence[Found], format: Format, before: Mapping[tuple[str, str], str] | None = None
) -> list[str]:
    """An output name for each, "" for refused ones: `a/b.png` becomes `a/b.jpg`.

    Where two would share a name, those that are not JPEGs keep their full name. Raises Collisions for what collides
    even so. `before` has the names from earlier runs, by root and source.
    """
    suffix = SUFFIXES[format]
    outputs = ["" if item.refused else os.path.splitext(item.mirrored)[0] + suffix for item in found]
    shared = {name for name, count in Counter(outputs).items() if name and count > 1}
    for index, item in enumerate(found):
        if outputs[index] in shared and os.path.splitext(item.mirrored)[1].lower() not in JPEG_SUFFIXES:
            outputs[index] = item.mirrored + suffix
    _keep_names(found, outputs, before or {})
    _refuse_collisions(found, outputs)
    return outputs


def _keep_names(found: Sequence[Found], outputs: list[str], before: Mapping[tuple[str, str], str]) -> None:
    """An input keeps the name that it came out under before, unless another has the better claim to it now."""
    claimed = set(outputs)
    for index, item in enumerate(found):
        name = before.get((item.root, item.source))
        if name and not item.refused and name != outputs[index] and name not in claimed:
            outputs[index] = name
            claimed.add(name)


def _refuse_collisions(found: Sequence[Found], outputs: Sequence[str]) -> None:
    first: dict[str, Found] = {}
    pairs = []
    for item, output in zip(found, outputs, strict=True):
        if not output:
            continue
        other = first.setdefault(output, item)
        if other is not item:
            pairs.append(f"  {_path(other)} and {_path(item)} -> {errors.shown(output)}")
    for folder in folders_of(first):
        if folder in first:
            inside = next(item for output, item in first.items() if output.startswith(f"{folder}/"))
            pairs.append(f"  {_path(first[folder])} and {_path(inside)} -> {errors.shown(folder)}")
    if pairs:
        more = [f"  and {len(pairs) - 20} more pairs"] if len(pairs) > 20 else []
        raise errors.Collisions.of(pairs[:20] + more)


def _path(item: Found) -> str:
    return errors.shown(os.path.join(item.root, item.source))


def _refuse(root: str, name: str, reason: str) -> Found:
    try:
        root.encode()
    except UnicodeEncodeError:
        root = errors.shown(root)
    return Found(root, errors.shown(name), "", 0, 0, reason)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where we may not look
        return False


def _matches(path: str, name: str, globs: Sequence[str]) -> bool:
    return any(_match(path, name, glob) for glob in globs)


def _match(path: str, name: str, glob: str) -> bool:
    """`/x` and `x/y` are held against the path, `x` and `x/` against the name; `**/` may be no folder at all."""
    bare = glob.strip("/")
    if "/" not in glob.rstrip("/"):
        return fnmatch.fnmatchcase(name, bare)
    return fnmatch.fnmatchcase(path, bare) or (bare.startswith("**/") and fnmatch.fnmatchcase(path, bare[3:]))


def _file_id(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
