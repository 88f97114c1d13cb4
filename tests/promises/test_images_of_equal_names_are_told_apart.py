"""Two INPUT folders may hold the same names. What is said of one image never takes the place of what another has.

If this broke, a failure would be missing from the list that a person goes by.
"""

import json

from harness import batchgray, events_of, named, save_gradient
from PIL import Image


def save_pages(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, save_all=True, append_images=[Image.new("RGB", (8, 8))])


def summary_of(*arguments, expect):
    return named(events_of(batchgray(*arguments, "--progress", "json", expect=expect).stdout), "summary")[0]


def test_each_failure_and_each_note_is_in_the_summary(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        save_pages(folder / "pages.tif")
        (folder / "bad.jpg").write_bytes(b"")
    (second / "alone.jpg").write_bytes(b"")
    save_pages(first / "alone.tif")
    found = summary_of("run", first, second, "--out", tmp_path / "out", expect=3)
    assert found["failures"].keys() == {f"{first}/bad.jpg", f"{second}/bad.jpg", "alone.jpg"}
    assert found["notes"].keys() == {f"{first}/pages.tif", f"{second}/pages.tif", "alone.tif"}
    assert found["failed"] == len(found["failures"])
    failures = json.loads(batchgray("status", tmp_path / "out", "--json").stdout)["failures"]
    assert {failure["path"] for failure in failures} == found["failures"].keys() - {"alone.jpg"} | {
        f"{second}/alone.jpg"
    }


def test_a_name_is_as_short_with_several_folders_as_with_one_where_no_other_image_has_it(tmp_path):
    save_gradient(tmp_path / "first" / "a.png", 8, 8)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "b.png").write_bytes(b"")
    found = summary_of("run", tmp_path / "first", tmp_path / "second", "--out", tmp_path / "out", expect=3)
    assert found["failures"].keys() == {"b.png"}


def test_a_name_is_in_full_even_where_only_one_of_the_two_failed(tmp_path):
    save_gradient(tmp_path / "first" / "a.png", 8, 8)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "a.png").write_bytes(b"")
    found = summary_of("run", tmp_path / "first", tmp_path / "second", "--out", tmp_path / "out", expect=3)
    assert found["failures"].keys() == {f"{tmp_path}/second/a.png"}
