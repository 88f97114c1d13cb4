"""What parsers and libraries raise and warn of a file, in words for a person."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from batchgray.errors import ImageError
from batchgray.texts import one_line


class ImageFailures:
    """Whatever the block raises of a file is that image's failure, an ImageError with the type and what was said.

    What says nothing of the file comes through: no memory, no library, and `others`. It has no state, and can be used
    again. (A `contextmanager` takes five times as long, twice an image.)
    """

    def __init__(self, *others: type[Exception]) -> None:
        self._coming_through: tuple[type[Exception], ...] = (ImageError, MemoryError, ImportError, *others)

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, self._coming_through):
            return
        if isinstance(error, OSError):
            raise ImageError(os_reason(error)) from error
        reason = library_reason(error)
        raise ImageError(f"can't be read ({reason}): it is damaged, or batchgray is wrong; please report it") from error


image_failures = ImageFailures()


class UnreadableMetadata(Exception):
    """Metadata that is damaged, or too long: it costs no image, and no output has it."""


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


def os_reason(error: OSError) -> str:
    """What the system, or a library in its name, says of a file."""
    return (error.strerror or str(error)).lower() if error.errno else library_reason(error)


def library_reason(error: BaseException) -> str:
    """What a library raised, in one line."""
    text = one_line(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
