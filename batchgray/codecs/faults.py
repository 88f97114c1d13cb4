"""What libraries raise and warn of a file, in words for a person."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from batchgray.errors import shown

_BRIEF = 250  # characters of what a library says


def joined(*notes: str | None) -> str | None:
    """Notes as one."""
    return "; ".join(filter(None, notes)) or None


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Python's warnings stay off the terminal; the first and the last that tell something of the file are kept."""
    kept: list[str] = []

    def keep(message: Warning | str, *_: object, **__: object) -> None:
        kept[1:] = [str(message)]

    with warnings.catch_warnings():
        warnings.simplefilter("always")  # any other filter remembers every text it has seen
        warnings.filterwarnings("ignore", message="Palette images with Transparency")
        warnings.showwarning = keep
        yield kept


def library_reason(error: BaseException) -> str:
    """What a library raised, in one line."""
    text = brief(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def brief(text: str) -> str:
    """What a library says, on one line, and not longer than anybody would read."""
    text = shown(" ".join(text[: 4 * _BRIEF].split()))
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}..."
