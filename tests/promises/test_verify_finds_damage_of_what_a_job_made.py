"""verify reads what a job made, in folders and stores alike, and what it marks to be made anew is marked for good.

If this broke, an archive in a bucket would rot under a job that calls all well.
"""

import json

import jobs
import pytest
from harness import batchgray, save_gradient


@pytest.fixture(params=jobs.STAGES)
def stage(request, tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        save_gradient(tmp_path / "in" / name, 90, 70, seed=ord(name[0]))
    with jobs.STAGES[request.param](tmp_path / "in", tmp_path) as stage:
        batchgray(*stage.run("-q"), env=stage.env())
        yield stage


def verdict(stage, *options, expect):
    said = batchgray("verify", stage.out, "--json", *options, env=stage.env(), expect=expect).stdout
    found = json.loads(said)
    return found["checked"], {each["output"]: each["fault"] for each in found["damaged"]}, found["mended"]


def status_of(stage):
    return json.loads(batchgray("status", stage.out, "--json", env=stage.env()).stdout)


def test_each_kind_of_damage_is_found_and_marked(stage):
    whole = stage.outputs()
    assert verdict(stage, expect=0) == (4, {}, 0)
    stage.place.delete("a.jpg")
    stage.place.put("b.jpg", whole["b.jpg"][:-9])
    stage.place.put("c.jpg", whole["c.jpg"][:-9] + b"\x13" + whole["c.jpg"][-8:])
    damaged = {
        "a.jpg": "missing",
        "b.jpg": f"{len(whole['b.jpg']) - 9} bytes instead of {len(whole['b.jpg'])}",
        "c.jpg": "its checksum is another",
    }
    before = stage.outputs()
    assert verdict(stage, expect=3) == (4, damaged, 0)
    assert status_of(stage)["state"] == "complete"
    told = batchgray("verify", f"{stage.out}/manifest.json", env=stage.env(), expect=3).stdout.splitlines()
    assert told[:4] == [
        *(f"damaged: {name}: {fault}" for name, fault in damaged.items()),
        "4 outputs checked, 3 damaged.",
    ]
    assert "To mend them: " in told[4]
    assert verdict(stage, "--mend", expect=3) == (4, damaged, 3)
    assert stage.outputs() == before
    found = status_of(stage)
    assert (found["state"], found["counts"]["done"], found["counts"]["pending"]) == ("interrupted", 1, 3)
    assert " resume " in found["resume"]
