"""A format that is read is tried, fuzzed and told of: what CONTRIBUTING.md asks of a new one is not forgotten."""

import importlib.util
import re
from pathlib import Path
from typing import get_args

import pytest
from PIL import features

from batchgray.codecs import signatures
from batchgray.errors import ImageError
from batchgray.extras import HEIF_SUFFIXES
from batchgray.planning.discovery import IMAGE_SUFFIXES

ROOT = Path(__file__).parents[2]
FORMATS = set(get_args(signatures.Format)) - (set() if features.check("avif") else {"AVIF"})
OUTLINES = sorted(path.stem for path in (ROOT / "batchgray" / "codecs").glob("*_outline.py"))


def module(path: str):
    """A file below tests/ as a module, which pytest may have under the same name."""
    spec = importlib.util.spec_from_file_location(f"read_{Path(path).stem}", ROOT / "tests" / path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def formats_of(files) -> set[str]:
    found = set()
    for data in files:
        try:
            found.add(signatures.format_of(data[: signatures.HEAD_BYTES]))
        except ImageError:  # as some of the hostile ones mean it
            continue
    return found


def test_the_pixels_of_every_format_are_compared():
    tried = module("codecs/test_formats.py")
    assert formats_of([*(data for data, _ in tried.EXACT.values()), *tried.AS_PILLOW_DECODES.values()]) == FORMATS


def test_of_every_format_there_is_a_hostile_file():
    tried = module("codecs/test_hostile_images.py")
    files = tried.FAILING | tried.SPARSE | tried.CONVERTING
    assert formats_of(data for data, _ in files.values()) >= FORMATS - {"DIB"}  # a BMP but for its first bytes


def test_every_format_is_probed_within_its_limits():
    tried = module("codecs/test_pillow_probes.py")
    assert formats_of([*tried.FILES.values(), *tried.OF_OTHERS.values()]) == FORMATS - {"JPEG"}


def test_every_format_is_fuzzed():
    """But for AVIF, of which no parser is ours, and libavif is fuzzed where it is made."""
    assert formats_of(module("fuzz/seeds.py").images()) >= FORMATS - {"AVIF"}


@pytest.mark.parametrize("name", OUTLINES)
def test_every_walk_over_a_files_structure_is_fuzzed(name):
    assert re.search(rf"\b{name}\.\w+\.walk,", (ROOT / "tests" / "fuzz" / "targets.py").read_text("utf-8"))


def documented() -> list[tuple[str, set[str]]]:
    """The formats that docs/images.md says are read: the name of each, and its suffixes."""
    table = (ROOT / "docs" / "images.md").read_text("utf-8").partition("| format | suffixes")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[2:]]
    return [(name.strip(), set(re.findall(r"`(\.\w+)`", suffixes))) for name, suffixes in rows]


def test_the_page_of_formats_has_every_suffix_that_folders_are_searched_for():
    suffixes = [suffix for _, some in documented() for suffix in some]
    assert len(suffixes) == len(set(suffixes))
    assert set(suffixes) == IMAGE_SUFFIXES | HEIF_SUFFIXES


@pytest.mark.parametrize("name", [name for name, _ in documented()])
def test_every_format_is_named_where_all_are(name):
    readme = (ROOT / "README.md").read_text("utf-8")
    (line,) = [line for line in readme.splitlines() if line.startswith("- JPEG, PNG, ") and " go in" in line]
    with pytest.raises(ImageError) as caught:
        signatures.format_of(b"none")
    for text in (line, str(caught.value)):
        assert any(word in text for word in name.split(", ")), text
