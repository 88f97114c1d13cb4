"""What there is to do: only what is not really done, and everything that is not."""

import contextlib
import copy
import os

import pytest
from harness import deep_tree

from batchgray import errors, extras
from batchgray.options import EngineOptions, PixelOptions, ResumeOptions, RunOptions
from batchgray.planning.planner import plan_resume, plan_run
from batchgray.records import InputVersion

ENGINE = EngineOptions(workers=1, memory=1)


class World:
    """An input folder, an output folder, and the runs between them."""

    def __init__(self, folder):
        self.folder, self.inside, self.out = folder, folder / "in", folder / "out"
        self.unreachable = contextlib.ExitStack()
        self.inside.mkdir()
        self.out.mkdir()

    def put(self, *names):
        for name in names:
            path = self.inside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)

    def put_unreachable(self):
        """A folder that can't be walked, because its path is too long, until `unreachable` is closed."""
        self.unreachable.enter_context(deep_tree(self.inside / "deep", depth=30, name="d" * 200))

    def plan(self, previous=None, **options):
        known = {"inputs": (self.inside,), "out": self.out, "engine": ENGINE}
        return plan_run(RunOptions(**{**known, **options}), previous)

    def resume(self, previous, *roots, prune=False):
        path = self.out / "manifest.json"
        return plan_resume(ResumeOptions(manifest=path, engine=ENGINE, input_roots=roots, prune=prune), previous)

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
    made = World(tmp_path)
    with made.unreachable:
        yield made


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
    assert first.version == InputVersion(there.st_size, there.st_mtime_ns)


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
    world.put_unreachable()
    plan = world.plan()
    assert todo(plan) == ["good.png"]
    [refused] = [image for image in plan.manifest.images if image.source != "good.png"]
    assert (refused.state, refused.output, refused.resumable) == ("failed", "", False)
    assert "path is longer than" in refused.error


def test_an_image_whose_output_could_not_be_opened_is_failed_and_not_to_do(world):
    room = os.pathconf("/", "PC_PATH_MAX") - 1 - len(os.fsencode(world.out / "x.jpg")) + len("x")
    folders, rest = divmod(room, 101)
    fits = "/".join([*["d" * 100] * (folders - 1), "d" * rest, "e" * 100])
    world.inside = world.inside.rename(world.folder / "i")  # a shorter path than the output's
    world.put(f"{fits}.png", f"{fits}e.png", "good.png")
    plan = world.plan()
    assert sorted(todo(plan)) == [f"{fits}.png", "good.png"]
    refused = image(plan, f"{fits}e.png")
    assert (refused.state, refused.output) == ("failed", "")
    assert "choose a shorter one" in refused.error
    assert todo(world.plan(plan.manifest, out=world.folder / "o")) == sorted(
        [f"{fits}.png", f"{fits}e.png", "good.png"]
    )


def test_links_may_be_chained_longer_than_the_stack_is_deep(world):
    world.put("0.png", "good.png")
    for number in range(1, 1500):
        (world.inside / f"{number}.png").symlink_to(f"{number - 1}.png")
    plan = world.plan()
    assert len(plan.todo) == 1501
    assert image(plan, "30.png").size > 0
    assert image(plan, "1499.png").size == 0  # the system follows forty, and opening it will say so


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
    assert anew.version == InputVersion(path.stat().st_size, path.stat().st_mtime_ns)
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


@pytest.mark.parametrize("state", ["done", "partial", "pending", "failed"])
def test_an_input_that_is_gone_is_named_once_and_keeps_what_was_made_of_it(world, go_on, state):
    previous = world.finished("a.png", "b.png")
    previous.images[0].state, previous.images[0].tiles_done = state, 3
    previous.images[0].error = "truncated" if state == "failed" else None
    (world.inside / "a.png").rename(world.folder / "away")
    plan = go_on(previous)
    assert (plan.todo, plan.newly_gone) == ([], ["a.png"])
    assert states(plan) == {"a.png": "gone", "b.png": "done"}
    gone = image(plan, "a.png")
    assert (gone.was, gone.error) == ("pending" if state == "failed" else state, None)
    assert gone.checksum == "of a.png"
    again = go_on(plan.manifest)
    assert (again.todo, again.newly_gone, states(again)) == ([], [], states(plan))
    assert image(again, "a.png").was == gone.was
    assert (world.out / "a.jpg").exists()


def test_a_finished_input_that_comes_back_as_it_was_is_done_again(world, go_on):
    previous = world.finished("a.png", "b.png")
    (world.inside / "a.png").rename(world.folder / "away")
    previous = go_on(previous).manifest
    (world.folder / "away").rename(world.inside / "a.png")
    plan = go_on(previous)
    assert (plan.todo, plan.already_done, states(plan)) == ([], 2, {"a.png": "done", "b.png": "done"})
    assert image(plan, "a.png").was is None


def test_a_begun_input_that_comes_back_as_it_was_is_gone_on_with(world, go_on):
    previous = world.finished("a.png", "b.png")
    previous.images[0].state, previous.images[0].tiles_done = "partial", 3
    (world.inside / "a.png").rename(world.folder / "away")
    previous = go_on(previous).manifest
    (world.folder / "away").rename(world.inside / "a.png")
    plan = go_on(previous)
    assert todo(plan) == ["a.png"]
    assert (image(plan, "a.png").state, image(plan, "a.png").tiles_done) == ("partial", 3)


@pytest.mark.parametrize("how", ["another input", "another output"])
def test_an_input_that_comes_back_otherwise_is_made_anew(world, go_on, how):
    previous = world.finished("a.png", "b.png")
    (world.inside / "a.png").rename(world.folder / "away")
    previous = go_on(previous).manifest
    (world.folder / "away").rename(world.inside / "a.png")
    if how == "another input":
        (world.inside / "a.png").write_text("another and longer")
    else:
        (world.out / "a.jpg").unlink()
    plan = go_on(previous)
    assert (todo(plan), states(plan)) == (["a.png"], {"a.png": "pending", "b.png": "done"})
    assert (plan.changed, plan.missing) == ((1, 0) if how == "another input" else (0, 1))


def test_an_input_that_cannot_be_looked_at_loses_nothing(world, go_on):
    """As a folder without permission, or a link whose target is not mounted."""
    previous = world.finished("a.png", "b.png")
    (world.inside / "a.png").unlink()
    (world.inside / "a.png").symlink_to("not-mounted")
    plan = go_on(previous)
    assert (plan.todo, states(plan)) == ([], {"a.png": "gone", "b.png": "done"})
    assert image(plan, "a.png").was == "done"


def test_an_input_that_could_never_be_looked_at_is_tried_again(world, go_on):
    (world.inside / "link.png").symlink_to("nowhere")
    previous = world.finished("a.png")
    link = next(each for each in previous.images if each.source == "link.png")
    link.state, link.checksum, link.output_size, link.error = "failed", None, None, "no such file"
    plan = go_on(previous)
    assert (todo(plan), states(plan)) == (["link.png"], {"a.png": "done", "link.png": "pending"})


# pruned


def test_what_is_gone_is_forgotten_when_it_is_pruned(world, go_on):
    previous = world.finished("a.png", "b.png", "c.png")
    (world.inside / "a.png").unlink()
    (world.inside / "c.png").unlink()
    (world.inside / "c.png").symlink_to("not-mounted")
    plan = go_on(previous, prune=True)
    assert states(plan) == {"b.png": "done", "c.png": "gone"}
    assert [each.output for each in plan.pruned] == ["a.jpg"]
    assert (plan.todo, plan.already_done) == ([], 1)


def test_a_run_prunes_below_its_own_inputs_only(world):
    previous = world.finished("a.png", "b.png")
    more = world.folder / "more"
    more.mkdir()
    (more / "z.png").write_text("z")
    (world.inside / "a.png").unlink()
    plan = world.plan(previous, inputs=(more,), prune=True)
    assert (plan.pruned, states(plan)) == ([], {"z.png": "pending", "a.png": "gone", "b.png": "done"})


def test_a_pruned_input_gives_up_its_outputs_name(world):
    previous = world.finished("a.jpg", "b.png")
    (world.inside / "a.jpg").unlink()
    (world.inside / "a.jpeg").write_text("another and longer")
    plan = world.plan(previous, prune=True)
    assert image(plan, "a.jpeg").output == "a.jpg"
    assert [each.source for each in plan.pruned] == ["a.jpg"]


# an INPUT of which nothing is left


@pytest.fixture(params=["empty", "away", "a link that leads nowhere"])
def lost(request, world):
    """Make the input folder lose all that it had."""

    def lose():
        world.inside.rename(world.folder / "away")
        if request.param == "empty":
            world.inside.mkdir()
        elif request.param != "away":
            world.inside.symlink_to("not-mounted")

    return lose


def test_an_input_of_which_nothing_is_left_is_refused_with_what_to_do(world, go_on, lost):
    previous = world.finished("a.png", "b/c.png")
    lost()
    with pytest.raises((errors.InputGone, errors.MovedInputs), match=rf"{world.inside} held 2 images.*--prune"):
        go_on(copy.deepcopy(previous))
    plan = go_on(previous, prune=True)
    assert [each.output for each in plan.pruned] == ["a.jpg", "b/c.jpg"]
    assert (plan.manifest.images, plan.todo) == ([], [])


def test_a_file_that_was_named_and_is_gone_is_refused_as_any_input(world):
    world.put("a.png", "b.png")
    named = {"inputs": (world.inside / "a.png", world.inside / "b.png")}
    previous = world.finish(world.plan(**named))
    (world.inside / "a.png").unlink()
    with pytest.raises(errors.InputGone, match=r"in/a\.png held 1 image "):
        world.plan(copy.deepcopy(previous), **named)
    plan = world.plan(previous, prune=True, **named)
    assert states(plan) == {"b.png": "done"}


def test_a_misspelt_input_is_no_lost_one(world):
    previous = world.finished("a.png")
    for prune in (False, True):
        with pytest.raises(errors.NoSuchInput):
            world.plan(previous, inputs=(world.folder / "inn",), prune=prune)


def test_an_input_whose_images_are_left_out_is_not_lost(world):
    plan = world.plan(world.finished("a.png"), exclude=("*.png",))
    assert states(plan) == {"a.png": "done"}


def test_another_input_is_run_whether_the_first_one_is_there_or_not(world, lost):
    previous = world.finished("a.png", "b.png")
    more = world.folder / "more"
    more.mkdir()
    (more / "z.png").write_text("z")
    lost()
    plan = world.plan(previous, inputs=(more,))
    assert states(plan) == {"z.png": "pending", "a.png": "gone", "b.png": "gone"}
    world.finish(plan, "z.png")
    (world.out / "z.jpg").unlink()
    again = world.resume(copy.deepcopy(plan.manifest))
    assert todo(again) == ["z.png"]
    with pytest.raises(errors.InputGone):
        world.plan(plan.manifest)


def test_where_only_an_extra_is_missing_it_is_said_what_to_install(world, monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "heif", ("no_such_module", ""))
    world.put("a.heic", "b.txt")
    with pytest.raises(errors.NothingFound, match=r"1 \.txt; install batchgray\[heif\], which reads \.heic\. Check"):
        world.plan()


def test_no_image_at_all_is_refused_with_what_is_there_instead(world):
    with pytest.raises(errors.NothingFound, match="there is nothing"):
        world.plan()
    (world.inside / "e").mkdir()
    with pytest.raises(errors.NothingFound, match="there are: 1 folder without a file"):
        world.plan()
    world.put("a.txt", "b.txt", "c.mov", ".hidden.png", "d.gif", "e/f.gif")
    with pytest.raises(errors.NothingFound, match=r"2 \.txt, 1 \.mov, 2 left out by --include or --exclude, 1 hidden"):
        world.plan(exclude=("*.gif",))
    with pytest.raises(errors.NothingFound):
        world.plan(include=("*.jpg",), overwrite=True)
    (world.folder / "empty").mkdir()
    world.put("a.png")
    previous = world.finish(world.plan())
    with pytest.raises(errors.NothingFound, match="empty; there is nothing"):
        world.plan(copy.deepcopy(previous), inputs=(world.folder / "empty",))
    assert states(world.plan(previous, inputs=(world.folder / "empty", world.inside)))["a.png"] == "done"


def test_what_failed_is_tried_again(world, go_on):
    previous = world.finished("a.png", "b.png")
    previous.images[0].state, previous.images[0].error = "failed", "truncated"
    plan = go_on(previous)
    assert todo(plan) == ["a.png"]
    assert (image(plan, "a.png").state, image(plan, "a.png").error) == ("pending", None)
    assert plan.changed == 0


def test_what_could_not_be_planned_stays_failed(world, go_on):
    world.put_unreachable()
    plan = go_on(world.finished("a.png"))
    assert plan.todo == []
    assert sorted(states(plan).values()) == ["done", "failed"]


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


def test_what_is_done_keeps_its_name_where_another_does_not_want_it_any_more(world):
    """`a.jpg` would be `in/a.jpg` in a run of two INPUTs, and has been `a.jpg` since it was run alone."""
    (world.folder / "more").mkdir()
    (world.folder / "more" / "z.png").write_text("z")
    both = {"inputs": (world.inside, world.folder / "more")}
    world.put("a.png")
    previous = world.finish(world.plan(**both))
    world.put("a.jpg")
    previous = world.finish(world.plan(previous, exclude=("*.png",)))
    plan = world.plan(previous, **both)
    assert (plan.todo, plan.new) == ([], 0)
    assert {each.source: each.output for each in plan.manifest.images} == {
        "a.jpg": "a.jpg",
        "a.png": "in/a.jpg",
        "z.png": "more/z.jpg",
    }


def test_an_input_that_is_gone_keeps_its_output_name(world):
    previous = world.finished("a.png", "z.png")
    (world.inside / "a.png").unlink()
    world.put("a.webp")
    plan = world.plan(copy.deepcopy(previous))
    assert states(plan) == {"a.webp": "pending", "a.png": "gone", "z.png": "done"}
    assert (image(plan, "a.webp").output, image(plan, "a.png").output) == ("a.webp.jpg", "a.jpg")
    world.put("a.jpg")
    with pytest.raises(errors.TakenNames, match=r"in/a\.png and .*in/a\.jpg -> a\.jpg"):
        world.plan(previous)


def test_an_input_that_is_gone_and_was_never_begun_holds_no_name(world):
    world.put("a.png", "z.png")
    previous = world.finish(world.plan(), "z.png")
    (world.inside / "a.png").unlink()
    world.put("a.jpg")
    assert states(world.plan(previous)) == {"a.jpg": "pending", "z.png": "done"}


@pytest.mark.parametrize("state", ["done", "partial"])
def test_an_input_that_was_renamed_and_comes_out_under_the_same_name_is_the_same_image(world, state):
    previous = world.finished("a.JPG", "z.png")
    previous.images[0].state = state
    (world.inside / "a.JPG").rename(world.inside / "a.jpg")
    plan = world.plan(previous)
    assert states(plan) == {"a.jpg": state, "z.png": "done"}
    assert plan.new == 0


def test_an_input_folder_that_is_named_by_another_path_has_the_same_images(world):
    previous = world.finished("a.jpg", "b.png", "sub/c.png")
    link = world.folder / "link"
    link.symlink_to(world.inside)
    plan = world.plan(previous, inputs=(link,))
    assert (plan.new, plan.todo, plan.already_done) == (0, [], 3)
    assert {plan.source_path(each) for each in plan.manifest.images} == {
        f"{link}/{name}" for name in ("a.jpg", "b.png", "sub/c.png")
    }


@pytest.mark.parametrize("there", [True, False])
def test_another_folders_input_never_takes_an_output_name_that_is_not_free(world, there):
    """As with `run day1 --out gray`, and then `run day2 --out gray`."""
    previous = world.finished("a.jpg", "b.png", "c.png")
    other = world.folder / "other"
    other.mkdir()
    if not there:
        world.inside.rename(world.folder / "away")
    for name, holder in (("a.jpg", "a.jpg"), ("b.png", "b.png"), ("b.jpg", "b.png"), ("a.jpeg", "a.jpg")):
        (other / name).write_text("z")
        with pytest.raises(errors.TakenNames, match=rf"{world.inside}/{holder} and {other}/{name} -> "):
            world.plan(copy.deepcopy(previous), inputs=(other,))
        (other / name).unlink()
    for name in ("a.png", "c.tif", "d.jpg"):
        (other / name).write_text("z")
    plan = world.plan(previous, inputs=(other,))
    assert {each.source: each.output for each in plan.manifest.images if each.state == "pending"} == {
        "a.png": "a.png.jpg",
        "c.tif": "c.tif.jpg",
        "d.jpg": "d.jpg",
    }


@pytest.mark.parametrize("way", ["itself", "a linked folder", "a link to it"])
def test_a_manifest_is_never_an_input(world, way):
    world.put("a.png", "b.png")
    manifest = world.inside / "b.png"
    inputs = (world.inside,)
    if way == "a linked folder":
        (world.folder / "link").symlink_to(world.inside)
        manifest = world.folder / "link" / "b.png"
    elif way == "a link to it":
        (world.folder / "c.png").symlink_to(manifest)
        inputs = (world.inside / "a.png", world.folder / "c.png")
    for overwrite in (False, True):
        with pytest.raises(errors.ManifestIsInput, match=r"b\.png is an INPUT"):
            world.plan(inputs=inputs, manifest=manifest, overwrite=overwrite)


def test_an_input_is_no_output_whatever_links_lead_there(world):
    """An output of one INPUT lies where another one, through a link, has its input."""
    (world.out / "sub").mkdir()
    (world.out / "sub" / "p.jpg").write_text("mine")
    (world.folder / "alias").symlink_to(world.out / "sub")
    world.put("sub/p.png")
    with pytest.raises(errors.OutputIsSource, match=r"out/sub/p\.jpg"):
        world.plan(inputs=(world.folder / "alias", world.inside / "sub"), overwrite=True)
    (world.folder / "l.jpg").symlink_to(world.out / "sub" / "p.jpg")
    with pytest.raises(errors.OutputIsSource, match=r"out/sub/p\.jpg"):
        world.plan(inputs=(world.folder / "l.jpg", world.inside), overwrite=True)


def test_a_refused_input_that_was_mended_leaves_nothing_of_the_refusal(world):
    world.put_unreachable()
    previous = world.finished("a.png")
    world.unreachable.close()
    world.put("bad.png")
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
    (world.folder / "elsewhere").mkdir()
    with pytest.raises(errors.MovedInputs, match=r"elsewhere held 2 images, and now there is none"):
        world.resume(copy.deepcopy(previous), world.folder / "elsewhere")
    (world.folder / "elsewhere" / "a.png").write_text("another and longer")
    with pytest.raises(errors.OtherInputs, match=r"elsewhere is another folder than .*in was: of 1 image .*, 1 are"):
        world.resume(copy.deepcopy(previous), world.folder / "elsewhere")
    for wrong in ("elsewhere", "nowhere"):
        with pytest.raises((errors.MovedInputs, errors.OtherInputs)):
            world.resume(copy.deepcopy(previous), world.folder / wrong, prune=True)
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
    world.put_unreachable()
    assert todo(world.resume(world.plan().manifest)) == ["a.png"]


def test_known_inputs_that_are_left_out_now_are_no_work_any_more(world):
    """Whoever adds an --exclude means the images that are still to come, too; what is done stays."""
    world.put("a.png", "b.png", "b-done.png")
    previous = world.finish(world.plan(), "b-done.png")
    plan = world.plan(previous, exclude=("b*",))
    assert todo(plan) == ["a.png"]
    assert states(plan) == {"a.png": "pending", "b-done.png": "done"}
