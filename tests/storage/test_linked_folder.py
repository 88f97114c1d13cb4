"""A folder in which links to folders are followed lists what they hold as if it were there, once, and to an end."""

import pytest

from batchgray.storage.base import BadKey, Missing
from batchgray.storage.linked_folder import LinkedFolder


@pytest.fixture
def folder(tmp_path):
    for name in ("in/a.jpg", "in/b/c.jpg", "in/b.jpg", "else/x.jpg", "else/deep/y.jpg", "in/gray/made.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    links = {"b/more": "../../else", "z": "../else/deep", "circle": ".", "nowhere": "none", "self": "self"}
    links |= {"file.jpg": "../else/x.jpg", "ours": "gray", "broken.jpg": "none"}
    for name, target in links.items():
        (tmp_path / "in" / name).symlink_to(target)
    place = LinkedFolder(tmp_path / "in", str(tmp_path / "in" / "gray"))
    yield place
    place.close()


def keys(place, *arguments):
    return [entry.key for entry in place.list(*arguments)]


WHOLE = ["a.jpg", "b.jpg", "b/c.jpg", "b/more/deep/y.jpg", "b/more/x.jpg", "file.jpg", "z/y.jpg"]


def test_all_is_listed_in_order_but_for_what_is_besides(folder):
    assert keys(folder) == WHOLE
    assert keys(folder, "b/") == ["b/c.jpg", "b/more/deep/y.jpg", "b/more/x.jpg"]
    for number, name in enumerate(WHOLE):
        assert keys(folder, "", name) == WHOLE[number + 1 :]


def test_what_is_listed_can_be_read(folder):
    for entry in folder.list():
        assert folder.stat(entry.key) == entry
        assert len(folder.get(entry.key, entry.version)) == entry.size
    assert folder.get("z/y.jpg") == b"else/deep/y.jpg"


@pytest.mark.parametrize(("key", "error"), [("z/none.jpg", Missing), ("z", Missing), ("../else/x.jpg", BadKey)])
def test_what_is_not_there(folder, key, error):
    with pytest.raises(error):
        folder.stat(key)
