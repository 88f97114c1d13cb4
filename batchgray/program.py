"""How this program was called: the beginning of each command that it tells people to give."""

_DEFAULT = "batchgray"
_called = [_DEFAULT]


def was_called(name: str) -> None:
    """From here on commands begin so, ready for a shell: `python -m batchgray`."""
    _called[0] = name


def command(*words: str) -> str:
    """A command to give; its words are quoted already."""
    return " ".join([_called[0], *words])


def as_called(text: str) -> str:
    """A text with its commands, which stand in backquotes, as they have to be given."""
    return text.replace(f"`{_DEFAULT} ", f"`{_called[0]} ")
