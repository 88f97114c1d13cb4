"""What is kept of a round: what its plan and its logs tell, in the order of names."""

import os

from batchgray.manifest.layers import Layers
from batchgray.manifest.records import Image
from batchgray.manifest.results import Result
from batchgray.planning.merging import Input
from batchgray.planning.planned import planned_image
from batchgray.planning.round_results import result_of, results_of
from batchgray.planning.shares import Planner
from batchgray.records import InputVersion
from batchgray.storage.memory import MemoryPlace

MADE = {"width": 4, "height": 3, "output_size": 9, "checksum": "a:b", "done_at_ms": 1}


def image(planned, **given) -> Image:
    return Image(root=0, source=planned.source, output=planned.output, size=planned.size, mtime_ns=0, **given)


def test_done_and_failed():
    planned = planned_image("a.png", "a.jpg", InputVersion(7, 0, "etag"), replaces="a:old")
    done = result_of(2, planned, image(planned, state="done", note="odd", **MADE))
    assert done == Result(
        input=2, source="a.png", output="a.jpg", state="done", size=7, mtime_ns=0, etag="etag", note="odd", **MADE
    )
    failed = result_of(2, planned, image(planned, state="failed", error="broken"))
    assert (failed.state, failed.error, failed.checksum) == ("failed", "broken", "a:old")


def test_a_round_becomes_a_layer_and_the_next_has_nothing_to_do():
    job, places = MemoryPlace(), [MemoryPlace("a"), MemoryPlace("b")]
    names = ["z.jpg", "b.png", os.fsdecode(b"\xff.jpg"), "a/x.tif"]
    for place in places:
        for name in names:
            place.put(name, b"")
    inputs = [Input(place, f"{place.name}/") for place in places]
    plan = Planner(job, "job/1", inputs, "jpeg", lambda key: None, 2)
    list(plan.plan())
    shares = (plan.share(number) for number in plan.end().order)
    results = results_of((share, [image(each, state="done", **MADE) for each in share.images]) for share in shares)
    layers = Layers(job, "job")
    end = layers.write(1, plan.end().images, results, plan.end().all_kept)
    assert (end.images, end.totals.done) == (8, 8)
    assert [each.source for each in layers.read()] == 2 * sorted(names, key=os.fsencode)
    later = Planner(job, "job/2", inputs, "jpeg", lambda key: None, 2, layers)
    assert list(later.plan()) == []
    places[1].delete(names[2])
    gone = Planner(job, "job/3", inputs, "jpeg", lambda key: None, 2, layers)
    list(gone.plan())
    (noted,) = results_of((gone.share(number), []) for number in gone.end().order)
    assert (noted.input, noted.source, noted.state, noted.was_done) == (1, names[2], "gone", True)
