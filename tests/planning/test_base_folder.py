"""`--base`: where an input comes out is its path below the base, however it was named."""

import os
from pathlib import Path

import pytest

from batchgray import errors
from batchgray.options import ResumeOptions, RunOptions
from batchgray.planning.base_folder import below_base, path_below
from batchgray.planning.planner import plan_resume, plan_run

NOT_UTF8 = os.fsdecode(b"\xff")


@pytest.fixture
def base(tmp_path):
    for name in ("a/x.png", "a/b/y.png", f"a/{NOT_UTF8}/z.png", "c/x.png"):
        path = tmp_path / "base" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    (tmp_path / "out").mkdir()
    return tmp_path / "base"


def plan(base, /, *names, previous=None, **options):
    inputs = [base / name for name in names]
    return plan_run(RunOptions(**{"inputs": inputs, "out": base.parent / "out", "base": base, **options}), previous)


def outputs(made):
    return sorted(image.output for image in made.manifest.images)


def finish(made):
    for image in made.manifest.images:
        path = made.out / image.output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("gray")
        image.state, image.checksum, image.output_size = "done", f"of {image.source}", 4
    return made.manifest


def test_a_path_is_below_a_base_by_whole_parts():
    assert path_below("/a", "/a") == ""
    assert path_below("/a", "/a/b/c") == "b/c"
    assert path_below("/a", "/ab") is None
    assert path_below("/a/b", "/a") is None
    assert path_below("/", "/a/b") == "a/b"


def test_without_a_base_options_stay_as_they_are(tmp_path):
    options = RunOptions(inputs=(tmp_path,), out=tmp_path / "out")
    assert below_base(options) is options


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["."], ["a/b/y.jpg", "a/x.jpg", f"a/{NOT_UTF8}/z.jpg", "c/x.jpg"]),
        (["a"], ["a/b/y.jpg", "a/x.jpg", f"a/{NOT_UTF8}/z.jpg"]),
        (["a/b", "c"], ["a/b/y.jpg", "c/x.jpg"]),
        (["a/x.png", "c/x.png", f"a/{NOT_UTF8}/z.png"], ["a/x.jpg", f"a/{NOT_UTF8}/z.jpg", "c/x.jpg"]),
        (["a/b/y.png", "c"], ["a/b/y.jpg", "c/x.jpg"]),
        (["c", "c/x.png", "c/../c/x.png"], ["c/x.jpg"]),
    ],
)
def test_folders_and_files_keep_their_path_below_it(base, names, expected):
    assert outputs(plan(base, *names)) == expected


def test_relative_names_are_against_the_working_folder(base, monkeypatch):
    monkeypatch.chdir(base / "a")
    made = plan_run(
        RunOptions(inputs=["x.png", "../c/x.png", "b"], out=base.parent / "out", base=".."),
        None,
    )
    assert outputs(made) == ["a/b/y.jpg", "a/x.jpg", "c/x.jpg"]


@pytest.mark.parametrize("named", ["the folder", "the file", "the base"])
def test_a_link_above_is_no_other_place(base, named):
    """`link` leads to the base: an input through it is the same input, and is taken once."""
    link = base.parent / "link"
    link.symlink_to("base")
    if named == "the base":
        made = plan(base, "a/x.png", "c", base=link)
    else:
        inputs = [link / ("c" if named == "the folder" else "c/x.png"), base / "c" / "x.png", base / "a" / "x.png"]
        made = plan_run(RunOptions(inputs=inputs, out=base.parent / "out", base=base), None)
    assert outputs(made) == ["a/x.jpg", "c/x.jpg"]


def test_a_link_below_it_keeps_its_own_name(base):
    (base / "linked").symlink_to("c")
    (base / "linked.png").symlink_to("c/x.png")
    assert outputs(plan(base, "linked", "linked.png")) == ["linked.jpg", "linked/x.jpg"]


@pytest.mark.parametrize("name", [".", "other", "other/x.png", "bases/x.png", "missing"])
def test_what_is_not_below_it_is_refused_by_its_name(base, name):
    (base.parent / "other").mkdir()
    (base.parent / "other" / "x.png").write_text("x")
    given = base.parent / name
    with pytest.raises(errors.NotBelowBase) as refused:
        plan_run(RunOptions(inputs=[base / "a", given], out=base.parent / "out", base=base), None)
    assert f"{given} is not below --base {base}" in str(refused.value)


@pytest.mark.parametrize("name", ["missing", "a/x.png"])
def test_a_base_is_a_folder(base, name):
    with pytest.raises(errors.BaseNotFolder, match=name):
        plan(base, "a", base=base / name)


def test_an_image_has_one_output_whatever_base_and_inputs_it_is_named_by_later(base):
    """Once made, it keeps its name: under another it would be there twice."""
    flat = plan(base, "a/x.png", base=None)
    assert outputs(flat) == ["x.jpg"]
    manifest = finish(flat)
    for names, options in (
        (["a/x.png"], {}),
        (["a"], {}),
        (["a"], {"base": None}),
        (["."], {"base": None}),
        (["a/x.png", "a/b"], {"base": base / "a"}),
        (["a/x.png"], {"base": base.parent}),
    ):
        again = plan(base, *names, previous=manifest, **options)
        assert (base.parent / "out" / "x.jpg").exists()
        paths = [again.source_path(image) for image in again.manifest.images]
        assert len(paths) == len(set(paths))
        assert "x.jpg" in outputs(again)
        assert str(base / "a" / "x.png") not in {paths[index] for index in again.todo}
        manifest = finish(again)


def test_another_base_never_takes_a_name_that_another_input_has(base):
    """`c/x.png` would be `x.jpg` below `c`, as `a/x.png` is below `a`."""
    manifest = finish(plan(base, "a/x.png", base=base / "a"))
    with pytest.raises(errors.TakenNames):
        plan(base, "c/x.png", base=base / "c", previous=manifest)


def test_listed_files_have_one_root_which_can_move(base):
    made = plan(base, "a/x.png", "a/b/y.png", "c/x.png")
    assert made.manifest.input_roots == [str(base)]
    moved = base.rename(base.parent / "moved")
    made.manifest.output_root = str(base.parent / "out")
    options = ResumeOptions(manifest=base.parent / "out" / "manifest.json", input_roots=[moved])
    resumed = plan_resume(options, made.manifest)
    assert [resumed.source_path(image) for image in resumed.manifest.images] == [
        str(moved / name) for name in ("a/x.png", "a/b/y.png", "c/x.png")
    ]
    assert len(resumed.todo) == 3


def test_roots_that_no_image_is_in_any_more_are_forgotten(base):
    """Else `--input-root` would have to tell of them too."""
    first = plan(base, "a/x.png", "a/b/y.png", base=None)
    assert first.manifest.input_roots == [str(base / "a"), str(base / "a" / "b")]
    again = plan(base, "a/x.png", "a/b/y.png", previous=finish(first))
    assert again.manifest.input_roots == [str(base)]
    assert not again.todo


def test_an_input_below_it_that_has_emptied_is_refused(base):
    manifest = finish(plan(base, "a", "c"))
    (base / "c" / "x.png").unlink()
    with pytest.raises(errors.InputGone, match="now there is none"):
        plan(base, "a", "c", previous=manifest)
    Path(base / "c").rmdir()
    with pytest.raises(errors.InputGone, match="reached"):
        plan(base, "a", "c", previous=manifest)
