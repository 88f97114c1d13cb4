"""What `status` says of runs, and that it is what their last words were."""

import json
import re

import pytest
from harness import batchgray, events_of, manifest_of, named, save_gradient

from batchgray import quantities


@pytest.fixture
def out(tmp_path):
    for number in range(3):
        save_gradient(tmp_path / "in" / f"{number}.png", 64, 64, number)
    return tmp_path / "out"


def convert(out):
    run = batchgray("run", out.parent / "in", "--out", out, "--progress", "json")
    return named(events_of(run.stdout), "summary")[0]


def test_times_and_rates_are_those_of_the_runs_own_words(out):
    first = convert(out)
    save_gradient(out.parent / "in" / "new.png", 64, 64, exact=True)
    second = convert(out)
    assert convert(out)["converted"] == 0  # nothing to do: no run
    runs = manifest_of(out)["runs"]
    assert [run["seconds"] for run in runs] == [first["seconds"], second["seconds"]]
    status = json.loads(batchgray("status", out, "--json").stdout)
    assert status["seconds"] == pytest.approx(first["seconds"] + second["seconds"])
    batchgray("report", out)
    page = (out / "report.html").read_text()
    for summary in (first, second):
        assert quantities.rate(summary["pixels"], summary["converted"], summary["seconds"]) in page


def test_after_verify_has_marked_outputs_pending_nothing_is_called_interrupted(out):
    convert(out)
    (out / "1.jpg").unlink()
    batchgray("verify", out, "--mend", expect=3)
    said = batchgray("status", out).stdout
    assert said.startswith("incomplete: 2 of 3 images done, 0 partial, 1 pending, 0 failed\n")
    assert "interrupted" not in said
    assert "To go on: " in said
    batchgray("report", out)
    assert re.search(r'class="state incomplete">incomplete<', (out / "report.html").read_text())
    batchgray("resume", out)
    assert batchgray("status", out).stdout.startswith("complete: 3 of 3")
