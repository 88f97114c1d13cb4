"""verify reads every output that was made: also one whose input is gone, or that was marked to be made anew.

If this broke, the only copy of a picture would rot under a manifest that calls all well.
"""

import json

import pytest
from harness import batchgray, manifest_of, save_gradient, tree


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save_gradient(tmp_path / "in" / name, 90, 70, seed=ord(name[0]))
    return tmp_path / "in"


@pytest.fixture
def out(pictures, tmp_path):
    batchgray("run", pictures, "--out", tmp_path / "out", "--progress", "none")
    return tmp_path / "out"


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def verdict(out, *arguments, expect):
    found = json.loads(batchgray("verify", out, "--json", *arguments, expect=expect).stdout)
    return found["checked"], [(damage["output"], damage["gone"]) for damage in found["damaged"]], found["mended"]


def test_an_output_whose_input_is_gone(pictures, out, tmp_path):
    whole = tree(out)
    (pictures / "a.png").rename(tmp_path / "a.png")
    batchgray("run", pictures, "--out", out, "--progress", "none")
    assert verdict(out, expect=0) == (3, [], 0)
    damage(out / "a.jpg")
    assert verdict(out, expect=3) == (3, [("a.jpg", True)], 0)
    told = batchgray("verify", out, "--mend", expect=3).stdout
    assert "1 of them can be made anew only when their input is back" in told
    assert "resume" not in told
    assert manifest_of(out)["state"] == "complete"
    assert verdict(out, expect=3) == (3, [("a.jpg", True)], 0)
    (tmp_path / "a.png").rename(pictures / "a.png")
    batchgray("run", pictures, "--out", out, "--progress", "none")
    assert verdict(out, expect=0) == (3, [], 0)
    assert tree(out) == whole


def test_an_output_that_was_marked_to_be_made_anew(out):
    whole = tree(out)
    damage(out / "a.jpg")
    (out / "b.jpg").unlink()
    found = [("a.jpg", False), ("b.jpg", False)]
    assert verdict(out, "--mend", expect=3) == (3, found, 2)
    assert verdict(out, expect=3) == (3, found, 0)
    assert verdict(out, "--mend", expect=3) == (3, found, 2)
    batchgray("resume", out, "--progress", "none")
    assert verdict(out, expect=0) == (3, [], 0)
    assert tree(out) == whole


def test_an_earlier_output_of_an_input_that_became_unreadable(pictures, out):
    (pictures / "a.png").write_bytes(b"no picture")
    batchgray("run", pictures, "--out", out, "--progress", "none", expect=3)
    assert verdict(out, expect=0) == (3, [], 0)
    damage(out / "a.jpg")
    assert verdict(out, expect=3) == (3, [("a.jpg", False)], 0)


def test_an_input_that_went_before_anything_was_made_of_it(pictures, out, tmp_path):
    (pictures / "d.png").write_bytes(b"no picture")
    batchgray("run", pictures, "--out", out, "--progress", "none", expect=3)
    (pictures / "d.png").unlink()
    told = batchgray("run", pictures, "--out", out).stdout
    assert "1 gone" in told
    assert "its finished output" not in told
    assert verdict(out, expect=0) == (3, [], 0)
