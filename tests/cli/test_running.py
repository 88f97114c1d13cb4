"""The commands that convert: run and resume."""

import os
import signal
import subprocess
import time

import pytest
from harness import (
    DEADLINE,
    Running,
    batchgray,
    command,
    events_of,
    manifest_of,
    named,
    save_gradient,
    tree,
)
from recording import Recording, Rule, interrupt, wait_for_stopped, wait_for_stopped_worker


def test_a_link_that_the_system_refuses_to_follow_costs_one_image(tmp_path):
    save_gradient(tmp_path / "a.png", 32, 24)
    (tmp_path / "b.png").symlink_to("b" * 300)
    batchgray("run", "a.png", "b.png", "--out", "out", cwd=tmp_path, expect=3)
    states = {image["source"]: image["state"] for image in manifest_of(tmp_path / "out")["images"]}
    assert states == {"a.png": "done", "b.png": "failed"}


def test_quiet_and_verbose(pictures, tmp_path):
    (pictures / "bad.png").write_bytes(b"bad")
    quiet = batchgray("run", pictures, "--out", tmp_path / "out", "-q", expect=3)
    assert quiet.stdout == ""
    assert quiet.stderr.splitlines()[0] == "Failed: 1 image"
    assert quiet.stderr.splitlines()[1].startswith("  bad.png: ")
    (tmp_path / "out" / "a.jpg").unlink()
    verbose = batchgray("resume", tmp_path / "out" / "manifest.json", "--verbose", expect=3).stdout
    assert "\na.png: 320 x 240, " in verbose
    assert "\nbad.png failed: " in verbose
    (pictures / "bad.png").unlink()
    well = batchgray("run", pictures / "a.png", "--out", tmp_path / "other", "-q")
    assert (well.stdout, well.stderr) == ("", "")


def test_images_of_the_same_name_below_two_inputs_are_told_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bad.png").write_bytes(b"bad")
    done = batchgray("run", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "out", expect=3).stdout
    assert f"Failed: 2 images\n  {tmp_path}/one/bad.png, {tmp_path}/two/bad.png: in none of the formats" in done


def test_the_tree_is_mirrored_and_a_second_run_has_nothing_to_do(pictures, tmp_path):
    out = tmp_path / "out"
    first = batchgray("run", pictures, "--out", out)
    assert sorted(tree(out)) == ["a.jpg", "sub/b.jpg", "sub/deep/c.jpg"]
    assert "Converted 3 images" in first.stdout
    assert "1 .txt" in first.stdout
    before = {name: (out / name).stat().st_mtime_ns for name in tree(out)}
    second = batchgray("run", pictures, "--out", out)
    assert "nothing to do" in second.stdout
    assert before == {name: (out / name).stat().st_mtime_ns for name in tree(out)}


def test_run_again_picks_up_what_is_new_changed_or_missing_and_tells_what_is_gone(pictures, tmp_path):
    out = tmp_path / "out"
    batchgray("run", pictures, "--out", out)
    save_gradient(pictures / "new.png", 64, 64)
    save_gradient(pictures / "a.png", 320, 240, seed=50, exact=True)
    (out / "sub" / "b.jpg").unlink()
    (pictures / "sub" / "deep" / "c.webp").unlink()
    run = batchgray("run", pictures, "--out", out, "--progress", "json")
    events = events_of(run.stdout)
    assert {event["source"] for event in named(events, "done")} == {"new.png", "a.png", "sub/b.jpg"}
    assert (out / "sub" / "deep" / "c.jpg").exists()
    summary = named(events, "summary")[0]
    assert (summary["changed"], summary["missing"], summary["converted"]) == (1, 1, 3)
    assert (summary["state"], summary["gone"], summary["newly_gone"]) == ("complete", 1, ["sub/deep/c.webp"])
    assert "3 of 4 images done, 0 partial, 0 pending, 0 failed, 1 gone" in batchgray("status", out).stdout


def test_a_foreign_manifest_is_refused_and_stays(pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text('{"name": "my web app"}')
    assert "was not written by batchgray" in batchgray("run", pictures, "--out", out, expect=2).stderr
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    batchgray("run", pictures, "--out", out, "--manifest", tmp_path / "other.json", "--progress", "none")
    assert (out / "manifest.json").read_text() == '{"name": "my web app"}'
    assert not (out / ".batchgray").exists()


def test_other_options_are_refused(pictures, tmp_path):
    batchgray("run", pictures, "--out", tmp_path / "out", "--progress", "none")
    error = batchgray("run", pictures, "--out", tmp_path / "out", "--quality", 50, expect=2).stderr
    assert "with other options (--quality 75)" in error
    batchgray("run", pictures, "--out", tmp_path / "out", "--quality", 50, "--overwrite", "--progress", "none")


def test_collisions_are_refused_before_any_work(tmp_path):
    for name in ("b.jpg", "b.jpeg"):
        save_gradient(tmp_path / "in" / name, 32, 32)
    error = batchgray("run", tmp_path / "in", "--out", tmp_path / "out", expect=2).stderr
    assert "b.jpg" in error
    assert "b.jpeg" in error
    assert not (tmp_path / "out").exists()


def test_a_number_of_workers_that_no_machine_has_is_refused(pictures, tmp_path):
    run = batchgray("run", pictures, "--out", tmp_path / "out", "--workers", 2**63, expect=2)
    assert "--workers takes a whole number from 1 to 4194304" in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("separator", ["\n", "\0"])
def test_inputs_from_a_list(pictures, tmp_path, separator):
    names = separator.join([str(pictures / "a.png"), str(pictures / "sub" / "b.jpg")]) + separator
    done = subprocess.run(
        command("run", "--files-from", "-", "--out", tmp_path / "out"),
        input=names,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Converted 2 images" in done.stdout
    assert sorted(tree(tmp_path / "out")) == ["a.jpg", "b.jpg"]


def test_json_progress_is_one_object_a_line(pictures, tmp_path):
    events = events_of(batchgray("run", pictures, "--out", tmp_path / "out", "--progress", "json").stdout)
    kinds = [event["event"] for event in events if event["event"] != "left_out"]
    assert kinds[0] == "planned"
    assert kinds[-1] == "summary"
    assert (kinds.count("started"), kinds.count("done")) == (3, 3)
    assert all(event["at"] >= 0 for event in events)


def test_a_closed_standard_output_stops_nothing(pictures, tmp_path):
    process = subprocess.Popen(command("run", pictures, "--out", tmp_path / "out"), stdout=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(DEADLINE) == 0
    assert len(tree(tmp_path / "out")) == 3


def test_a_second_signal_stops_at_once_with_a_valid_manifest(tall, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=4))
    arguments = ("run", tall, "--out", out, "--tile-rows", 8, "--workers", 1, "--grace", 10_000)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        run.signal(signal.SIGTERM)
        run.wait_for("notice")
        run.signal(signal.SIGINT)
        events = run.finish(expect=75)
    assert named(events, "notice")[-1]["event_id"] == "SIGINT"
    assert manifest_of(out)["state"] == "interrupted"


def test_signals_to_its_very_end_change_no_exit_code(pictures, tmp_path):
    for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        recording = Recording(
            tmp_path / f"record {signum.name}", Rule("call", "batchgray.engine.supervisor:Supervisor._hand_out_tasks")
        )
        with Running("run", pictures, "--out", tmp_path / signum.name, env=recording.environment) as run:
            supervisor = wait_for_stopped(run)
            run.signal(signum)
            supervisor.resume()
            while run.process.poll() is None:
                run.signal(signum)
                time.sleep(0.0005)
            run.finish(expect=75)


def test_an_interruption_while_the_workers_are_on_their_way_waits_for_none(pictures, tmp_path):
    recording = Recording(tmp_path / "record", Rule("call", "batchgray.engine.supervisor:Supervisor._spawn_workers"))
    with Running("run", pictures, "--out", tmp_path / "out", env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        run.signal(signal.SIGTERM)
        supervisor.resume()
        events = run.finish(expect=75)
    assert named(events, "summary")[0]["pending"] == 3
    assert manifest_of(tmp_path / "out")["state"] == "interrupted"
    batchgray("resume", tmp_path / "out" / "manifest.json", "--progress", "none")


def test_the_output_folder_can_be_moved_and_the_inputs_too(pictures, tmp_path):
    out, moved, elsewhere = tmp_path / "out", tmp_path / "moved", tmp_path / "elsewhere"
    batchgray("run", pictures, "--out", out, "--progress", "none")
    (out / "a.jpg").unlink()
    out.rename(moved)
    pictures.rename(elsewhere)
    error = batchgray("resume", moved / "manifest.json", expect=2).stderr
    assert "--input-root" in error
    batchgray("resume", moved / "manifest.json", "--input-root", elsewhere, "--progress", "none")
    assert sorted(tree(moved)) == ["a.jpg", "sub/b.jpg", "sub/deep/c.jpg"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_outputs_get_the_times_of_their_inputs_also_when_the_run_is_resumed(tmp_path, end):
    """`large.jpg` is begun when the run ends; with as little memory as this, `wide.jpg` goes in bands."""
    for second, name in enumerate(("done.png", "large.jpg", "wide.jpg"), 1_000_000_000):
        side = 2400 if name == "wide.jpg" else 400
        path = save_gradient(tmp_path / "in" / name, side, side, exact=True, quality=90)
        os.utime(path, ns=(1, second * 1_000_000_000 + 987_654_321))
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("tile", "large", after=3))
    arguments = ("run", tmp_path / "in", "--out", out, "--times", "--tile-rows", 64, "--workers", 1)
    with Running(*arguments, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        if end == signal.SIGTERM:
            interrupt(run, worker)
            run.finish(expect=75)
        else:
            run.kill()
    batchgray("resume", out, "--memory", "16M", "--workers", 1)
    for image in manifest_of(out)["images"]:
        assert (out / image["output"]).stat().st_mtime_ns == image["mtime_ns"]
    (out / "done.jpg").unlink()
    batchgray("run", tmp_path / "in", "--out", out, "--tile-rows", 64)  # without, it is of now
    assert (out / "done.jpg").stat().st_mtime > 1_500_000_000
    assert (out / "large.jpg").stat().st_mtime < 1_500_000_000
    (out / "done.jpg").unlink()
    batchgray("resume", out, "--times")
    assert (out / "done.jpg").stat().st_mtime < 1_500_000_000
    batchgray("verify", out)
