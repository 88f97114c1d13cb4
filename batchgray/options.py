"""Options: frozen, validated once when they are made, never parsed again further down."""

import math
import re
from pathlib import Path
from typing import Literal

import msgspec

from batchgray import errors, machine, tiles

Method = Literal["bt601", "bt709", "luma"]
Format = Literal["jpeg", "png"]
Metadata = Literal["keep", "strip"]

MEMORY_SHARE = 0.6
MOST_PIXELS = 2**63 - 1
MOST_ROWS = 2**31 - 1  # no format has more
SUFFIXES: dict[Format, str] = {"jpeg": ".jpg", "png": ".png"}


def parse_size(text: str) -> int:
    """Bytes from `800M`, `2GiB` or `1000000`; the units are powers of 1024. Raises BadSize."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if not match:
        raise errors.BadSize(text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


class PixelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the bytes of an output. Fixed in the manifest for the life of a run."""

    method: Method = "bt601"
    format: Format = "jpeg"
    quality: int = 75
    tile_rows: int | None = None
    metadata: Metadata = "keep"

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise errors.UsageError("--quality takes a whole number from 1 to 100.")
        if self.tile_rows is not None and not 1 <= self.tile_rows <= MOST_ROWS:
            raise errors.UsageError(f"--tile-rows takes a whole number from 1 to {MOST_ROWS}.")

    def rows_for(self, width: int) -> int:
        """Rows in a tile of an image `width` pixels wide."""
        return tiles.auto_rows(width) if self.tile_rows is None else tiles.rounded_rows(self.tile_rows)


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the work is done: none of this changes a byte of any output. Times in seconds, memory in bytes.

    `locked` says whether the manifest must be locked also where its file system refuses that.
    """

    workers: int = msgspec.field(default_factory=machine.usable_cores)
    memory: int = msgspec.field(default_factory=lambda: int(machine.available_memory() * MEMORY_SHARE))
    checkpoint: float = 5.0
    grace: float = 30.0
    locked: bool = True

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise errors.UsageError("--workers takes a whole number from 1.")
        if not (0 < self.checkpoint < math.inf and 0 <= self.grace < math.inf):
            raise errors.UsageError("--checkpoint takes seconds above 0, and --grace seconds from 0.")


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One `batchgray run`: what goes in, where it comes out, and how.

    `include` and `exclude` are globs; one with a slash is held against the path below the INPUT, one without against
    the name.
    """

    inputs: tuple[Path, ...]
    out: Path
    manifest: Path | None = None
    pixels: PixelOptions = PixelOptions()
    engine: EngineOptions = msgspec.field(default_factory=EngineOptions)
    max_pixels: int = 1_000_000_000
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_pixels <= MOST_PIXELS:
            raise errors.UsageError(f"--max-pixels takes a whole number from 1 to {MOST_PIXELS}.")

    @property
    def manifest_path(self) -> Path:
        return self.manifest or self.out / "manifest.json"


class ResumeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One `batchgray resume`: what the manifest does not already say."""

    manifest: Path
    engine: EngineOptions = msgspec.field(default_factory=EngineOptions)
    input_roots: tuple[Path, ...] = ()
