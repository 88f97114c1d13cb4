"""The plan: a manifest ready to be worked on, and what there is to do."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from batchgray.manifest.records import Image, ImageState, Manifest
from batchgray.records import InputVersion, LeftOutKind
from batchgray.storage.run_folder import FLIGHT_FOLDER

# Images of the manifest, each with what stands under its input's name now; None where nothing can be seen.
InputStats = list[tuple[Image, InputVersion | None]]


@dataclass
class Plan:
    """A manifest ready to be worked on. `todo` are indices into its images, in the order of the work.

    `new`, `changed` (the input is another than the one converted) and `missing` (the output is) say why there is
    work; `already_done` images need none. `newly_gone` are the names of inputs that are gone since the last run,
    `pruned` images that are no longer in the manifest, and whose outputs are to be removed. `new_outputs` are of images
    that no earlier run knew under these names: what one has in flight for such an output is another image's.
    """

    path: Path
    out: Path
    manifest: Manifest
    resumed: bool
    todo: list[int] = field(default_factory=list)
    already_done: int = 0
    new: int = 0
    changed: int = 0
    missing: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    left_out: list[LeftOutKind] = field(default_factory=list)
    newly_gone: list[str] = field(default_factory=list)
    pruned: list[Image] = field(default_factory=list)
    new_outputs: set[str] = field(default_factory=set)

    @property
    def flight(self) -> Path:
        """The folder of what is in flight, in the output folder's file system."""
        return self.out / FLIGHT_FOLDER / self.manifest.run_id

    def states(self) -> Counter[ImageState]:
        """How many images are in each state."""
        return Counter(image.state for image in self.manifest.images)

    def source_path(self, image: Image) -> str:
        return os.path.join(self.manifest.input_roots[image.root], image.source)
