"""INPUTs to the planned list: which files are images, and under which name each comes out.

Folders are walked in the order of their names. Hidden entries and the output folder are skipped, links to files are
followed, links to folders are not (so there are no loops). Files named one by one are taken whatever their name.
"""

import errno
import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from batchgray import errors, texts
from batchgray.options import SUFFIXES, Format
from batchgray.records import InputVersion
from batchgray.storage.guards import without_dots
from batchgray.storage.names import kind_of

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | {".png", ".apng", ".tif", ".tiff", ".webp", ".bmp", ".dib", ".gif", ".avif"}

LINKED_FOLDERS = "links to folders"
HIDDEN = "hidden"
LEFT_OUT = "left out by --include or --exclude"

_TOO_LONG = "is longer than the system can open; move it nearer to the top"


class Found(NamedTuple):
    """A discovered input: `source` below the folder `root`, to come out as `mirrored` below the output folder.

    `refused` is why it can't even be planned, else None. One that is not `seen` has a name, and no stat works on
    it: size and time are 0.
    """

    root: str
    source: str
    mirrored: str
    size: int
    mtime_ns: int
    refused: str | None = None
    seen: bool = True

    @property
    def version(self) -> InputVersion:
        return InputVersion(self.size, self.mtime_ns)


class TakenName(NamedTuple):
    """An output name that belongs to an input, of this full path, which this run did not find."""

    path: str
    output: str


class Discovery:
    """Walks INPUTs. `ignored` counts what was not taken, by file type; `passed_over` what was not examined, and why.

    `links` are the paths of links among the found.

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
        self.passed_over: Counter[str] = Counter()
        self.links: list[str] = []
        self._include, self._exclude = include, exclude
        self._pause = pause
        self._out_path, self._out = out, _file_id(out)
        self._named: set[str] = set()  # files named one by one, and not found in a folder yet

    def find(self, inputs: Sequence[Path]) -> Iterator[Found]:
        """Everything under the INPUTs, each input once. Raises NoSuchInput before anything is walked."""
        for path in inputs:
            self._pause()
            if not os.path.lexists(path):
                raise errors.NoSuchInput(path)
        inputs = list(dict.fromkeys(map(without_dots, inputs)))
        folders = [path for path in inputs if os.path.isdir(path)]
        walked = set(folders)
        folders = [path for path in folders if walked.isdisjoint(path.parents)]  # walked anyway
        if any(_file_id(folder) == self._out for folder in folders if self._out):
            raise errors.OutputIsInput(self._out_path)
        self._named = {str(path) for path in inputs if path not in walked}
        for path in folders:
            yield from self._walk(str(path), f"{path.name or 'root'}/" if len(folders) > 1 else "")
        for path in inputs:
            if str(path) in self._named:  # not in one of the folders
                yield self._found(str(path.parent), path.name, path.name, path.stat, path.is_symlink())

    def _walk(self, root: str, prefix: str) -> Iterator[Found]:
        """All below a folder. Not by recursion: a tree may be deeper than any stack."""
        waiting = [self._entries(root, "")]
        while waiting:
            for source, entry in waiting[-1]:
                if isinstance(entry, Found):
                    yield entry
                elif entry.is_dir(follow_symlinks=False):
                    if self._out is None or _file_id(entry.path) != self._out:
                        waiting.append(self._entries(root, source))
                        break
                elif self._wanted(entry, source):
                    self._named.discard(entry.path)
                    yield self._found(root, source, prefix + source, entry.stat, entry.is_symlink())
            else:
                waiting.pop()

    def _entries(self, root: str, folder: str) -> Iterator[tuple[str, os.DirEntry[str] | Found]]:
        """What a folder holds, with its name below `root`; instead of what can't be read one that is refused."""
        self._pause()
        try:
            with os.scandir(os.path.join(root, folder)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            name = f"{folder or '.'}/"
            yield name, Found(root, name, "", 0, 0, _why_unreadable(error))
            return
        for entry in entries:
            source = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                self.passed_over[HIDDEN] += 1
            elif matches(source, entry.name, self._exclude):
                self.passed_over[LEFT_OUT] += 1
            else:
                yield source, entry

    def _wanted(self, entry: os.DirEntry[str], source: str) -> bool:
        suffix = kind_of(entry.name)
        if suffix not in IMAGE_SUFFIXES:
            self.ignored[LINKED_FOLDERS if _leads_to_folder(entry) else suffix or "no suffix"] += 1
            return False
        if _leads_to_folder(entry):
            self.ignored[LINKED_FOLDERS] += 1
            return False
        if self._include and not matches(source, entry.name, self._include):
            self.passed_over[LEFT_OUT] += 1
            return False
        return True

    def _found(
        self, root: str, source: str, mirrored: str, examine: Callable[[], os.stat_result], is_link: bool
    ) -> Found:
        self._pause()
        try:
            found = examine()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return Found(root, source, "", 0, 0, f"its path {_TOO_LONG}")
            return Found(root, source, mirrored, 0, 0, seen=False)  # opening it will say why
        if is_link:  # one that the system follows: what it does not follow may be a chain of any length
            self.links.append(os.path.join(root, source))
        if not stat.S_ISREG(found.st_mode):
            return Found(root, source, mirrored, 0, 0)
        version = InputVersion.of(found)
        return Found(root, source, mirrored, version.size, version.mtime_ns)


def short_output(item: Found, format: Format) -> str:
    """The output name of an input that shares it with no other: `a/b.jpg` for `a/b.png`."""
    return os.path.splitext(item.mirrored)[0] + SUFFIXES[format]


def assign_outputs(
    found: Sequence[Found],
    format: Format,
    before: Mapping[tuple[str, str], str] | None = None,
    taken: Sequence[TakenName] = (),
) -> list[str]:
    """An output name for each, "" for refused ones: `a/b.png` becomes `a/b.jpg`.

    Where two would share a name, those that are not JPEGs keep their full name. Raises Collisions for what collides
    even so. `before` has the names from earlier runs, by root and source; those that are `taken` are not to be had.
    """
    suffix = SUFFIXES[format]
    outputs = ["" if item.refused else short_output(item, format) for item in found]
    holders = {item.output: item.path for item in taken}
    shared = {name for name, count in Counter(outputs).items() if name and (count > 1 or name in holders)}
    for index, item in enumerate(found):
        if outputs[index] in shared and kind_of(item.mirrored) not in JPEG_SUFFIXES:
            outputs[index] = item.mirrored + suffix
    _keep_names(found, outputs, before or {}, holders)
    _refuse_taken(found, outputs, before or {}, taken, suffix)
    _refuse_collisions(found, outputs)
    return outputs


def _full_output(item: TakenName, suffix: str) -> str:
    """The name that a taken one would be as an input of this run, if it shared its own with another."""
    kind, stem = os.path.splitext(item.path)[1], item.output.removesuffix(suffix)
    is_full = kind.lower() in JPEG_SUFFIXES or stem.endswith(kind)
    return item.output if is_full else stem + kind + suffix


def _keep_names(
    found: Sequence[Found], outputs: list[str], before: Mapping[tuple[str, str], str], holders: Mapping[str, str]
) -> None:
    """An input keeps the name that it came out under before, unless another has the better claim to it now.

    One that does so gives up the name that it was to have, for another that may have had that before.
    """
    claims = Counter([*outputs, *holders])
    leaving = [
        (index, name)
        for index, item in enumerate(found)
        if not item.refused and (name := before.get((item.root, item.source))) and name != outputs[index]
    ]
    while free := [(index, name) for index, name in leaving if not claims[name]]:
        for index, name in free:
            claims[outputs[index]] -= 1
            claims[name] += 1
            outputs[index] = name
        leaving = [(index, name) for index, name in leaving if outputs[index] != name]


def _refuse_taken(
    found: Sequence[Found],
    outputs: Sequence[str],
    before: Mapping[tuple[str, str], str],
    taken: Sequence[TakenName],
    suffix: str,
) -> None:
    """Inputs that collide with one of an earlier run, as they would within one run. Raises TakenNames."""
    holders = {item.output: item.path for item in taken}
    of_full_name = {_full_output(item, suffix): item.path for item in taken}
    pairs = []
    for item, output in zip(found, outputs, strict=True):
        holder = holders.get(output) or (of_full_name.get(output) if output == item.mirrored + suffix else None)
        if holder is not None and before.get((item.root, item.source)) != output:
            pairs.append(f"  {errors.shown(holder)} and {_path(item)} -> {errors.shown(output)}")
    raise_pairs(errors.TakenNames, pairs)


def _refuse_collisions(found: Sequence[Found], outputs: Sequence[str]) -> None:
    first: dict[str, Found] = {}
    pairs = []
    for item, output in zip(found, outputs, strict=True):
        if not output:
            continue
        other = first.setdefault(output, item)
        if other is not item:
            pairs.append(f"  {_path(other)} and {_path(item)} -> {errors.shown(output)}")
    folders: dict[str, Found] = {}
    for output, item in first.items():
        folder = output.rpartition("/")[0]
        while folder and folder not in folders:
            folders[folder] = item
            folder = folder.rpartition("/")[0]
    pairs += [
        f"  {_path(first[folder])} and {_path(inside)} -> {errors.shown(folder)}"
        for folder, inside in folders.items()
        if folder in first
    ]
    raise_pairs(errors.Collisions, pairs)


def raise_pairs(kind: type[errors.Collisions], pairs: Sequence[str]) -> None:
    """Refuse pairs of inputs, each a line; the first of them are shown. Raises `kind`, unless there is none."""
    if pairs:
        raise kind.of(texts.first_lines(pairs, " pairs"))


def _path(item: Found) -> str:
    return errors.shown(os.path.join(item.root, item.source))


def _why_unreadable(error: OSError) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return f"the folder's path {_TOO_LONG}"
    return f"the folder can't be read: {(error.strerror or str(error)).lower()}; run again when it can"


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def matches(path: str, name: str, globs: Sequence[str]) -> bool:
    """Whether one of the globs holds for an entry with this path below the INPUT, and this name."""
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
