"""What a job refuses of its INPUTs before any work."""

import pytest

from batchgray import errors
from batchgray.manifest.results import Layers, Result, Totals
from batchgray.planning.job_inputs import full_name, mirrored, refuse_names, refuse_nothing_found
from batchgray.storage.memory import MemoryPlace


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.jpg").write_bytes(b"x")
    return str(tmp_path / "in")


@pytest.mark.parametrize(
    ("inputs", "out", "error"),
    [
        (["oss://b/x"], "oss://b/x", errors.OutputIsInput),
        (["oss://b/x"], "oss://b/x/y", errors.NotForJobs),
        (["oss://b/x/y"], "oss://b/x", errors.NotForJobs),
        (["oss://b"], "oss://b/x", errors.NotForJobs),
        (["oss://b/x", "oss://b/x/y"], "oss://c/o", errors.NotForJobs),
        (["oss://b/x", "s3://c/x"], "oss://c/o", errors.NotForJobs),
        (["FOLDER/none"], "oss://c/o", errors.NoSuchInput),
        (["FOLDER/a.jpg"], "oss://c/o", errors.NotForJobs),
        (["FOLDER"], "FOLDER/sub", errors.NotForJobs),
    ],
)
def test_refused(folder, inputs, out, error):
    with pytest.raises(error):
        refuse_names([name.replace("FOLDER", folder) for name in inputs], out.replace("FOLDER", folder))


def test_accepted(folder):
    refuse_names([folder, "oss://b/x", "oss://b/xy"], "oss://b/out")


def test_a_folder_has_one_name(folder, tmp_path):
    (tmp_path / "link").symlink_to("in")
    assert full_name(str(tmp_path / "link")) == full_name(folder + "/")
    assert full_name("oss://b/x/") == "oss://b/x"


def test_several_come_out_under_their_names():
    one, two = MemoryPlace(), MemoryPlace()
    assert [each.mirrored for each in mirrored(["oss://b/x"], [one])] == [""]
    assert [each.mirrored for each in mirrored(["oss://b/x", "/data/y"], [one, two])] == ["x/", "y/"]


def test_what_there_is_instead_of_images():
    place = MemoryPlace("oss://b/x")
    place.put("a.txt", b"")
    with pytest.raises(errors.NothingFound, match=r"oss://b/x; there are: 1 \.txt"):
        refuse_nothing_found(mirrored(["oss://b/x"], [place]), lambda key: ".txt", None, prune=True)
    refuse_nothing_found(mirrored(["oss://b/x"], [place]), lambda key: None, None, prune=False)


def test_an_input_that_had_images_and_has_none_is_refused():
    """It may not be mounted: all that was made of it would be gone."""
    places = [MemoryPlace("a"), MemoryPlace("b")]
    places[0].put("x.jpg", b"")
    layers = Layers(MemoryPlace(), "job")
    made = Result(input=1, source="y.jpg", output="b/y.jpg", state="gone", size=1, mtime_ns=0)
    layers.write(1, 1, [made], Totals())
    inputs = mirrored(["/data/a", "/data/b"], places)
    with pytest.raises(errors.InputGone, match="the INPUT b "):
        refuse_nothing_found(inputs, lambda key: None, layers, prune=False)
    refuse_nothing_found(inputs, lambda key: None, layers, prune=True)
    refuse_nothing_found(inputs[:1], lambda key: None, layers, prune=False)
