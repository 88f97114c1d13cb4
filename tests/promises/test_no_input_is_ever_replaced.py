"""An input is never replaced, whatever name it goes by and whatever may be overwritten.

If this broke, a user's pictures would be gray for ever.
"""

import pytest
from harness import batchgray, save_gradient


@pytest.mark.parametrize("way", ["through a link to its folder", "by its own name", "with a folder as INPUT"])
def test_overwrite_replaces_no_input(tmp_path, way):
    """Nor one that is reached by another name than the output is written under."""
    picture = save_gradient(tmp_path / "real" / "x.jpg", 90, 70)
    before = picture.read_bytes()
    (tmp_path / "link").symlink_to("real")
    given = {
        "through a link to its folder": tmp_path / "link" / "x.jpg",
        "by its own name": picture,
        "with a folder as INPUT": tmp_path / "link",
    }[way]
    for _ in range(2):
        done = batchgray("run", given, "--out", tmp_path / "real", "--overwrite", expect=None)
        assert done.returncode in (2, 3)
        assert "Traceback" not in done.stderr
        assert picture.read_bytes() == before
