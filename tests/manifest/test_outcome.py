"""What a manifest's images came to: names that can be told apart, reasons put together, commands that can be typed."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from manifests import planned

from batchgray.manifest import outcome


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
    assert shlex.split(outcome.resume_command(Path("/out put/m.json"))) == ["batchgray", "resume", "/out put/m.json"]
