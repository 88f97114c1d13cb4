"""Every file that is left out can be listed: by -v, --progress json, status --json and the report.

If this broke, a thousand HEIC files among ten thousand pictures would be missed when the card is wiped.
"""

import base64
import json
import os

import pytest
from harness import batchgray, events_of, manifest_of, named, save_gradient, tree

NOT_UTF8 = os.fsdecode(b"\xff.txt")


@pytest.fixture
def folder(tmp_path):
    save_gradient(tmp_path / "in" / "a.png", 16, 16)
    save_gradient(tmp_path / "in" / "skipped.png", 16, 16)
    save_gradient(tmp_path / "other" / "b.png", 16, 16)
    for name in ("one.cr2", "two.cr2", NOT_UTF8, ".DS_Store", "README"):
        (tmp_path / "in" / name).write_text("no image")
    (tmp_path / "in" / "album").symlink_to("../other")
    return tmp_path


EXPECTED = {
    "one.cr2": ".cr2",
    "two.cr2": ".cr2",
    NOT_UTF8: ".txt",
    ".DS_Store": "hidden",
    "README": "no suffix",
    "album": "links to folders",
    "skipped.png": "left out by --include or --exclude",
}


def run(folder, *more):
    arguments = ("run", folder / "in", "--out", folder / "out", "--exclude", "skip*", *more)
    return batchgray(*arguments).stdout


def name_of(folder, event):
    data = event.get("source_base64")
    if data is None:
        return os.path.relpath(event["source"], folder / "in")
    return os.path.relpath(os.fsdecode(base64.b64decode(data)), folder / "in")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_in_json_and_verbose(folder, dry):
    found = [json.loads(line) for line in run(folder, "--progress", "json", *dry).splitlines()]
    events = named(found, "left_out")
    assert {name_of(folder, event): event["kind"] for event in events} == EXPECTED
    assert found[: len(events)] == events  # before anything else
    lines = run(folder, "--progress", "plain", "-v", *dry).splitlines()
    told = [line for line in lines if " is not taken: " in line]
    assert len(told) == len(EXPECTED)
    assert f"{folder}/in/one.cr2 is not taken: .cr2" in told
    assert f"{folder}/in/\\xff.txt is not taken: .txt" in told
    assert " is not taken: " not in run(folder, "--progress", "plain", *dry)


def test_in_status_report_and_summary(folder):
    said = run(folder, "--progress", "plain")
    assert f"Left out: 1 links to folders: {folder}/in/album. --follow-links walks into them." in said
    batchgray("resume", folder / "out", "--progress", "none")  # which walks nothing, and forgets nothing
    status = json.loads(batchgray("status", folder / "out", "--json").stdout)
    found = {kind["kind"]: (kind["count"], len(kind["sources"])) for kind in status["left_out"]}
    assert found[".cr2"] == (2, 2)
    assert found.keys() == set(EXPECTED.values())
    assert f"2 .cr2: {folder}/in/one.cr2, {folder}/in/two.cr2" in batchgray("status", folder / "out").stdout
    batchgray("report", folder / "out")
    page = (folder / "out" / "report.html").read_text()
    assert f"2 .cr2: {folder}/in/one.cr2, {folder}/in/two.cr2" in page
    assert f"1 .txt: {folder}/in/\\xff.txt" in page


def test_links_are_followed_where_that_is_asked_for(folder):
    (folder / "other" / "back").symlink_to("../in")
    run(folder, "--progress", "none", "--follow-links")
    assert sorted(tree(folder / "out")) == ["a.jpg", "album/b.jpg"]
    kinds = {kind["kind"] for kind in manifest_of(folder / "out")["left_out"]}
    assert "links back to a folder above" in kinds
    run(folder, "--progress", "none")  # what was made stays, as whatever is left out later
    assert sorted(tree(folder / "out")) == ["a.jpg", "album/b.jpg"]


@pytest.mark.parametrize(
    ("names", "more", "instead"),
    [
        ([".a.png", ".b/c.png"], (), "are: 2 hidden"),
        (["a/b/"], (), "are: 2 folders without a file"),
        ([], (), "is nothing"),
        (["a.png", "b.png"], ("--include", "*.jpg"), "are: 2 left out by --include or --exclude"),
        (["a.png", "b/c.png"], ("--exclude", "*"), "are: 2 left out by --include or --exclude"),
        (["a.cr2", "b.cr2", "c.mov"], (), "are: 2 .cr2, 1 .mov"),
    ],
)
def test_a_first_run_that_finds_no_image_says_what_is_there_and_leaves_nothing(tmp_path, names, more, instead):
    (tmp_path / "in").mkdir()
    for name in names:
        path = tmp_path / "in" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("not looked into")
    before = sorted(os.listdir(tmp_path))
    for out in ("out", "deep/out"):
        refused = batchgray("run", tmp_path / "in", "--out", tmp_path / out, *more, expect=2).stderr
        assert f"no image was found in {tmp_path}/in; there {instead}. " in refused
        assert sorted(os.listdir(tmp_path)) == before
    (tmp_path / "out").mkdir()
    batchgray("run", tmp_path / "in", "--out", tmp_path / "out", *more, expect=2)
    assert os.listdir(tmp_path / "out") == []
    listed = batchgray("run", tmp_path / "in", "--out", tmp_path / "out", *more, "--progress", "json", expect=2)
    assert len(named(events_of(listed.stdout), "left_out")) == (0 if "folders" in instead else len(names))
    assert os.listdir(tmp_path / "out") == []
