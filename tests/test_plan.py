"""What there is to do: only what is not really done, and everything that is not."""

import copy
import os

import pytest

from batchgray import errors
from batchgray.messages import SourceIdentity
from batchgray.options import EngineOptions, PixelOptions, ResumeOptions, RunOptions
from batchgray.plan import plan_resume, plan_run

ENGINE = EngineOptions(workers=1, memory=1)


class World:
    """An input folder, an output folder, and the runs between them."""

    def __init__(self, folder):
        self.folder, self.inside, self.out = folder, folder / "in", folder / "out"
        self.inside.mkdir()
        self.out.mkdir()

    def put(self, *names):
        for name in names:
            path = self.inside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)

    def plan(self, previous=None, **options):
        known = {"inputs": (self.inside,), "out": self.out, "engine": ENGINE}
        return plan_run(RunOptions(**{**known, **options}), previous)

    def resume(self, previous, *roots):
        path = self.out / "manifest.json"
        return plan_resume(ResumeOptions(manifest=path, engine=ENGINE, input_roots=roots), previous)

    def finish(self, plan, *sources):
        """Convert what is to do (or only these), and return the manifest."""
        for image in plan.manifest.images:
            if image.output and (image.source in sources or not sources):
                path = plan.out / image.output
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("gray")
                image.state, image.checksum, image.output_size = "done", f"of {image.source}", 4
                image.error, image.mend = None, False
        return plan.manifest

    def finished(self, *names):
        self.put(*names)
        return self.finish(self.plan())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def todo(plan):
    return [plan.manifest.images[index].source for index in plan.todo]


def states(plan):
    return {image.source: image.state for image in plan.manifest.images}


def image(plan, source):
    return next(image for image in plan.manifest.images if image.source == source)


# afresh


def test_a_first_run_has_everything_to_do(world):
    world.put("b.png", "a/c.jpg")
    plan = world.plan(max_pixels=77)
    assert todo(plan) == ["a/c.jpg", "b.png"]
    assert (plan.new, plan.changed, plan.missing, plan.already_done, plan.resumed) == (2, 0, 0, 0, False)
    assert (plan.out, plan.path) == (world.out, world.out / "manifest.json")
    assert plan.source_path(image(plan, "a/c.jpg")) == str(world.inside / "a" / "c.jpg")
    manifest = plan.manifest
    assert (manifest.input_roots, manifest.output_root, manifest.max_pixels) == ([str(world.inside)], ".", 77)
    first = manifest.images[0]
    there = (world.inside / "a" / "c.jpg").stat()
    assert (first.root, first.output, first.state, first.mend) == (0, "a/c.jpg", "pending", False)
    assert first.identity == SourceIdentity(there.st_size, there.st_mtime_ns)


def test_planning_touches_nothing(world):
    world.put("a.png")
    world.out.rmdir()
    world.plan()
    assert not world.out.exists()


def test_an_output_that_merely_exists_is_not_done(world):
    world.put("a.png")
    (world.out / "a.jpg").write_text("somebody's")
    plan = world.plan()
    assert todo(plan) == ["a.png"]
    assert image(plan, "a.png").checksum is None


def test_what_cannot_be_planned_is_failed_and_not_to_do(world):
    world.put("good.png")
    (world.inside / os.fsdecode(b"bad\xff.png")).write_bytes(b"")
    plan = world.plan()
    assert todo(plan) == ["good.png"]
    refused = image(plan, "bad\\xff.png")
    assert (refused.state, refused.output, refused.resumable) == ("failed", "", False)
    assert "UTF-8" in refused.error


def test_collisions_and_missing_inputs_are_refused(world):
    world.put("a.jpg", "a.jpeg")
    with pytest.raises(errors.Collisions):
        world.plan()
    with pytest.raises(errors.NoSuchInput):
        world.plan(inputs=(world.folder / "nothing",))


def test_globs_and_ignored_types_reach_the_plan(world):
    world.put("a.png", "b.png", "c.txt", "d.jpg")
    plan = world.plan(include=("*.png",), exclude=("b.*",))
    assert todo(plan) == ["a.png"]
    assert plan.ignored == {".txt": 1}


def test_a_manifest_elsewhere_knows_its_output_folder_and_has_a_flight_folder_of_its_own(world):
    world.put("a.png")
    usual, elsewhere = world.plan(), world.plan(manifest=world.folder / "m.json")
    assert elsewhere.path == world.folder / "m.json"
    assert elsewhere.manifest.output_root == str(world.out)
    assert elsewhere.manifest.output_folder(elsewhere.path) == world.out
    assert elsewhere.flight != usual.flight
    assert elsewhere.flight.parent == usual.flight.parent == world.out / ".batchgray"


def test_overwriting_starts_afresh_over_whatever_is_there(world):
    world.finished("a.png")
    plan = world.plan(None, overwrite=True)
    assert todo(plan) == ["a.png"]
    assert image(plan, "a.png").mend


# going on, by run and by resume


@pytest.fixture(params=["run", "resume"])
def go_on(request, world):
    """Either way to go on with a manifest."""
    return world.plan if request.param == "run" else world.resume


def test_what_is_done_and_still_the_same_is_left_alone(world, go_on):
    plan = go_on(world.finished("a.png", "b.png"))
    assert plan.todo == []
    assert (plan.already_done, plan.new, plan.changed, plan.missing, plan.resumed) == (2, 0, 0, 0, True)
    assert image(plan, "a.png").checksum == "of a.png"


def test_what_was_not_done_is_gone_on_with(world, go_on):
    world.put("a.png", "b.png", "c.png")
    previous = world.finish(world.plan(), "b.png")
    begun = previous.images[0]
    begun.state, begun.tiles_done, begun.tiles_total = "partial", 3, 8
    plan = go_on(previous)
    assert todo(plan) == ["a.png", "c.png"]
    assert plan.already_done == 1
    assert (image(plan, "a.png").state, image(plan, "a.png").tiles_done) == ("partial", 3)
    assert (plan.new, plan.changed, plan.missing) == (0, 0, 0)


@pytest.mark.parametrize("how", ["size", "mtime"])
@pytest.mark.parametrize("state", ["done", "partial"])
def test_what_changed_is_made_anew(world, go_on, how, state):
    previous = world.finished("a.png", "b.png")
    previous.images[0].state, previous.images[0].tiles_done, previous.images[0].note = state, 3, "of the old one"
    path = world.inside / "a.png"
    if how == "size":
        path.write_text("another and longer")
        os.utime(path, ns=(1, previous.images[0].mtime_ns))
    else:
        os.utime(path, ns=(1, 1))
    plan = go_on(previous)
    assert todo(plan) == ["a.png"]
    assert (plan.changed, plan.missing, plan.already_done) == (1, 0, 1)
    anew = image(plan, "a.png")
    assert (anew.state, anew.tiles_done, anew.note) == ("pending", 0, None)
    assert anew.identity == SourceIdentity(path.stat().st_size, path.stat().st_mtime_ns)
    assert anew.checksum == "of a.png", "else its own earlier output would be taken for a stranger's"


def test_a_pending_image_that_changed_is_nothing_to_tell_of(world, go_on):
    world.put("a.png")
    previous = world.plan().manifest
    (world.inside / "a.png").write_text("another and longer")
    plan = go_on(previous)
    assert (todo(plan), plan.changed) == (["a.png"], 0)
    assert image(plan, "a.png").size == len("another and longer")


def test_what_lost_its_output_is_made_anew(world, go_on):
    previous = world.finished("a.png", "b.png")
    (world.out / "a.jpg").unlink()
    plan = go_on(previous)
    assert todo(plan) == ["a.png"]
    assert (plan.changed, plan.missing, plan.already_done) == (0, 1, 1)
    assert image(plan, "a.png").state == "pending"


@pytest.mark.parametrize(("state", "told"), [("done", "its finished output stays"), ("pending", "vanished")])
def test_what_vanished_is_failed_with_its_reason(world, go_on, state, told):
    previous = world.finished("a.png", "b.png")
    previous.images[0].state = state
    (world.inside / "a.png").unlink()
    plan = go_on(previous)
    assert plan.todo == []
    assert states(plan) == {"a.png": "failed", "b.png": "done"}
    assert told in image(plan, "a.png").error
    assert (world.out / "a.jpg").exists()


def test_what_vanished_and_came_back_is_to_do(world, go_on):
    previous = world.finished("a.png", "b.png")
    (world.inside / "a.png").rename(world.folder / "away")
    previous = go_on(previous).manifest
    (world.folder / "away").rename(world.inside / "a.png")
    plan = go_on(previous)
    assert todo(plan) == ["a.png"]
    assert image(plan, "a.png").error is None


def test_what_failed_is_tried_again(world, go_on):
    previous = world.finished("a.png", "b.png")
    previous.images[0].state, previous.images[0].error = "failed", "truncated"
    plan = go_on(previous)
    assert todo(plan) == ["a.png"]
    assert (image(plan, "a.png").state, image(plan, "a.png").error) == ("pending", None)
    assert plan.changed == 0


def test_what_could_not_be_planned_stays_failed(world, go_on):
    (world.inside / os.fsdecode(b"bad\xff.png")).write_bytes(b"")
    plan = go_on(world.finished("a.png"))
    assert plan.todo == []
    assert states(plan) == {"a.png": "done", "bad\\xff.png": "failed"}


# run again


def test_a_new_input_is_picked_up_by_a_run_and_not_by_a_resume(world):
    previous = world.finished("b.png")
    world.put("a.png")
    assert todo(world.resume(copy.deepcopy(previous))) == []
    plan = world.plan(previous)
    assert todo(plan) == ["a.png"]
    assert (plan.new, plan.already_done) == (1, 1)
    assert states(plan) == {"a.png": "pending", "b.png": "done"}


def test_a_run_into_another_input_keeps_what_it_had(world):
    previous = world.finished("a.png")
    (world.folder / "more").mkdir()
    (world.folder / "more" / "z.png").write_text("z")
    plan = world.plan(previous, inputs=(world.folder / "more",))
    assert todo(plan) == ["z.png"]
    assert states(plan) == {"a.png": "done", "z.png": "pending"}
    assert plan.manifest.input_roots == [str(world.inside), str(world.folder / "more")]
    assert plan.source_path(image(plan, "z.png")) == str(world.folder / "more" / "z.png")


def test_an_input_that_takes_over_an_output_name_may_replace_what_batchgray_put_there(world):
    previous = world.finished("a.png")
    world.put("a.jpg")
    plan = world.plan(previous)
    assert {image.source: image.output for image in plan.manifest.images} == {"a.jpg": "a.jpg", "a.png": "a.png.jpg"}
    assert sorted(todo(plan)) == ["a.jpg", "a.png"]
    assert image(plan, "a.jpg").checksum == "of a.png"
    assert image(plan, "a.png").checksum is None


def test_an_input_that_is_gone_gives_up_its_output_name_to_a_new_one(world):
    previous = world.finished("a.png", "z.png")
    (world.inside / "a.png").rename(world.inside / "a.webp")
    plan = world.plan(previous)
    assert states(plan) == {"a.webp": "pending", "z.png": "done"}
    assert (image(plan, "a.webp").output, image(plan, "a.webp").checksum) == ("a.jpg", "of a.png")


def test_a_refused_input_that_was_mended_leaves_nothing_of_the_refusal(world):
    bad = world.inside / os.fsdecode(b"bad\xff.png")
    bad.write_bytes(b"")
    previous = world.finished("a.png")
    bad.rename(world.inside / "bad.png")
    assert states(world.plan(previous)) == {"a.png": "done", "bad.png": "pending"}


def test_a_run_may_raise_the_limit_of_pixels(world):
    previous = world.finished("a.png")
    assert world.plan(previous, max_pixels=99).manifest.max_pixels == 99


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"method": "bt709"}, "--method bt601"),
        ({"format": "png"}, "--format jpeg"),
        ({"quality": 76}, "--quality 75"),
        ({"tile_rows": 8}, "--tile-rows auto"),
        ({"metadata": "strip"}, "--metadata keep"),
    ],
)
def test_other_pixel_options_are_refused_and_the_manifests_are_named(world, other, told):
    previous = world.finished("a.png")
    with pytest.raises(errors.OptionsDiffer, match=told):
        world.plan(previous, pixels=PixelOptions(**other))


def test_an_output_folder_that_is_an_input_is_refused(world):
    world.out = world.inside
    with pytest.raises(errors.OutputIsInput):
        world.plan()


# inputs and outputs that moved


def test_inputs_that_moved_are_found_where_they_are_said_to_be(world):
    world.put("a.png", "b.png")
    previous = world.finish(world.plan(), "a.png")
    moved = world.inside.rename(world.folder / "moved")
    with pytest.raises(errors.MovedInputs, match=str(world.inside)):
        world.resume(copy.deepcopy(previous))
    with pytest.raises(errors.MovedInputs, match="elsewhere"):
        world.resume(copy.deepcopy(previous), world.folder / "elsewhere")
    plan = world.resume(copy.deepcopy(previous), moved)
    assert todo(plan) == ["b.png"]
    assert plan.source_path(image(plan, "b.png")) == str(moved / "b.png")
    assert (plan.changed, plan.already_done) == (0, 1)


def test_every_input_folder_needs_a_new_place_in_the_same_order(world):
    (world.folder / "more").mkdir()
    (world.folder / "more" / "z.png").write_text("z")
    world.put("a.png")
    previous = world.plan(inputs=(world.inside, world.folder / "more")).manifest
    with pytest.raises(errors.RootsMismatch, match=r"2 input folders .* given for 1"):
        world.resume(previous, world.inside)


def test_an_output_folder_that_is_gone_is_refused_by_name(world):
    previous = world.finished("a.png")
    previous.output_root = str(world.folder / "unmounted")
    with pytest.raises(errors.MovedOutput, match="unmounted"):
        world.resume(previous)


def test_an_output_folder_may_move_with_its_manifest(world):
    previous = world.finished("a.png")
    world.out = world.out.rename(world.folder / "moved")
    plan = world.resume(previous)
    assert (plan.out, plan.already_done) == (world.folder / "moved", 1)


def test_an_input_folder_with_an_unprintable_name_and_a_refused_file_can_be_resumed(world):
    world.inside = world.inside.rename(world.folder / "照片\u3000二")
    world.put("a.png")
    (world.inside / os.fsdecode(b"bad\xff.png")).write_bytes(b"")
    assert todo(world.resume(world.plan().manifest)) == ["a.png"]


def test_known_inputs_that_are_left_out_now_are_no_work_any_more(world):
    """Whoever adds an --exclude means the images that are still to come, too; what is done stays."""
    world.put("a.png", "b.png", "b-done.png")
    previous = world.finish(world.plan(), "b-done.png")
    plan = world.plan(previous, exclude=("b*",))
    assert todo(plan) == ["a.png"]
    assert states(plan) == {"a.png": "pending", "b-done.png": "done"}
