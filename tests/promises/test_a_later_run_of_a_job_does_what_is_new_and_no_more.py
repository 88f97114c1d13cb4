"""A job that is run again converts what is new, changed or failed; what is away costs nothing, and --prune is exact.

If this broke, somebody whose archive grows would pay for all of it every night, or lose what was made of a picture
while its disk was not mounted.
"""

import contextlib
import shutil

import jobs
import pytest
from harness import batchgray, events_of, named, save_gradient, tree
from stores import oss_options

from batchgray.storage.urls import open_place


@pytest.fixture
def stage(request, tmp_path):
    for name in ("a.png", "sub/b.png", "sub/c.jpg", "d.png"):
        save_gradient(tmp_path / "in" / name, 48, 32, seed=len(name))
    with jobs.STAGES[request.param](tmp_path / "in", tmp_path) as stage:
        run(stage)
        yield stage


pytestmark = pytest.mark.parametrize("stage", jobs.STAGES, indirect=True)


def run(stage, *options, exit_code=0):
    done = batchgray(*stage.run("--progress", "json", *options), env=stage.env(), expect=exit_code)
    return events_of(done.stdout)


def summary_of(events):
    return named(events, "summary")[0]


def converted(events):
    return {event["source"] for event in named(events, "done")}


def put(stage, name, seed):
    save_gradient(stage.images / name, 48, 32, seed=seed)
    sync(stage)


def remove(stage, name):
    (stage.images / name).unlink()
    sync(stage)


def sync(stage):
    """What is in the folder is what is in the bucket."""
    if (server := getattr(stage, "server", None)) is None:
        return
    there = tree(stage.images)
    with contextlib.closing(open_place("oss://photos/2026", oss_options(server))) as place:
        for entry in list(place.list()):
            if entry.key not in there:
                place.delete(entry.key)
        for name, data in there.items():
            place.put(name, data)


def test_only_what_is_new_or_changed_is_converted(stage):
    before = stage.outputs()
    put(stage, "e.png", seed=50)
    put(stage, "a.png", seed=51)
    events = run(stage)
    assert converted(events) == {"a.png", "e.png"}
    summary = summary_of(events)
    assert (summary["changed"], summary["already_done"], summary["total"]) == (1, 3, 5)
    after = stage.outputs()
    assert after.keys() == before.keys() | {"e.jpg"}
    assert {name for name in before if before[name] != after[name]} == {"a.jpg"}
    assert converted(run(stage)) == set()


def test_what_is_gone_keeps_what_was_made_of_it_and_is_done_again_without_work(stage):
    before = stage.outputs()
    away = (stage.images / "sub/b.png").rename(stage.images.parent / "b.png")
    sync(stage)
    summary = summary_of(run(stage))
    assert (summary["gone"], summary["newly_gone"], summary["state"]) == (1, ["sub/b.png"], "complete")
    assert summary_of(run(stage))["newly_gone"] == []
    away.rename(stage.images / "sub/b.png")
    sync(stage)
    events = run(stage)
    assert (converted(events), summary_of(events)["done"]) == (set(), 4)
    assert stage.outputs() == before


def test_an_input_that_is_not_mounted_is_refused_and_costs_nothing(stage):
    before = stage.outputs()
    shutil.move(stage.images, stage.images.parent / "elsewhere")
    stage.images.mkdir()
    sync(stage)
    refused = batchgray(*stage.run(), env=stage.env(), expect=2)
    assert "Mount it, or put it back" in refused.stderr
    stage.images.rmdir()
    shutil.move(stage.images.parent / "elsewhere", stage.images)
    sync(stage)
    assert converted(run(stage)) == set()
    assert stage.outputs() == before


def test_pruning_removes_only_what_is_as_it_was_made_of_what_is_gone(stage):
    before = stage.outputs()
    stage.place.put("a.jpg", b"retouched")
    stage.place.put("mine.jpg", b"mine")
    for name in ("a.png", "sub/b.png"):
        remove(stage, name)
    events = run(stage, "--prune")
    assert [event["message"] for event in named(events, "warned")] == [
        "a.jpg is not as it was made, and stays; its input is gone"
    ]
    assert summary_of(events)["gone"] == 0
    kept = {name: before[name] for name in ("d.jpg", "sub/c.jpg")}
    assert stage.outputs() == {**kept, "a.jpg": b"retouched", "mine.jpg": b"mine"}
    assert run(stage, "--prune") is not None
    assert stage.outputs() == {**kept, "a.jpg": b"retouched", "mine.jpg": b"mine"}


def test_what_batchgray_did_not_make_is_never_replaced(stage):
    stage.place.put("e.jpg", b"mine")
    stage.place.put("a.jpg", b"retouched")
    put(stage, "e.png", seed=50)
    put(stage, "a.png", seed=51)
    summary = summary_of(run(stage, exit_code=3))
    assert summary["failures"].keys() == {"a.png", "e.png"}
    assert (stage.place.get("e.jpg"), stage.place.get("a.jpg")) == (b"mine", b"retouched")
