"""Which of the keys that a place lists are images to convert: by the rules that hold for folders (see `discovery`)."""

from collections.abc import Callable, Sequence

from batchgray.planning.discovery import image_suffixes, matches
from batchgray.planning.left_out import FILTERED, HIDDEN, NO_SUFFIX
from batchgray.storage.names import kind_of


def choosing(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], str | None]:
    """Says of a key why it is not taken, in a word or two; None where it is an image to convert."""

    suffixes = image_suffixes()

    def kind_of_unwanted(key: str) -> str | None:
        if key.startswith(".") or "/." in key:
            return HIDDEN
        parts = key.split("/")
        if exclude and any(matches("/".join(parts[: depth + 1]), part, exclude) for depth, part in enumerate(parts)):
            return FILTERED
        suffix = kind_of(key)
        if suffix not in suffixes:
            return suffix or NO_SUFFIX
        return None if not include or matches(key, parts[-1], include) else FILTERED

    return kind_of_unwanted
