"""Options: frozen, validated once when they are made, never parsed again further down."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args, get_origin

import msgspec

from batchgray import errors, machine, tiles

Method = Literal["bt601", "bt709", "luma"]
Format = Literal["jpeg", "png"]
Metadata = Literal["keep", "strip"]
AnyPath = str | os.PathLike[str]

MEMORY_SHARE = 0.6
MOST_PIXELS = 2**63 - 1


class Bounds(NamedTuple):
    """The least and the most that an option of a whole number takes; as a str, what it takes."""

    least: int
    most: int

    def hold(self, number: int) -> bool:
        """Whether a number is within them."""
        return self.least <= number <= self.most

    def __str__(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


QUALITY = Bounds(1, 100)
COMPRESSION = Bounds(0, 9)
TILE_ROWS = Bounds(1, 2**31 - 1)  # no format has more
WORKERS = Bounds(1, 2**22)  # Linux has no more processes
MAX_PIXELS = Bounds(1, MOST_PIXELS)
CHECKPOINT, GRACE = "seconds above 0", "seconds from 0 on"
# Those that HTML has had from the beginning.
COLOURS = {
    **{"black": "#000000", "silver": "#c0c0c0", "gray": "#808080", "white": "#ffffff", "maroon": "#800000"},
    **{"red": "#ff0000", "purple": "#800080", "fuchsia": "#ff00ff", "green": "#008000", "lime": "#00ff00"},
    **{"olive": "#808000", "yellow": "#ffff00", "navy": "#000080", "blue": "#0000ff", "teal": "#008080"},
    "aqua": "#00ffff",
}
SUFFIXES: dict[Format, str] = {"jpeg": ".jpg", "png": ".png"}


def parse_size(text: str) -> int:
    """Bytes from `800M`, `2GiB` or `1000000`; the units are powers of 1024. Raises BadSize."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if not match:
        raise errors.BadSize(text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


def parse_background(text: str) -> str:
    """`none`, or `#rrggbb` from that, from `#rgb`, or from one of COLOURS' names. Raises UsageError."""
    given = text.strip().lower()
    colour = COLOURS.get(given, given)
    if re.fullmatch(r"#[0-9a-f]{3}", colour):
        colour = "#" + "".join(2 * digit for digit in colour[1:])
    if colour != "none" and not re.fullmatch(r"#[0-9a-f]{6}", colour):
        takes = "none, a colour such as '#ffffff' (in quotes), or a name such as white"
        raise errors.BadValue("--background", takes, text or "''")
    return colour


def _check_types(options: msgspec.Struct) -> None:
    """Hold each field against its type, and make a tuple of a list. Raises TypeError, UsageError."""
    for field in msgspec.structs.fields(options):
        given = getattr(options, field.name)
        if isinstance(field.type, type(msgspec.Struct)) and not isinstance(given, field.type):
            raise TypeError(
                f"{type(options).__name__}.{field.name}: Expected `{field.type.__name__}`, got `{type(given).__name__}`"
            )
        try:
            value = msgspec.convert(given, field.type)
        except msgspec.ValidationError as error:
            if get_origin(field.type) is Literal and isinstance(given, str):
                choices = errors.alternatives(get_args(field.type))
                raise errors.BadValue(f"--{field.name}", choices, given or "''") from None
            raise TypeError(f"{type(options).__name__}.{field.name}: {error}") from None
        msgspec.structs.force_setattr(options, field.name, value)


def _check_bounds(option: str, bounds: Bounds, given: int) -> None:
    """Raises BadValue."""
    if not bounds.hold(given):
        raise errors.BadValue(option, str(bounds), given)


def _make_path(options: msgspec.Struct, name: str) -> None:
    """A Path of what the field was given. Raises TypeError."""
    msgspec.structs.force_setattr(options, name, _path(options, name, getattr(options, name)))


def _make_paths(options: msgspec.Struct, name: str) -> None:
    """A tuple of Paths, whether the field was given one or some. Raises TypeError."""
    given = getattr(options, name)
    some = isinstance(given, Iterable) and not isinstance(given, str | bytes | os.PathLike)
    paths = tuple(_path(options, name, path) for path in (given if some else (given,)))
    msgspec.structs.force_setattr(options, name, paths)


def _path(options: msgspec.Struct, name: str, given: object) -> Path:
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str):
        raise TypeError(f"{type(options).__name__}.{name} takes str or os.PathLike, not {given!r}")
    return Path(text)


class PixelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the bytes of an output. Fixed in the manifest for the life of a run.

    `background` is what transparent pixels are composited over: `#rrggbb`, `#rgb` or a name of HTML's first 16; it is
    held as `#rrggbb`. With `none` the colour under transparency counts. `quality` is a JPEG's, `compression` a PNG's
    effort, from 0 to 9: the pixels are the same.
    """

    method: Method = "bt601"
    format: Format = "jpeg"
    quality: int = 75
    tile_rows: int | None = None
    metadata: Metadata = "keep"
    background: str = "none"
    compression: int = 2

    def __post_init__(self) -> None:
        _check_types(self)
        msgspec.structs.force_setattr(self, "background", parse_background(self.background))
        _check_bounds("--quality", QUALITY, self.quality)
        _check_bounds("--compression", COMPRESSION, self.compression)
        if self.tile_rows is not None:
            _check_bounds("--tile-rows", TILE_ROWS, self.tile_rows)

    def rows_for(self, width: int) -> int:
        """Rows in a tile of an image `width` pixels wide."""
        return tiles.auto_rows(width) if self.tile_rows is None else tiles.rounded_rows(self.tile_rows)


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the work is done: none of this changes a byte of any output. Times in seconds, memory in bytes.

    `locked` says whether the manifest must be locked also where its file system refuses that. With `times` outputs get
    the modification times of their inputs; a run that had it keeps to it when it is resumed.
    """

    workers: int = msgspec.field(default_factory=machine.usable_cores)
    memory: int = msgspec.field(default_factory=lambda: int(machine.available_memory() * MEMORY_SHARE))
    checkpoint: float = 5.0
    grace: float = 30.0
    locked: bool = True
    times: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        _check_bounds("--workers", WORKERS, self.workers)
        if self.memory < 0:
            raise errors.BadValue("--memory", "a number of bytes from 0 on", self.memory)
        if not 0 < self.checkpoint < math.inf:
            raise errors.BadValue("--checkpoint", CHECKPOINT, f"{self.checkpoint:g}")
        if not 0 <= self.grace < math.inf:
            raise errors.BadValue("--grace", GRACE, f"{self.grace:g}")


class FleetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a machine shares a job with others. With `join` it takes what nobody holds; without, nobody may work on it.

    `shard` is (I, N): every N-th share from the I-th on and no other, both counted from 1.
    """

    join: bool = False
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check_types(self)
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise errors.BadValue("--shard", "I/N with I from 1 to N", "{}/{}".format(*self.shard))

    @property
    def joins(self) -> bool:
        """Whether others may work on the job, too."""
        return self.join or self.shard is not None


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One `batchgray run`: what goes in, where it comes out, and how.

    Paths may be str or any os.PathLike; they are held as Path, relative ones against the working folder of the moment
    in which the run begins. `inputs` takes one or some, folders and files. The manifest is OUT/manifest.json if none is
    given. Inputs below `base` keep their path below it, however they were named; all must be below it. `include` and
    `exclude` are globs; one with a slash is held against the path below the INPUT, one without against the name. With
    `follow_links` links to folders are walked too. An image of more than `max_pixels` fails before it is decoded. With
    `overwrite` the run starts afresh, and replaces outputs that are there; without, it goes on where an earlier one on
    the same manifest stopped. With `prune` the outputs of inputs that are gone are removed, if they are as they were
    made.

    Raises TypeError, naming the field, and UsageError, naming the command's option.
    """

    inputs: tuple[Path, ...]
    out: Path
    base: Path | None = None
    manifest: Path | None = None
    pixels: PixelOptions = PixelOptions()
    engine: EngineOptions = msgspec.field(default_factory=EngineOptions)
    max_pixels: int = 1_000_000_000
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    overwrite: bool = False
    prune: bool = False

    if TYPE_CHECKING:  # what may be given is more than what is held

        def __init__(
            self,
            *,
            inputs: AnyPath | Iterable[AnyPath],
            out: AnyPath,
            base: AnyPath | None = None,
            manifest: AnyPath | None = None,
            pixels: PixelOptions = ...,
            engine: EngineOptions = ...,
            max_pixels: int = ...,
            include: Sequence[str] = ...,
            exclude: Sequence[str] = ...,
            follow_links: bool = ...,
            overwrite: bool = ...,
            prune: bool = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        _make_paths(self, "inputs")
        _make_path(self, "out")
        for name in ("base", "manifest"):
            if getattr(self, name) is not None:
                _make_path(self, name)
        _check_types(self)
        if not self.inputs:
            raise errors.NothingNamed
        _check_bounds("--max-pixels", MAX_PIXELS, self.max_pixels)

    @property
    def manifest_path(self) -> Path:
        return self.manifest or self.out / "manifest.json"


class ResumeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One `batchgray resume`: what the manifest does not already say.

    `input_roots` are where the input folders are now, if they moved, in the order in which the manifest has them.
    `prune`, paths and errors are as with RunOptions.
    """

    manifest: Path
    engine: EngineOptions = msgspec.field(default_factory=EngineOptions)
    input_roots: tuple[Path, ...] = ()
    prune: bool = False

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            manifest: AnyPath,
            engine: EngineOptions = ...,
            input_roots: AnyPath | Iterable[AnyPath] = ...,
            prune: bool = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        _make_path(self, "manifest")
        _make_paths(self, "input_roots")
        _check_types(self)


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One `batchgray run` on a job: INPUTs and output place are folders or URLs, as they were given.

    With `overwrite` it is a new job, instead of one that may be there, and replaces outputs that are there. All else is
    as with RunOptions.
    """

    inputs: tuple[str, ...]
    out: str
    base: str | None = None
    pixels: PixelOptions = PixelOptions()
    engine: EngineOptions = msgspec.field(default_factory=EngineOptions)
    max_pixels: int = 1_000_000_000
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    overwrite: bool = False
    prune: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        if not self.inputs:
            raise errors.NothingNamed
