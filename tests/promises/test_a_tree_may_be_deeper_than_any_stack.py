"""However deep a tree is, all of it that the system can open is converted, and what is deeper costs nothing else.

If this broke, one strange folder would end the run of a whole archive, with a traceback.
"""

from harness import Running, batchgray, deep_tree, events_of, leftovers, manifest_of, named, save_gradient
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

DEPTH = 1100  # folders; Python's stack has room for a thousand calls


def test_images_at_the_top_and_at_the_bottom_are_converted(tmp_path):
    picture = save_gradient(tmp_path / "x.png", 64, 64).read_bytes()
    with deep_tree(tmp_path / "in", DEPTH) as put, deep_tree(tmp_path / "out", 0):
        for level in (0, DEPTH):
            put(level, "a.png", picture)
        run = batchgray("run", tmp_path / "in", "--out", tmp_path / "out", "--progress", "json")
        assert run.stderr == ""
        assert named(events_of(run.stdout), "summary")[0]["done"] == 2
        assert batchgray("verify", tmp_path / "out").stdout == "2 outputs checked, 0 damaged.\n"
        batchgray("report", tmp_path / "out")
        assert batchgray("resume", tmp_path / "out").stdout.startswith("2 images, nothing to do.")


def test_a_deep_image_is_interrupted_and_gone_on_with(tmp_path):
    picture = save_gradient(tmp_path / "x.png", 64, 640).read_bytes()
    options = ("--tile-rows", 8, "--workers", 1)
    recording = Recording(tmp_path / "record", Rule("tile", r"/a\.jpg", after=20))
    with deep_tree(tmp_path / "in", DEPTH) as put, deep_tree(tmp_path / "out", 0):
        put(DEPTH, "a.png", picture)
        arguments = ("run", tmp_path / "in", "--out", tmp_path / "out", *options)
        with Running(*arguments, env=recording.environment) as run:
            interrupt(run, wait_for_stopped_worker(run))
            run.finish(expect=75)
        assert (tmp_path / "out" / ("d/" * DEPTH) / "a.partial.jpg").exists()
        done = named(events_of(batchgray("resume", tmp_path / "out", "--progress", "json").stdout), "done")
        assert 0 < done[0]["tiles_computed"] < 60
        assert not (tmp_path / "out" / ("d/" * DEPTH) / "a.partial.jpg").exists()
        assert not (tmp_path / "out" / ".batchgray").exists()


def test_what_is_deeper_than_the_system_can_open_is_told_and_costs_nothing_else(tmp_path):
    picture = save_gradient(tmp_path / "x.png", 64, 64).read_bytes()
    with deep_tree(tmp_path / "in", 30, "d" * 200) as put, deep_tree(tmp_path / "out", 0):
        put(0, "a.png", picture)
        put(30, "b.png", picture)
        run = batchgray("run", tmp_path / "in", "--out", tmp_path / "out", "--progress", "json", expect=3)
        [failed] = named(events_of(run.stdout), "failed")
        assert "path is longer than the system can open" in failed["error"]
        assert {image["state"] for image in manifest_of(tmp_path / "out")["images"]} == {"done", "failed"}
        assert leftovers(tmp_path / "out") == []
