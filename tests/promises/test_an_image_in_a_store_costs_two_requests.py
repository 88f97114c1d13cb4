"""An input is got once, and an output is put once: what is paid for is what the page says.

If this broke, a job of a million images would be paid for twice, and nobody would look before the bill comes.
"""

import jobs
import pytest
from harness import batchgray, save_gradient

IMAGES = 40


@pytest.fixture
def stage(tmp_path):
    for number in range(IMAGES):
        save_gradient(tmp_path / "in" / f"{number}.png", 32, 24)
    with jobs.oss(tmp_path / "in", tmp_path) as stage:
        yield stage


def test_one_to_get_it_and_one_to_put_what_was_made(stage):
    before = len(stage.server.log)
    batchgray(*stage.run(), env=stage.env())
    asked = [(each.operation, each.key.removeprefix("2026/")) for each in stage.server.log[before:]]
    inputs = [key for operation, key in asked if operation == "GetObject" and key.endswith(".png")]
    assert sorted(inputs) == sorted(f"{number}.png" for number in range(IMAGES))
    outputs = [key for operation, key in asked if operation == "PutObject" and key.endswith(".jpg")]
    assert sorted(outputs) == sorted(f"{number}.jpg" for number in range(IMAGES))
    assert not [key for operation, key in asked if operation == "HeadObject" and key.endswith((".jpg", ".png"))]
