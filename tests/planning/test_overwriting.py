"""What an overwriting job may replace: what is under its outputs' names by now, and nothing else."""

import pytest

from batchgray import errors
from batchgray.planning.overwriting import refuse_links_into, replacing_what_is_there
from batchgray.planning.planned import PlannedImage
from batchgray.storage.folder import FolderPlace
from batchgray.storage.memory import MemoryPlace

NAMES = "a.jpg", "b/x.jpg", "b.jpg", "z.jpg"


def permitted(place):
    images = [PlannedImage(name, name, 1, 1) for name in NAMES]
    return [each.output for each in replacing_what_is_there(place)(images) if each.replaces == "*"]


class Counted(MemoryPlace):
    given = 0

    def list(self, prefix="", after=""):
        for entry in super().list(prefix, after):
            self.given += 1
            yield entry


@pytest.mark.parametrize("there", [[], ["a.jpg"], ["b/x.jpg", "z.jpg"], ["b.jpg", "b.jpg.txt", "A"], list(NAMES)])
def test_in_a_store(there):
    place = MemoryPlace()
    for name in there:
        place.put(name, b"")
    assert permitted(place) == [name for name in NAMES if name in there]


def test_what_lies_between_is_not_listed_to_its_end():
    place = Counted()
    for number in range(10_000):
        place.put(f"c/{number}", b"")
    place.put("z.jpg", b"")
    assert permitted(place) == ["z.jpg"]
    assert place.given < 2000


def test_in_a_folder_a_link_is_something_too(tmp_path):
    (tmp_path / "a.jpg").symlink_to("nowhere")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.jpg").touch()
    place = FolderPlace(tmp_path)
    assert permitted(place) == ["a.jpg", "b/x.jpg"]
    place.close()


def test_what_an_input_is_a_link_to_is_no_output(tmp_path):
    out, images = tmp_path / "in" / "gray", tmp_path / "in"
    (images / "sub").mkdir(parents=True)
    out.mkdir()
    (out / "x.jpg").touch()
    (out / "ours.jpg").symlink_to("x.jpg")
    (images / "sub" / "elsewhere.jpg").symlink_to("../a.jpg")
    (images / "folder").symlink_to("gray")
    refuse_links_into(str(out), [str(images)])
    (images / "sub" / "y.png").symlink_to("../gray/x.jpg")
    with pytest.raises(errors.OutputIsSource, match=r"gray/x\.jpg"):
        refuse_links_into(str(out), [str(images)])
