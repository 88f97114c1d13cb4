"""What a worker is told of an image of the plan."""

import pytest

from batchgray.engine.tasks import PlannedTasks
from batchgray.manifest.records import Image, Manifest
from batchgray.options import PixelOptions
from batchgray.planning.plan import Plan
from batchgray.records import InputVersion


@pytest.fixture
def plan(tmp_path):
    images = [Image(root=0, source=f"{n}.png", output=f"{n}.jpg", size=1234 + n, mtime_ns=5678) for n in range(3)]
    document = Manifest(
        run_id="default",
        options=PixelOptions(),
        max_pixels=10**9,
        output_root=".",
        input_roots=["/in"],
        images=images,
    )
    return Plan(tmp_path / "manifest.json", tmp_path, document, resumed=False, todo=[2, 0])


def test_the_images_that_the_plan_wants_done_are_there_with_their_sizes(plan):
    tasks = PlannedTasks(plan, set())
    assert list(tasks.indices) == [2, 0]
    assert [tasks.size(index) for index in range(3)] == [1234, 1235, 1236]


def test_a_task_names_the_source_the_version_of_it_and_the_output(plan):
    task = PlannedTasks(plan, set()).task(1)
    assert (task.index, task.source, task.output) == (1, "/in/1.png", "1.jpg")
    assert task.version == InputVersion(1235, 5678)


def test_a_task_says_what_may_be_replaced(plan):
    """Nothing of an output that was never made, an earlier output of batchgray's own, or anything that is to mend."""
    _, second, third = plan.manifest.images
    second.checksum = third.checksum = "x:y"
    third.mend = True
    tasks = PlannedTasks(plan, set())
    assert [tasks.task(index).replaces for index in range(3)] == ["", "x:y", "*"]


def test_a_task_says_whether_there_is_a_sidecar_to_go_on_from(plan):
    tasks = PlannedTasks(plan, {1})
    assert [tasks.task(index).resumable for index in range(3)] == [False, True, False]


def test_no_partial_jpeg_is_drawn_under_the_name_of_another_images_output(plan):
    plan.manifest.images[0].output = "a.jpg"
    plan.manifest.images[1].output = "a.partial.jpg"
    tasks = PlannedTasks(plan, set())
    assert [tasks.task(index).preview for index in (0, 2)] == [False, True]


def test_no_partial_jpeg_is_drawn_where_its_name_would_be_too_long(plan):
    """255 bytes, whatever the folders' names take."""
    for index, length in enumerate((243, 244)):
        plan.manifest.images[index].output = f"folder/{'a' * length}.jpg"
    tasks = PlannedTasks(plan, set())
    assert [tasks.task(index).preview for index in range(2)] == [True, False]
