"""What a manifest's images came to: names that can be told apart, reasons put together, commands that can be typed."""

import os
import shlex
import subprocess

import pytest
from manifests import planned

from batchgray.manifest import outcome
from batchgray.manifest.records import Image


def of_two_folders():
    """With one name in both."""
    manifest = planned("a.png", "b.png", "c.png", input_roots=["/in/x", "/in/y"])
    manifest.images[1].source, manifest.images[1].root = "a.png", 1
    manifest.images[2].root = 1
    return manifest


def names(naming, manifest):
    return [naming(manifest)(image) for image in manifest.images]


def test_of_one_input_folder_an_image_is_called_below_it():
    assert names(outcome.naming, planned("a/b.png", "c.jpg")) == ["a/b.png", "c.jpg"]
    assert names(outcome.unique_naming, planned("a/b.png", "c.jpg")) == ["a/b.png", "c.jpg"]


def test_of_several_input_folders_an_image_is_called_with_its_own():
    assert names(outcome.naming, of_two_folders()) == ["/in/x/a.png", "/in/y/a.png", "/in/y/c.png"]


def test_a_unique_name_is_in_full_only_where_another_image_has_the_same():
    assert names(outcome.unique_naming, of_two_folders()) == ["/in/x/a.png", "/in/y/a.png", "c.png"]


def test_reasons_that_differ_in_numbers_alone_are_one_and_the_commonest_is_first():
    manifest = planned(*(f"{number}.png" for number in range(7)))
    errors = ["truncated", *(f"needs {size},000 MB" for size in (1, 20, 300, 4)), None, None]
    for image, error in zip(manifest.images, errors, strict=True):
        image.state, image.error = ("failed", error) if error else ("done", "not told")
    found = outcome.reasons(manifest)
    assert [(reason.error, reason.count) for reason in found] == [("needs 1,000 MB", 4), ("truncated", 1)]
    assert found[0].sources == ["1.png", "2.png", "3.png"], "a few of them stand for all"


@pytest.mark.parametrize("name", [b"m.json", b"a b.json", b"it's.json", b"caf\xc3\xa9.json", b"b\xff\\'.json"])
def test_a_quoted_name_is_the_same_in_a_shell(name):
    command = ["bash", "-c", f"printf %s {outcome.quoted(os.fsdecode(name))}"]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == name


def test_the_command_to_go_on_names_the_manifest():
    assert shlex.split(outcome.resume_command("/out put/m.json")) == ["batchgray", "resume", "/out put/m.json"]


def image(state, source="a.png", size=1_000, made=None):
    return Image(root=0, source=source, output="a.jpg", state=state, size=size, mtime_ns=1, output_size=made)


def test_the_space_that_is_needed_goes_by_all_images_that_are_done_and_by_their_kinds():
    """An earlier run's too: one that is resumed on a full disk has made none itself."""
    done = [
        image("done", "a.jpg", made=500),
        image("done", "b.JPG", made=700),
        image("done", "c.png", size=4_000, made=400),
    ]
    waiting = [image("pending", "d.jpg"), image("partial", "e.png", size=2_000), image("pending", "f.gif", size=600)]
    others = [image("failed", "g.jpg"), image("gone", "h.jpg")]
    of_all = 600 * 1_600 // 6_000
    assert outcome.space_needed(done + waiting + others) == 600 + 200 + of_all


def test_where_none_is_done_outputs_are_taken_to_be_as_large_as_inputs():
    assert outcome.space_needed([image("pending"), image("partial", "b.jpg", 500)]) == 1_500
    assert outcome.space_needed([]) == 0


def test_the_figures_of_images():
    images = [image("done", made=10), image("done", size=5, made=1), image("pending"), image("gone")]
    images[0].width = images[0].height = 10
    found = outcome.figures(images)
    assert found.counts == {"done": 2, "pending": 1, "gone": 1}
    assert (found.pixels, found.source_bytes, found.output_bytes) == (100, 1_005, 11)
