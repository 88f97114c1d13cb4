"""INPUTs to the planned list: which files are images, and under which name each comes out.

Folders are walked in the order of their names. Hidden entries and the output folder are skipped, links to files are
followed, links to folders only where that is asked for. Files named one by one are taken whatever their name.
"""

import errno
import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchgray import errors, texts
from batchgray.extras import HEIF_SUFFIXES, is_installed
from batchgray.options import SUFFIXES, Format
from batchgray.planning.base_folder import path_below
from batchgray.planning.left_out import FILTERED, HIDDEN, NO_SUFFIX, LeftOut
from batchgray.records import LINKED_FOLDERS, InputVersion
from batchgray.storage.guards import without_dots
from batchgray.storage.links import Ways, file_id
from batchgray.storage.names import kind_of

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | {
    *(".png", ".apng", ".tif", ".tiff", ".webp", ".bmp", ".dib", ".gif", ".avif"),
    *(".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".pbm", ".pgm", ".ppm", ".pnm"),
}

_TOO_LONG = "is longer than the system can open; move it nearer to the top"


class Found(msgspec.Struct, frozen=True, gc=False):
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
    """Walks INPUTs. `left_out` has what was not taken, `folders` is how many folders were walked.

    `links` are the paths of links among the found, and of what was found through links.

    `pause` is called now and then, and may raise. All INPUTs are below `base`, if one is given (see `base_folder`).
    """

    def __init__(
        self,
        out: Path,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        pause: Callable[[], None] = lambda: None,
        base: Path | None = None,
        follow_links: bool = False,
        tell: Callable[[str, str], None] = lambda path, kind: None,
    ) -> None:
        self.left_out = LeftOut(tell)
        self.folders = 0
        self.links: list[str] = []
        self._include, self._exclude = include, exclude
        self._pause = pause
        self._suffixes = image_suffixes()
        self._base = None if base is None else str(base)
        self._follow = follow_links
        self._out_path, self._out = out, file_id(out)
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
        folders = [path for path in folders if walked.isdisjoint(path.parents)]
        if any(file_id(folder) == self._out for folder in folders if self._out):
            raise errors.OutputIsInput(self._out_path)
        self._named = {str(path) for path in inputs} - {str(path) for path in folders}
        prefixes = {str(path): self._prefix(path, len(folders) == 1) for path in folders}
        for root, prefix in prefixes.items():
            yield from self._walk(root, prefix)
        for path in sorted(walked.difference(folders)):
            if str(path) in self._named and file_id(path) != self._out:  # as it is hidden, a link, or left out there
                above = next(str(folder) for folder in path.parents if str(folder) in prefixes)
                yield from self._walk(str(path), f"{prefixes[above]}{path_below(above, str(path))}/")
        for path in inputs:
            if str(path) in self._named and path not in walked:  # not in one of the folders
                root, source = self._split(path)
                yield self._found(root, source, source, path.stat, path.is_symlink())

    def _prefix(self, folder: Path, alone: bool) -> str:
        """What stands before the output names of all that is in an INPUT folder."""
        if self._base is not None:
            below = path_below(self._base, str(folder))
            return f"{below}/" if below else ""
        return "" if alone else f"{folder.name or 'root'}/"

    def _split(self, path: Path) -> tuple[str, str]:
        """Root and source of a file that was named: what it is mirrored by is its source."""
        root = str(path.parent) if self._base is None else self._base
        return root, path_below(root, str(path)) or path.name

    def _walk(self, root: str, prefix: str) -> Iterator[Found]:
        """All below a folder. Not by recursion: a tree may be deeper than any stack."""
        ways = Ways(root) if self._follow else None
        waiting = [(self._entries(root, ""), False)]
        while waiting:
            entries, linked = waiting[-1]
            for source, entry in entries:
                if isinstance(entry, Found):
                    yield entry
                elif entry.is_dir(follow_symlinks=False) or (self._follow and _is_link_to_folder(entry)):
                    if self._enters(entry, ways):
                        waiting.append((self._entries(root, source), linked or entry.is_symlink()))
                        break
                elif self._wanted(entry, source):
                    self._named.discard(entry.path)
                    yield self._found(root, source, prefix + source, entry.stat, linked or entry.is_symlink())
            else:
                waiting.pop()
                if ways is not None:
                    ways.leave()

    def _enters(self, folder: os.DirEntry[str], ways: Ways | None) -> bool:
        if self._out is not None and file_id(folder.path) == self._out:
            return False
        refused = None if ways is None else ways.enter(folder.path, folder.is_symlink())
        if refused is not None:
            self.left_out.ignore(folder.path, refused)
            return False
        self._named.discard(folder.path)
        return True

    def _entries(self, root: str, folder: str) -> Iterator[tuple[str, os.DirEntry[str] | Found]]:
        """What a folder holds, with its name below `root`; instead of what can't be read one that is refused."""
        self._pause()
        self.folders += 1
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
                self._pass_over(entry, HIDDEN)
            elif matches(source, entry.name, self._exclude):
                self._pass_over(entry, FILTERED)
            else:
                yield source, entry

    def _ignore(self, entry: os.DirEntry[str], kind: str) -> None:
        if entry.path not in self._named:  # else it is taken in its turn
            self.left_out.ignore(entry.path, kind)

    def _pass_over(self, entry: os.DirEntry[str], reason: str) -> None:
        if entry.path not in self._named:
            self.left_out.pass_over(entry.path, reason)

    def _wanted(self, entry: os.DirEntry[str], source: str) -> bool:
        suffix = kind_of(entry.name)
        if _is_link_to_folder(entry):
            self._ignore(entry, LINKED_FOLDERS)
            return False
        if suffix not in self._suffixes:
            self._ignore(entry, suffix or NO_SUFFIX)
            return False
        if self._include and not matches(source, entry.name, self._include):
            self._pass_over(entry, FILTERED)
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


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def image_suffixes() -> frozenset[str]:
    """What the names of images end with, with the extras that are installed."""
    return IMAGE_SUFFIXES | (HEIF_SUFFIXES if is_installed("heif") else frozenset())


def matches(path: str, name: str, globs: Sequence[str]) -> bool:
    """Whether one of the globs holds for an entry with this path below the INPUT, and this name."""
    return bool(globs) and any(_match(path, name, glob) for glob in globs)


def _match(path: str, name: str, glob: str) -> bool:
    """`/x` and `x/y` are held against the path, `x` and `x/` against the name; `**/` may be no folder at all."""
    bare = glob.strip("/")
    if "/" not in glob.rstrip("/"):
        return fnmatch.fnmatchcase(name, bare)
    return fnmatch.fnmatchcase(path, bare) or (bare.startswith("**/") and fnmatch.fnmatchcase(path, bare[3:]))
