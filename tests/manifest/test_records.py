"""A manifest makes sense, whichever program wrote it, or it is said why not."""

from pathlib import Path

import pytest
from manifests import planned

from batchgray.manifest.records import Image, ImageChange, find_fault

PATH = Path("/out/manifest.json")


def test_a_change_leaves_absent_fields_and_takes_back_the_error():
    image = Image(root=0, source="a", output="a", state="failed", size=1, mtime_ns=2, error="e", width=3, mend=True)
    ImageChange(image=0, state="partial", tiles_done=1).apply([image])
    assert (image.state, image.tiles_done, image.width, image.size) == ("partial", 1, 3, 1)
    assert (image.error, image.mend) == (None, True)  # until it is done, it may be replaced


def test_the_output_folder_moves_with_the_manifest(tmp_path):
    assert planned().output_folder(tmp_path / "m.json") == tmp_path
    assert planned(output_root="/out").output_folder(tmp_path / "m.json") == Path("/out")


@pytest.mark.parametrize("field", ["source", "output"])
@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "..", "/etc/passwd", "a\0.jpg"])
def test_a_name_that_leads_outside_is_refused(field, name):
    written = planned("a.jpg")
    setattr(written.images[0], field, name)
    assert "outside" in find_fault(written, PATH)


@pytest.mark.parametrize("root", [-1, 1])
def test_an_image_without_an_input_folder_is_refused(root):
    written = planned("a.jpg")
    written.images[0].root = root
    assert "input folder" in find_fault(written, PATH)
