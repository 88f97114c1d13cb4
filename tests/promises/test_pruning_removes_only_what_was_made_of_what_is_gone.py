"""--prune removes the outputs of inputs that are gone, if they are as they were made, and nothing else.

If this broke, somebody who tidies up would lose a picture that they had retouched, or that can't be made any more.
"""

import errno

import pytest
from harness import Running, batchgray, events_of, leftovers, manifest_of, named, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "sub/b.png", "sub/c.png", "d.png"):
        save_gradient(tmp_path / "in" / name, 90, 70, seed=len(name))
    return tmp_path / "in"


@pytest.fixture
def out(pictures, tmp_path):
    batchgray("run", pictures, "--out", tmp_path / "out", "--progress", "none")
    return tmp_path / "out"


def go_on(verb, pictures, out, *arguments):
    source = ("run", pictures, "--out", out) if verb == "run" else ("resume", out)
    events = events_of(batchgray(*source, "--prune", *arguments, "--progress", "json").stdout)
    return named(events, "summary")[0], [event["message"] for event in named(events, "warned")]


def sources(out):
    return {image["source"] for image in manifest_of(out)["images"]}


@pytest.mark.parametrize("verb", ["run", "resume"])
def test_what_is_as_it_was_made_goes_and_what_is_not_stays(pictures, out, verb):
    for name in ("a.png", "sub/b.png", "sub/c.png"):
        (pictures / name).unlink()
    (out / "a.jpg").write_bytes(b"retouched")
    (out / "mine.jpg").write_bytes(b"mine")
    summary, warned = go_on(verb, pictures, out)
    assert warned == ["a.jpg is not as it was made, and stays; its input is gone"]
    assert (summary["pruned"], summary["gone"], summary["done"], summary["newly_gone"]) == (2, 0, 1, [])
    assert sorted(tree(out)) == ["a.jpg", "d.jpg", "mine.jpg"]
    assert (out / "a.jpg").read_bytes() == b"retouched"
    assert not (out / "sub").exists()
    assert sources(out) == {"d.png"}


@pytest.mark.parametrize("verb", ["run", "resume"])
def test_an_input_that_has_nothing_any_more_is_accepted(pictures, out, verb):
    pictures.rename(pictures.with_name("elsewhere"))
    summary, _ = go_on(verb, pictures, out)
    assert (summary["pruned"], summary["total"], tree(out)) == (4, 0, {})
    batchgray("report", out)
    assert "0 of 0 images done" in batchgray("status", out).stdout
    if verb == "resume":
        assert go_on(verb, pictures, out)[0]["state"] == "complete"


def test_what_was_gone_before_goes_too(pictures, out):
    (pictures / "a.png").unlink()
    batchgray("run", pictures, "--out", out, "--progress", "none")
    assert (out / "a.jpg").exists()
    plan = batchgray("run", pictures, "--out", out, "--prune", "--dry-run").stdout
    assert "1 gone and to be pruned. Nothing was touched." in plan
    assert (out / "a.jpg").exists()
    assert go_on("run", pictures, out)[0]["pruned"] == 1
    assert not (out / "a.jpg").exists()


def test_what_was_made_of_another_input_stays(pictures, out, tmp_path):
    more = save_gradient(tmp_path / "more" / "z.png", 50, 50).parent
    pictures.rename(pictures.with_name("elsewhere"))
    summary, _ = go_on("run", more, out)
    assert (summary["pruned"], summary["gone"], summary["done"]) == (0, 4, 1)
    assert sorted(tree(out)) == ["a.jpg", "d.jpg", "sub/b.jpg", "sub/c.jpg", "z.jpg"]


def test_a_link_in_place_of_an_output_leads_to_nothing_that_is_removed(pictures, out, tmp_path):
    (out / "a.jpg").rename(tmp_path / "target.jpg")
    (out / "a.jpg").symlink_to(tmp_path / "target.jpg")
    (out / "sub").rename(tmp_path / "target")
    (out / "sub").symlink_to(tmp_path / "target")
    for name in ("a.png", "sub/b.png"):
        (pictures / name).unlink()
    summary, warned = go_on("run", pictures, out)
    assert (summary["pruned"], len(warned)) == (0, 2)
    assert (tmp_path / "target.jpg").exists()
    assert (out / "a.jpg").is_symlink()
    assert sorted(tree(tmp_path / "target")) == ["b.jpg", "c.jpg"]


def test_what_can_not_be_removed_is_not_forgotten(pictures, out, tmp_path):
    for name in ("a.png", "sub/b.png"):
        (pictures / name).unlink()
    recording = Recording(tmp_path / "record", Rule("unlink", r"/out/a\.jpg$", error=errno.EACCES))
    done = batchgray("run", pictures, "--out", out, "--prune", env=recording.environment).stdout
    assert "warning: a.jpg can't be removed: Permission denied; its input is gone" in done
    assert "Removed because the input is gone: 1." in done
    assert {image["source"]: image["state"] for image in manifest_of(out)["images"]} == {
        "d.png": "done",
        "sub/c.png": "done",
        "a.png": "gone",
    }
    assert go_on("run", pictures, out)[0]["pruned"] == 1
    assert sources(out) == {"d.png", "sub/c.png"}


def test_a_begun_image_leaves_nothing(tmp_path):
    pictures, out = tmp_path / "in", tmp_path / "out"
    save_gradient(pictures / "big.jpg", 400, 1000, quality=90)
    save_gradient(pictures / "small.jpg", 40, 40)
    recording = Recording(tmp_path / "record", Rule("tile", r"^big\.jpg$", after=3))
    arguments = ("run", pictures, "--out", out, "--tile-rows", 64, "--workers", 1)
    with Running(*arguments, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert (out / "big.partial.jpg").exists()
    (pictures / "big.jpg").unlink()
    summary, _ = go_on("resume", pictures, out)
    assert (summary["state"], summary["done"], summary["pruned"]) == ("complete", 1, 0)
    assert (sorted(tree(out)), leftovers(out)) == (["small.jpg"], [])
    assert sources(out) == {"small.jpg"}


def test_a_kill_between_the_files_and_the_manifest_is_made_good(pictures, out, tmp_path):
    (pictures / "a.png").unlink()
    recording = Recording(tmp_path / "record", Rule("unlink", r"/out/a\.jpg$"))
    with Running("run", pictures, "--out", out, "--prune", env=recording.environment) as run:
        wait_for_stopped(run)
    assert not (out / "a.jpg").exists()
    assert sources(out) == {"a.png", "d.png", "sub/b.png", "sub/c.png"}
    summary, _ = go_on("run", pictures, out)
    assert (summary["state"], sources(out)) == ("complete", {"d.png", "sub/b.png", "sub/c.png"})


@pytest.mark.parametrize("way", ["a link", "by name"])
def test_what_is_an_input_itself_by_now_stays(pictures, out, way):
    (pictures / "sub" / "b.png").unlink()
    made = out / "sub" / "b.jpg"
    before = made.read_bytes()
    if way == "a link":
        (pictures / "again.jpg").symlink_to(made)
    inputs = [pictures] if way == "a link" else [pictures, made]
    told = batchgray("run", *inputs, "--out", out, "--prune", expect=2).stderr
    assert "sub/b.jpg is an input too" in told
    assert made.read_bytes() == before
    batchgray("run", *inputs, "--out", out, "--progress", "none")
    assert "sub/b.jpg is an input too" in batchgray("resume", out, "--prune", expect=2).stderr
    assert made.read_bytes() == before
