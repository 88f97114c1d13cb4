"""An input that changes, or goes, while it is read or between an interruption and its resume: never a mixture.

If this broke, an output would show half of one picture and half of another, or one file that somebody took away would
stop the rest.
"""

import pytest
from harness import Running, batchgray, environment_with, events_of, leftovers, manifest_of, named, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray.storage import integrity

OPTIONS = ("--tile-rows", 64, "--checkpoint", 0.000001)
IN_THE_MIDDLE = Rule("rename", rf"/{integrity.short_name('big.jpg')}\.tiles$", after=2)

# In every worker: while one of the inputs is decoded, it becomes another file, or goes.
DECODER = """
import os, shutil, sys
if any("forkserver" in argument for argument in sys.orig_argv):
    import simplejpeg
    decode = simplejpeg.decode_jpeg
    def decode_meanwhile(data, *arguments, **settings):
        source, other = os.environ["SOURCE"], os.environ["OTHER"]
        if os.path.exists(source) and len(data) == os.stat(source).st_size:
            os.replace(other, source) if other else os.unlink(source)
        return decode(data, *arguments, **settings)
    simplejpeg.decode_jpeg = decode_meanwhile
"""


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    for number in range(3):
        save_gradient(folder / f"{number}.jpg", 90, 70, seed=number)
    save_gradient(folder / "big.jpg", 400, 1000, quality=90)
    return folder


def converted_at_once(pictures, tmp_path):
    batchgray("run", pictures, "--out", tmp_path / "whole", *OPTIONS[:2])
    return tree(tmp_path / "whole")


@pytest.mark.parametrize(("other", "reason"), [("other.jpg", "changed while it was being read"), ("", "no such file")])
def test_while_it_is_read(pictures, tmp_path, other, reason):
    out = tmp_path / "out"
    if other:
        save_gradient(tmp_path / other, 400, 900, quality=90)
    variables = {"SOURCE": str(pictures / "big.jpg"), "OTHER": str(tmp_path / other) if other else ""}
    arguments = ("run", pictures, "--out", out, *OPTIONS, "--progress", "json")
    run = batchgray(*arguments, expect=3, env=environment_with(DECODER, tmp_path, **variables))
    failed = {event["source"]: event["error"] for event in named(events_of(run.stdout), "failed")}
    assert failed.keys() == {"big.jpg"}
    assert reason in failed["big.jpg"]
    whole = converted_at_once(pictures, tmp_path)
    assert tree(out) == {name: data for name, data in whole.items() if name != "big.jpg"}
    assert leftovers(out) == []
    batchgray("resume", out / "manifest.json")
    assert tree(out) == whole  # without it where it is gone
    assert leftovers(out) == []


def test_between_an_interruption_in_the_middle_of_it_and_its_resume(pictures, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running("run", pictures, "--out", out, *OPTIONS, "--workers", 1, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert [image["output"] for image in manifest_of(out)["images"] if image["state"] == "partial"] == ["big.jpg"]
    assert (out / "big.partial.jpg").exists()
    save_gradient(pictures / "big.jpg", 400, 1000, seed=99, quality=90)  # another picture of the same shape
    run = batchgray("resume", out / "manifest.json", "--progress", "json")
    assert tree(out) == converted_at_once(pictures, tmp_path)
    assert leftovers(out) == []
    assert named(events_of(run.stdout), "summary")[0]["changed"] == 1
