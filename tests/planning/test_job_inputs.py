"""What a job refuses of its INPUTs before any work."""

from pathlib import Path

import pytest

from batchgray import errors
from batchgray.manifest.job_head import JobInput
from batchgray.manifest.layers import Layers
from batchgray.manifest.results import Result, Totals
from batchgray.planning.job_inputs import full_name, named_inputs, refuse_collisions, refuse_nothing_found
from batchgray.planning.merging import Input
from batchgray.storage.memory import MemoryPlace


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.jpg").write_bytes(b"x")
    return str(tmp_path / "in")


@pytest.fixture
def named(folder):
    def named(*inputs, out="oss://c/o", base=None, exclude=()):
        names = [name.replace("FOLDER", folder) for name in inputs]
        out, base = (name and name.replace("FOLDER", folder) for name in (out, base))
        found = named_inputs(names, out, base, exclude, lambda url: url.startswith("oss://b/one"))
        return [tuple(each._replace(place=each.place.replace(folder, "FOLDER"))) for each in found]

    return named


@pytest.mark.parametrize(
    ("inputs", "given", "error"),
    [
        (["oss://b/x"], {"out": "oss://b/x"}, errors.OutputIsInput),
        (["oss://b/x/y"], {"out": "oss://b/x"}, errors.NotForJobs),
        (["oss://b", "oss://b/x/y"], {"out": "oss://b/x"}, errors.NotForJobs),
        (["FOLDER/none"], {}, errors.NoSuchInput),
        (["FOLDER/sub"], {"out": "FOLDER"}, errors.NotForJobs),
        (["FOLDER", "FOLDER/.hidden.jpg"], {}, errors.NotForJobs),
        (["FOLDER", "FOLDER/sub"], {"exclude": ["sub"]}, errors.NotForJobs),
        (["oss://b/x"], {"base": "oss://b/y"}, errors.NotBelowBase),
        (["oss://b/x"], {"base": "FOLDER"}, errors.NotBelowBase),
        (["FOLDER/a.jpg"], {"base": "FOLDER/sub"}, errors.NotBelowBase),
        (["FOLDER"], {"base": "FOLDER/a.jpg"}, errors.BaseNotFolder),
    ],
)
def test_refused(folder, named, inputs, given, error):
    (Path(folder) / ".hidden.jpg").write_bytes(b"x")
    with pytest.raises(error):
        named(*inputs, **given)


def test_folders_and_prefixes_come_out_under_their_names(named):
    assert named("oss://b/x") == [("oss://b/x", "", [])]
    assert named("oss://b/x", "FOLDER", "oss://b/xy", out="oss://b/out") == [
        ("oss://b/x", "x/", []),
        ("FOLDER", "in/", []),
        ("oss://b/xy", "xy/", []),
    ]


def test_each_is_listed_once(named):
    assert named("oss://b/x", "oss://b/x/y", "oss://b/x") == [("oss://b/x", "", [])]
    assert named("FOLDER/a.jpg", "FOLDER", "FOLDER/sub") == [("FOLDER", "", [])]


def test_a_place_around_that_of_the_outputs_is_an_input(named, folder):
    assert named("oss://b", out="oss://b/x") == [("oss://b", "", [])]
    (Path(folder) / "sub" / "b").write_bytes(b"x")
    assert named("FOLDER", "FOLDER/sub/b", "FOLDER/a.jpg", out="FOLDER/sub") == [
        ("FOLDER", "", []),
        ("FOLDER/sub", "", ["b"]),  # which is named, and so taken
    ]


def test_files_and_objects_are_those_of_their_places(named, folder):
    (Path(folder) / "sub" / "b").write_bytes(b"x")
    assert named("FOLDER/a.jpg", "oss://b/one/y.png", "oss://b/one/x.png", "FOLDER/sub/b", out="FOLDER") == [
        ("FOLDER", "", ["a.jpg"]),
        ("oss://b/one", "", ["x.png", "y.png"]),
        ("FOLDER/sub", "", ["b"]),
    ]


def test_below_the_base_the_path_is_kept(named):
    assert named("oss://b/x/2025", "oss://b/x/2026/06", base="oss://b/x") == [
        ("oss://b/x/2025", "2025/", []),
        ("oss://b/x/2026/06", "2026/06/", []),
    ]
    assert named("FOLDER/a.jpg", "FOLDER/sub", base="FOLDER") == [("FOLDER/sub", "sub/", []), ("FOLDER", "", ["a.jpg"])]
    assert named("FOLDER", base="FOLDER") == [("FOLDER", "", [])]


def test_so_many_files_are_no_inputs(named, monkeypatch):
    monkeypatch.setattr("batchgray.planning.job_inputs.MOST_FILES", 1)
    with pytest.raises(errors.NotForJobs, match="2 files as INPUTs"):
        named("oss://b/one.jpg", "oss://b/one.png")


def test_what_comes_out_as_one_is_refused():
    place, other = MemoryPlace("oss://b/x"), MemoryPlace("oss://b/y")
    for key in ("a.jpg", "b/c.txt", "b/d.png"):
        place.put(key, b"")
    tree, files = JobInput("oss://b/x", "", []), JobInput("oss://b/y", "", ["a.png", "b.png"])
    with pytest.raises(errors.Collisions, match=r"oss://b/x/a\.jpg and oss://b/y/a\.png -> a\.jpg"):
        refuse_collisions([tree, files], [place, other], "jpeg")
    with pytest.raises(errors.Collisions, match=r"oss://b/y/a\.png and oss://b/z/a\.tif"):
        refuse_collisions([files, JobInput("oss://b/z", "", ["a.tif"])], [other, MemoryPlace()], "jpeg")
    with pytest.raises(errors.NotForJobs, match="2 INPUTs named x"):
        refuse_collisions([tree._replace(mirrored="x/")] * 2, [place, place], "jpeg")
    below = JobInput("oss://b/y/b", "b/", ["c.png", "e.png"])
    refuse_collisions([tree, below, JobInput("oss://b/y", "", ["b.png", "b.tif"])], [place, other, other], "jpeg")


def test_a_folder_has_one_name(folder, tmp_path):
    (tmp_path / "link").symlink_to("in")
    assert full_name(str(tmp_path / "link")) == full_name(folder + "/")
    assert full_name("oss://b/x/") == "oss://b/x"


def trees(*places):
    return [Input(place, f"{place.name}/") for place in places]


def test_what_there_is_instead_of_images():
    place = MemoryPlace("oss://b/x")
    place.put("a.txt", b"")
    with pytest.raises(errors.NothingFound, match=r"oss://b/x; there are: 1 \.txt"):
        refuse_nothing_found(trees(place), lambda key: ".txt", None, prune=True)
    refuse_nothing_found(trees(place), lambda key: None, None, prune=False)


def test_an_input_that_had_images_and_has_none_is_refused():
    """It may not be mounted: all that was made of it would be gone."""
    places = [MemoryPlace("a"), MemoryPlace("b")]
    places[0].put("x.jpg", b"")
    layers = Layers(MemoryPlace(), "job")
    made = Result(input=1, source="y.jpg", output="b/y.jpg", state="gone", size=1, mtime_ns=0)
    layers.write(1, 1, [made], Totals())
    inputs = trees(*places)
    with pytest.raises(errors.InputGone, match="the INPUT b "):
        refuse_nothing_found(inputs, lambda key: None, layers, prune=False)
    refuse_nothing_found(inputs, lambda key: None, layers, prune=True)
    refuse_nothing_found(inputs[:1], lambda key: None, layers, prune=False)
