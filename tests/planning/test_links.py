"""Links to folders are followed where that is asked for, and to an end."""

import os

import pytest

from batchgray import errors
from batchgray.options import RunOptions
from batchgray.planning.discovery import Discovery
from batchgray.planning.planner import plan_run


@pytest.fixture
def inside(tmp_path):
    for name in ("in/a/x.png", "elsewhere/y.png", "elsewhere/deep/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "in"


def walk(inside, **options):
    told = []
    discovery = Discovery(
        inside.parent / "out", follow_links=True, tell=lambda path, kind: told.append((path, kind)), **options
    )
    return [item.source for item in discovery.find([inside])], told


def test_what_a_link_leads_to_is_below_the_links_name(inside):
    (inside / "link").symlink_to("../elsewhere")
    (inside / "photos.jpg").symlink_to("../elsewhere/deep")
    (inside / ".hidden").symlink_to("../elsewhere")
    assert walk(inside)[0] == ["a/x.png", "link/deep/z.png", "link/y.png", "photos.jpg/z.png"]
    assert walk(inside, exclude=["link"])[0] == ["a/x.png", "photos.jpg/z.png"]


def test_what_two_ways_lead_to_is_taken_twice(inside):
    (inside / "b").symlink_to("a")
    (inside / "c").symlink_to("a")
    assert walk(inside)[0] == ["a/x.png", "b/x.png", "c/x.png"]


@pytest.mark.parametrize("target", [".", "..", "../a", "../../in", "../.."])
def test_a_circle_ends_where_it_closes(inside, target):
    (inside / "a" / "loop").symlink_to(target)
    sources, told = walk(inside)
    above = {f"a/loop/elsewhere/{name}" for name in ("deep/z.png", "y.png")} if target == "../.." else set()
    assert set(sources) == {"a/x.png"} | above
    assert [kind for _, kind in told] == ["links back to a folder above"]


def test_a_circle_of_two_links_ends_too(inside):
    (inside / "a" / "there").symlink_to("../../elsewhere")
    (inside.parent / "elsewhere" / "back").symlink_to("../in/a")
    assert walk(inside)[0] == ["a/there/deep/z.png", "a/there/y.png", "a/x.png"]


def test_ways_without_number_come_to_an_end(inside):
    """Of thirty folders that all are linked to each other there are more ways than atoms."""
    for one in range(30):
        folder = inside / f"folder{one}"
        folder.mkdir()
        (folder / "x.png").write_text("x")
        for other in range(30):
            (folder / f"to{other}").symlink_to(f"../folder{other}")
    sources, told = walk(inside)
    assert {f"folder{one}/x.png" for one in range(30)} <= set(sources)
    assert len(sources) <= 30 * (1 + 40) + 1
    assert {kind for _, kind in told} == {"links back to a folder above", "folders that many links lead to"}


def test_links_that_lead_nowhere_or_to_themselves_are_no_folders(inside):
    (inside / "self").symlink_to("self")
    (inside / "nowhere").symlink_to("missing")
    sources, told = walk(inside)
    assert sources == ["a/x.png"]
    assert told == [(str(inside / "nowhere"), "no suffix"), (str(inside / "self"), "no suffix")]


def test_a_folder_that_cannot_be_examined_is_told_by_what_reading_it_says(inside, monkeypatch):
    (inside / "link").symlink_to("../elsewhere")
    (inside / "other").symlink_to("../elsewhere")
    real = os.scandir

    def refused(path):
        if str(path).endswith(("link", "other")):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert walk(inside)[0] == ["a/x.png", "link/", "other/"]


def test_the_output_folder_is_not_walked_whichever_link_leads_there(inside):
    out = inside.parent / "out"
    out.mkdir()
    (out / "gray.jpg").write_text("gray")
    (inside / "link").symlink_to(out)
    assert walk(inside)[0] == ["a/x.png"]


def test_an_input_behind_a_link_is_never_replaced(inside):
    """`in/sub` leads into the output folder, where a user keeps a picture."""
    sub = inside.parent / "out" / "sub"
    sub.mkdir(parents=True)
    (sub / "mine.jpg").write_text("mine")
    (inside / "sub").symlink_to(sub)
    options = RunOptions(inputs=[inside], out=inside.parent / "out", follow_links=True, overwrite=True)
    with pytest.raises(errors.OutputIsSource):
        plan_run(options, None)
