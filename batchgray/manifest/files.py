"""The files of a manifest, and the names that they have beside each other."""

import os
from pathlib import Path
from typing import NamedTuple


class ManifestFiles(NamedTuple):
    """Where they lie. `temporary` is what the document is written to before it takes the old one's place."""

    document: Path
    journal: Path
    lock: Path
    temporary: Path


def files_of(manifest: Path) -> ManifestFiles:
    """The files of the manifest at this path, by their real paths: a link to a manifest is that manifest."""
    document = Path(os.path.realpath(manifest))
    return ManifestFiles(
        document,
        journal=document.with_name(f"{document.name}.journal"),
        lock=document.with_name(f"{document.name}.lock"),
        temporary=document.with_name(f".{document.name}.tmp"),
    )


def own_names(manifest: Path, output_folder: Path) -> set[str]:
    """The names of those that are below the output folder, relative to it."""
    folder = os.path.realpath(output_folder)
    return {str(path.relative_to(folder)) for path in files_of(manifest) if path.is_relative_to(folder)}
