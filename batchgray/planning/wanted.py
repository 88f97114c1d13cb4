"""Which of the keys that a place lists are images to convert: by the rules that hold for folders (see `discovery`)."""

from collections.abc import Callable, Sequence

from batchgray.planning.discovery import HIDDEN, IMAGE_SUFFIXES, LEFT_OUT, matches
from batchgray.storage.names import kind_of


def choosing(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], str | None]:
    """Says of a key why it is not taken, in a word or two; None where it is an image to convert."""

    def kind_of_unwanted(key: str) -> str | None:
        parts = key.split("/")
        if any(part.startswith(".") for part in parts):
            return HIDDEN
        if any(matches("/".join(parts[: depth + 1]), part, exclude) for depth, part in enumerate(parts)):
            return LEFT_OUT
        suffix = kind_of(key)
        if suffix not in IMAGE_SUFFIXES:
            return suffix or "no suffix"
        return None if not include or matches(key, parts[-1], include) else LEFT_OUT

    return kind_of_unwanted
