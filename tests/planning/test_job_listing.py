"""What is listed of a job's INPUTs: nothing of the job's own, and of single files no more than these."""

import os
from pathlib import Path

import pytest

from batchgray.manifest.job_head import JobInput
from batchgray.planning.job_listing import listed
from batchgray.planning.shares import Planner
from batchgray.planning.wanted import choosing
from batchgray.storage.folder import FolderPlace
from batchgray.storage.memory import MemoryPlace

TREE = JobInput("memory://photos", "", [])


class Counted(MemoryPlace):
    """Counts what it gave."""

    given = 0

    def list(self, prefix="", after=""):
        for entry in super().list(prefix, after):
            self.given += 1
            yield entry


def test_single_files_are_listed_and_planned_as_they_are_named():
    place = MemoryPlace("oss://b/x")
    for key in ("a.jpg", "b.txt", "c", "d.png"):
        place.put(key, b"1")
    inputs = listed([JobInput("oss://b/x", "y/", ["b.txt", "c", "d.png", "gone.jpg"])], [place], "oss://b")
    plan = Planner(MemoryPlace(), "job/1", inputs, "jpeg", choosing((), ()))
    (share,) = plan.plan()
    assert [(image.source, image.output) for image in share.images] == [
        ("b.txt", "y/b.jpg"),
        ("c", "y/c.jpg"),
        ("d.png", "y/d.jpg"),
    ]
    assert inputs[0].place.get("c") == b"1"


def without(place, out="memory://photos/gray"):
    ((narrowed, *_),) = listed([TREE], [place], out)
    return lambda *arguments: [entry.key for entry in narrowed.list(*arguments)]


def test_what_is_below_the_output_place_is_passed_over_at_once():
    place = Counted("memory://photos")
    for key in ("a.jpg", "gray-2/b.jpg", "gray.jpg", "gray0.jpg", "z.jpg", *(f"gray/{n:04}.jpg" for n in range(1000))):
        place.put(key, b"")
    keys = without(place)
    assert keys() == ["a.jpg", "gray-2/b.jpg", "gray.jpg", "gray0.jpg", "z.jpg"]
    assert place.given == 5 + 1
    assert keys("gray") == ["gray-2/b.jpg", "gray.jpg", "gray0.jpg"]
    assert keys("gray/0") == []
    assert keys("", "gray/0500.jpg") == keys("", "gray/") == ["gray0.jpg", "z.jpg"]
    assert keys("", "gray0.jpg") == ["z.jpg"]
    assert without(place, "memory://photos/z")() == [entry.key for entry in place.list()]


@pytest.mark.parametrize("depth", [1, 2])
def test_in_a_folder(tmp_path, depth):
    out = tmp_path / "/".join(["gray"] * depth)
    for name in (b"a.jpg", b"b.jpg", b"\xf5.jpg", b"sub/c.jpg"):  # one comes after all that is text
        for folder in (tmp_path, out):
            path = os.path.join(os.fsencode(folder), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(os.fsdecode(path)).touch()
    place = FolderPlace(tmp_path)
    ((narrowed, *_),) = listed([JobInput(str(tmp_path), "", [])], [place], str(out))
    assert [os.fsencode(entry.key) for entry in narrowed.list()] == [b"a.jpg", b"b.jpg", b"sub/c.jpg", b"\xf5.jpg"]
    place.close()
