"""Pictures for the commands."""

import pytest
from harness import save_gradient


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "sub/b.jpg", "sub/deep/c.webp"):
        save_gradient(tmp_path / "in" / name, 320, 240, exact=True)
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    return tmp_path / "in"
