"""What is refused before any work; tests/planning/test_planner.py has what a whole plan is refused for."""

import errno
import os

import pytest

from batchgray import errors
from batchgray.manifest.records import Image, Manifest
from batchgray.options import PixelOptions
from batchgray.planning.checks import reachable_inputs, refuse_empty_output
from batchgray.planning.gone import EarlierInputs


def image(name, **fields):
    return Image(root=0, source=f"{name}.png", output=f"{name}.jpg", **{"size": 5, "mtime_ns": 7, **fields})


def earlier(root, *images):
    settings = {"run_id": "default", "options": PixelOptions(), "max_pixels": 9, "output_root": "."}
    return EarlierInputs(Manifest(**settings, input_roots=[str(root)], images=list(images)))


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_an_input_folder_that_cannot_be_read_is_refused_known_or_not(tmp_path, monkeypatch, error):
    def refuse(path):
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    for prune in (False, True):
        with pytest.raises(errors.UnreadableInput, match=os.strerror(error)):
            reachable_inputs([tmp_path], earlier(tmp_path / "other"), prune)
    known = earlier(tmp_path, image("a"))
    with pytest.raises(errors.InputGone, match=rf"can't be reached \({os.strerror(error)}\)"):
        reachable_inputs([tmp_path], known, prune=False)
    assert reachable_inputs([tmp_path], known, prune=True) == []


@pytest.mark.parametrize("there", ["an output", "the folder of what is in flight"])
def test_an_output_folder_of_which_nothing_is_left_is_refused_unless_the_manifest_lies_there(tmp_path, there):
    path, out = tmp_path / "m.json", tmp_path / "out"
    out.mkdir()
    settings = {"run_id": "1234", "options": PixelOptions(), "max_pixels": 9, "input_roots": ["/in"]}
    done = image("a", state="done", checksum="c", output_size=1)
    elsewhere = Manifest(**settings, output_root=str(out), images=[done])
    with pytest.raises(errors.OutputsGone, match="1 image"):
        refuse_empty_output(elsewhere, path)
    refuse_empty_output(Manifest(**settings, output_root=".", images=[done]), out / "manifest.json")
    refuse_empty_output(Manifest(**settings, output_root=str(out), images=[image("a")]), path)
    if there == "an output":
        (out / "a.jpg").touch()
    else:
        elsewhere.flight_folder(path).mkdir(parents=True)
    refuse_empty_output(elsewhere, path)
