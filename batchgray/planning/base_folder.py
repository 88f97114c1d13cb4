"""`--base`: inputs below one folder keep their path below it, whether a folder, a file or a list named them."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from batchgray import errors
from batchgray.options import RunOptions
from batchgray.storage.guards import without_dots


def below_base(options: RunOptions) -> RunOptions:
    """The options with base and INPUTs absolute, and each INPUT named by its way through the base.

    An INPUT that has another name, as through a link above, is the one that its folder really is; the last part of
    a name is never followed. Raises BaseNotFolder, NotBelowBase.
    """
    if options.base is None:
        return options
    if not os.path.isdir(options.base):
        raise errors.BaseNotFolder(options.base)
    base = without_dots(options.base)
    place = _placing(str(base))
    return msgspec.structs.replace(options, base=base, inputs=tuple(map(place, options.inputs)))


def path_below(base: str, path: str) -> str | None:
    """A path relative to `base`, both absolute and without dots: "" for the base itself, None for what is not below."""
    if path == base:
        return ""
    above = base if base.endswith("/") else f"{base}/"
    return path[len(above) :] if path.startswith(above) else None


def _placing(base: str) -> Callable[[Path], Path]:
    real = functools.cache(os.path.realpath)  # a list names many files of a folder

    def place(given: Path) -> Path:
        path = without_dots(given)
        if path_below(base, str(path)) is not None:
            return path
        for candidate in (os.path.join(real(str(path.parent)), path.name), real(str(path))):
            below = path_below(real(base), candidate)
            if below is not None:
                return Path(base, below)
        raise errors.NotBelowBase(given, base)

    return place
