"""Extras of the package: what each is for, and whether it is installed; told by names, with nothing imported."""

import importlib.util
from collections.abc import Iterable

# Of each extra the module that it brings, and what that is for.
EXTRAS = {
    "heif": ("pillow_heif", "HEIC and HEIF are read"),
    "oss": ("alibabacloud_oss_v2", "places of oss:// can be used"),
    "cloud": ("obstore", "places of s3://, gs:// and az:// can be used"),
    "large": ("pyvips", "images that do not fit into --memory are converted in bands"),
}
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})


def is_installed(extra: str) -> bool:
    return importlib.util.find_spec(EXTRAS[extra][0]) is not None


def remedy_for(kinds: Iterable[str]) -> str | None:
    """What to install for files of these suffixes, that were left out, to be read; None where nothing helps."""
    missing = sorted(HEIF_SUFFIXES.intersection(kinds))
    if not missing or is_installed("heif"):
        return None
    return f"install batchgray[heif], which reads {', '.join(missing)}"
