"""What was found, held against the manifest: which image an input is, and whether there is work for it."""

import os

import pytest

from batchgray import errors
from batchgray.manifest.records import Image, Manifest
from batchgray.options import EngineOptions, PixelOptions, RunOptions
from batchgray.planning import reconcile
from batchgray.planning.discovery import Found, TakenName
from batchgray.planning.plan import Plan
from batchgray.records import InputVersion

NOW = InputVersion(5, 7)


@pytest.fixture
def inside(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def image(name, **fields):
    return Image(
        root=0, source=f"{name}.png", output=f"{name}.jpg", **{"size": NOW.size, "mtime_ns": NOW.mtime_ns, **fields}
    )


def done(name, **fields):
    return image(name, state="done", checksum=f"of {name}", output_size=4, **fields)


def plan_of(inside, *images):
    settings = {"run_id": "default", "options": PixelOptions(), "max_pixels": 9, "output_root": "."}
    manifest = Manifest(**settings, input_roots=[str(inside)], images=list(images))
    return Plan(inside.parent / "out" / "manifest.json", inside.parent / "out", manifest, resumed=True)


def found(inside, name, version=NOW, **fields):
    return Found(str(inside), f"{name}.png", f"{name}.png", version.size, version.mtime_ns, **fields)


def test_images_are_found_by_their_folder_and_name(inside):
    a, b, refused = image("a"), image("b"), Image(root=0, source="c/", output="", size=0, mtime_ns=0)
    manifest = plan_of(inside, a, b, refused).manifest
    assert reconcile.unfound_images(manifest, [found(inside, "a")]) == [b]
    assert reconcile.unfound_images(manifest, [found(inside.parent, "a")]) == [a, b]
    assert reconcile.earlier_names(manifest) == {(str(inside), "a.png"): "a.jpg", (str(inside), "b.png"): "b.jpg"}
    assert reconcile.earlier_names(None) == {}


def test_a_renamed_input_stays_its_image_only_if_it_is_the_same(inside):
    """`a.png` became `a.tif`, which comes out under the same name."""
    for version, follows in ((NOW, True), (InputVersion(6, 7), False), (InputVersion(5, 8), False)):
        plan = plan_of(inside, gone := done("a"))
        renamed = Found(str(inside), "a.tif", "a.tif", version.size, version.mtime_ns)
        unfound = reconcile.follow_renames(plan, [renamed], [(gone, None)])
        assert (unfound == [], gone.source) == ((True, "a.tif") if follows else (False, "a.png"))


def test_an_input_of_another_folder_is_never_a_renamed_one(inside):
    plan = plan_of(inside, gone := done("a"))
    other = Found(str(inside.parent / "other"), "a.tif", "a.tif", NOW.size, NOW.mtime_ns)
    assert reconcile.follow_renames(plan, [other], [(gone, None)]) == [(gone, None)]


def test_of_what_was_not_found_pending_work_that_was_left_out_goes(inside):
    plan = plan_of(inside, finished := done("a"), pending := image("b"), gone := image("c"))
    options = RunOptions(inputs=(inside,), out=plan.out, engine=EngineOptions(workers=1, memory=1))
    unfound = [(finished, NOW), (pending, NOW), (gone, None)]
    assert reconcile.keep_unfound(plan, options, unfound) == [(finished, NOW), (gone, None)]
    elsewhere = RunOptions(inputs=(inside.parent,), out=plan.out, engine=options.engine)
    assert reconcile.keep_unfound(plan, elsewhere, unfound) == [(finished, NOW), (gone, None)]
    other = RunOptions(inputs=(inside.parent / "other",), out=plan.out, engine=options.engine)
    assert reconcile.keep_unfound(plan, other, unfound) == unfound


def test_an_image_is_pruned_only_if_its_input_is_known_to_be_absent(inside):
    (inside / "link.png").symlink_to("nowhere")
    plan = plan_of(inside, absent := done("a"), unseen := done("link"))
    assert [reconcile.mark_pruned(plan, each) for each in (absent, unseen)] == [True, False]
    assert (plan.pruned, absent.state, unseen.state) == ([absent], "gone", "done")


def test_names_are_taken_by_what_is_there_and_by_what_was_made(inside):
    plan = plan_of(inside)
    there, made, begun, neither = image("a"), done("b"), image("c", state="partial"), image("d")
    kept = [(there, NOW), (made, None), (begun, None), (neither, None)]
    assert reconcile.taken_names(plan, kept) == [
        TakenName(str(inside / f"{name}.png"), f"{name}.jpg") for name in ("a", "b", "c")
    ]


def test_what_was_found_comes_before_what_is_kept_and_a_new_image_knows_the_output_that_is_there(inside):
    """An output that another image made earlier is batchgray's own, by its checksum."""
    plan = plan_of(inside, known := done("a"), replaced := done("b"), kept := done("c"))
    new = found(inside.parent / "more", "b")
    versions = reconcile.merge(
        plan, [found(inside, "a"), new], ["a.jpg", "b.jpg"], [(replaced, None), (kept, None)], False
    )
    first, second, third = plan.manifest.images
    assert (first, third, versions) == (known, kept, [NOW, NOW, None])
    assert (second.root, second.checksum, second.state) == (1, "of b", "pending")
    assert (plan.new, plan.new_outputs) == (1, {"b.jpg"})


def test_what_can_not_be_planned_is_an_image_that_failed(inside):
    plan = plan_of(inside)
    reconcile.merge(plan, [found(inside, "a", refused="its path is too long")], [""], [], False)
    assert [(each.state, each.error, each.output) for each in plan.manifest.images] == [
        ("failed", "its path is too long", "")
    ]


@pytest.mark.parametrize("state", ["pending", "partial", "done", "failed"])
@pytest.mark.parametrize("now", [NOW, InputVersion(6, 7), None])
def test_each_image_is_work_or_not(inside, state, now):
    plan = plan_of(inside, each := done("a", tiles_done=3))
    each.state, each.error = state, "truncated" if state == "failed" else None
    plan.out.mkdir()
    (plan.out / "a.jpg").touch()
    reconcile.classify(plan, [now])
    is_done = state == "done" and now == NOW
    assert plan.todo == ([] if is_done or now is None else [0])
    assert (plan.already_done, plan.newly_gone) == (int(is_done), [] if now else ["a.png"])
    assert plan.changed == (state in ("partial", "done") and now not in (NOW, None))
    expected = {NOW: "pending" if state == "failed" else state, None: "gone"}.get(now, "pending")
    assert (each.state, each.error, each.version) == (expected, None, now or NOW)


def test_a_done_image_whose_output_is_away_is_work(inside):
    plan = plan_of(inside, done("a"))
    reconcile.classify(plan, [NOW])
    assert (plan.todo, plan.missing, plan.already_done) == ([0], 1, 0)


def test_every_input_root_is_moved_or_none(inside, tmp_path):
    manifest = plan_of(inside).manifest
    reconcile.move_roots(manifest, [])
    assert manifest.input_roots == [str(inside)]
    with pytest.raises(errors.RootsMismatch):
        reconcile.move_roots(manifest, [tmp_path, tmp_path])
    reconcile.move_roots(manifest, [tmp_path])
    assert manifest.input_roots == [str(tmp_path)]


def test_an_output_whose_path_would_be_too_long_is_refused_with_its_input(inside):
    plan, long = plan_of(inside), "d" * 200
    name = "/".join([long] * (os.pathconf("/", "PC_PATH_MAX") // 200 + 1))
    items, outputs = [found(inside, "a"), found(inside, name)], ["a.jpg", f"{name}.jpg"]
    reconcile.mark_long_outputs(plan.out, items, outputs)
    assert (outputs, items[0].refused) == (["a.jpg", ""], None)
    assert "choose a shorter one" in items[1].refused
