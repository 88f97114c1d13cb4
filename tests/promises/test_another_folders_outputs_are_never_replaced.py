"""A second run into an output folder that holds another folder's outputs replaces none of them.

If this broke, `run day1 --out gray` and then `run day2 --out gray` would leave one IMG_0001.jpg of two, without a word.
"""

import pytest
from harness import Running, batchgray, manifest_of, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker


@pytest.fixture
def days(tmp_path):
    for day, side in (("day1", 90), ("day2", 70)):
        save_gradient(tmp_path / day / "IMG_0001.jpg", side, 60)
        save_gradient(tmp_path / day / f"only on {day}.png", side, 60)
    return tmp_path / "day1", tmp_path / "day2"


def states(out):
    return {(image["source"], image["state"]) for image in manifest_of(out)["images"]}


@pytest.mark.parametrize("first", ["is there", "is not mounted", "was told gone"])
@pytest.mark.parametrize("named", ["the folder", "its file"])
def test_what_collides_is_refused_with_both_names(days, tmp_path, first, named):
    (day1, day2), out = days, tmp_path / "gray"
    batchgray("run", day1, "--out", out, "--progress", "none")
    if first != "is there":
        day1.rename(tmp_path / "elsewhere")
    if first == "was told gone":
        save_gradient(tmp_path / "day3" / "z.png", 30, 30)
        batchgray("run", tmp_path / "day3", "--out", out, "--progress", "none")
    before, known = tree(out), states(out)
    refused = batchgray("run", day2 if named == "the folder" else day2 / "IMG_0001.jpg", "--out", out, expect=2).stderr
    assert f"{day1}/IMG_0001.jpg and {day2}/IMG_0001.jpg -> IMG_0001.jpg" in refused
    assert (tree(out), states(out)) == (before, known)
    batchgray("run", day2, "--out", out, "--exclude", "IMG*", "--progress", "none")
    assert tree(out).keys() == before.keys() | {"only on day2.jpg"}
    assert {name: tree(out)[name] for name in before} == before
    assert ("IMG_0001.jpg", "done" if first == "is there" else "gone") in states(out)


def test_what_is_begun_holds_its_name_too(tmp_path):
    save_gradient(tmp_path / "day1" / "IMG_0001.jpg", 400, 1000, quality=90)
    save_gradient(tmp_path / "day2" / "IMG_0001.jpg", 90, 60)
    out, recording = tmp_path / "gray", Recording(tmp_path / "record", Rule("tile", "IMG_0001", after=3))
    with Running("run", tmp_path / "day1", "--out", out, "--tile-rows", 64, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    batchgray("run", tmp_path / "day2", "--out", out, "--tile-rows", 64, expect=2)
    batchgray("resume", out, "--progress", "none")
    batchgray("run", tmp_path / "day1", "--out", tmp_path / "whole", "--tile-rows", 64, "--progress", "none")
    assert tree(out) == tree(tmp_path / "whole")


def test_both_in_one_run_are_mirrored_under_their_own_names(days, tmp_path):
    batchgray("run", *days, "--out", tmp_path / "gray", "--progress", "none")
    assert sorted(tree(tmp_path / "gray")) == [
        "day1/IMG_0001.jpg",
        "day1/only on day1.jpg",
        "day2/IMG_0001.jpg",
        "day2/only on day2.jpg",
    ]
