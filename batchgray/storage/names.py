"""Names relative to a folder, as strings: what stays inside it, what folders they need, what they promise. No I/O."""

import re
from collections.abc import Iterable

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL | re.IGNORECASE)


def is_inside(name: str) -> bool:
    """Whether a relative name stays below the folder that it is relative to, as far as the name alone can say."""
    return "\0" not in name and not name.startswith("/") and not (".." in name and ".." in name.split("/"))


def is_plain(name: str) -> bool:
    """Whether a relative name stays inside, and is the only way to write it: no part is empty, `.` or `..`."""
    framed = f"/{name}/"
    return not ("//" in framed or "/./" in framed or "/../" in framed or "\0" in framed)


def folders_of(names: Iterable[str]) -> set[str]:
    """Every folder that the names need, their parents included."""
    folders: set[str] = set()
    for folder in {name.rpartition("/")[0] for name in names}:
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def kind_of(name: str) -> str:
    """`.jpg`, `.png`: what kind of file a name promises."""
    stem, _, kind = name.rpartition("/")[2].rpartition(".")
    return f".{kind}".lower() if stem.strip(".") else ""


def split_url(name: str) -> tuple[str, str] | None:
    """The scheme of a URL, in lower case, and what follows `://`; None for a path.

    Schemes that nobody knows are URLs too: a typing error is no folder.
    """
    match = _URL.fullmatch(name)
    return (match[1].lower(), match[2]) if match else None


def is_url(name: str) -> bool:
    """Whether a name is a URL and no path."""
    return split_url(name) is not None
