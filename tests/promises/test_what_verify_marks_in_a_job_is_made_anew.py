"""What `verify --mend` marks in a job is made anew by resume and by run, and the tree is that of one run again.

If this broke, damage that was found would stay in a bucket, under a job that calls all well.
"""

import json

import jobs
import pytest
from harness import Running, batchgray, events_of, named, save_gradient
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

IN_THE_MIDDLE = Rule("tile", r"d\.jpg", after=3)


@pytest.fixture
def stage(request, tmp_path):
    for name in ("a.png", "b.png", "sub/c.png"):
        save_gradient(tmp_path / "in" / name, 90, 70, seed=len(name))
    with jobs.STAGES[request.param](tmp_path / "in", tmp_path) as stage:
        yield stage


pytestmark = pytest.mark.parametrize("stage", jobs.STAGES, indirect=True)


def convert(stage, *arguments):
    """The sources of what it converted."""
    said = batchgray(*arguments, "--progress", "json", env=stage.env()).stdout
    return [event["source"] for event in named(events_of(said), "done")]


def damage(stage, *, altered, removed):
    stage.place.put(altered, stage.place.get(altered)[:-9] + b"\x13" + stage.place.get(altered)[-8:])
    stage.place.delete(removed)


def mend(stage):
    """What is found damaged is marked."""
    found = json.loads(batchgray("verify", stage.out, "--mend", "--json", env=stage.env(), expect=3).stdout)
    assert found["mended"] == len(found["damaged"])
    return {each["output"]: each["fault"] for each in found["damaged"]}


def assert_whole(stage, whole):
    """The tree is as it was, no mark is left, and whoever looks finds nothing."""
    assert stage.outputs() == whole
    assert {each for each in stage.kept() if not each.endswith("/finished")} == {"results"}
    batchgray("verify", stage.out, env=stage.env())
    found = json.loads(batchgray("status", stage.out, "--json", env=stage.env()).stdout)
    assert (found["state"], found["counts"]["done"]) == ("complete", len(whole))


@pytest.mark.parametrize("command", ["resume", "run"])
def test_after_the_end(stage, command):
    batchgray(*stage.run("-q"), env=stage.env())
    whole = stage.outputs()
    damage(stage, altered="a.jpg", removed="sub/c.jpg")
    assert mend(stage) == {"a.jpg": "its checksum is another", "sub/c.jpg": "missing"}
    arguments = stage.run() if command == "run" else ["resume", stage.out]
    assert sorted(convert(stage, *arguments)) == ["a.png", "sub/c.png"]
    assert_whole(stage, whole)
    assert convert(stage, *arguments) == []


def test_what_is_damaged_again_is_mended_again(stage):
    batchgray(*stage.run("-q"), env=stage.env())
    whole = stage.outputs()
    for _ in range(2):
        damage(stage, altered="b.jpg", removed="a.jpg")
        assert mend(stage) == mend(stage) == {"a.jpg": "missing", "b.jpg": "its checksum is another"}
        assert sorted(convert(stage, "resume", stage.out)) == ["a.png", "b.png"]
        assert_whole(stage, whole)


@pytest.mark.parametrize("command", ["resume", "run"])
@pytest.mark.parametrize("begun", ["first", "later"])
def test_while_a_round_is_in_progress(stage, tmp_path, command, begun):
    """Of that round, or of one before it."""
    if begun == "later":
        batchgray(*stage.run("-q"), env=stage.env())
    save_gradient(stage.images / "d.png", 64, 640, seed=4)
    if server := getattr(stage, "server", None):
        server.put("photos", "2026/d.png", (stage.images / "d.png").read_bytes())
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    made = {name: data for name, data in stage.outputs().items() if ".partial." not in name}
    assert {"a.jpg", "b.jpg"} <= made.keys()
    damage(stage, altered="a.jpg", removed="b.jpg")
    assert mend(stage) == {"a.jpg": "its checksum is another", "b.jpg": "missing"}
    done = convert(stage, *(stage.run() if command == "run" else ["resume", stage.out]))
    assert {"a.png", "b.png", "d.png"} <= set(done)
    whole = stage.outputs()
    assert made.items() <= whole.items()
    assert whole.keys() == {"a.jpg", "b.jpg", "d.jpg", "sub/c.jpg"}
    assert_whole(stage, whole)
