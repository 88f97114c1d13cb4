"""The command as a user meets it: exit codes, words, and where they go."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import click
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
from recording import Recording, Rule, wait_for_stopped, wait_for_stopped_worker

import batchgray as package
from batchgray.cli import main


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "sub/b.jpg", "sub/deep/c.webp"):
        save_gradient(tmp_path / "in" / name, 320, 240, exact=True)
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    return tmp_path / "in"


def test_version_and_help_are_there_and_light():
    assert batchgray("--version").stdout == f"batchgray {package.__version__}\n"
    heavy = {"numba", "llvmlite", "numpy", "PIL", "simplejpeg", "imageio", "rich", "psutil"}
    probe = f"import sys, batchgray.cli.main; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "set()\n"
    for arguments in (["-h"], ["run", "--help"], ["resume", "-h"], ["status", "-h"], ["verify", "-h"]):
        assert "Usage: " in batchgray(*arguments).stdout


def test_a_name_that_the_system_refuses_is_told_in_a_sentence(tmp_path):
    name = "a" * 300
    for arguments in (["status", name], ["resume", name], ["verify", name], ["report", name]):
        assert "can't read the manifest" in batchgray(*arguments, cwd=tmp_path, expect=2).stderr


def test_a_link_that_the_system_refuses_to_follow_costs_one_image(tmp_path):
    save_gradient(tmp_path / "a.png", 32, 24)
    (tmp_path / "b.png").symlink_to("b" * 300)
    batchgray("run", "a.png", "b.png", "--out", "out", cwd=tmp_path, expect=3)
    states = {image["source"]: image["state"] for image in manifest_of(tmp_path / "out")["images"]}
    assert states == {"a.png": "done", "b.png": "failed"}


def test_the_help_tells_the_exit_codes_the_shells_and_the_nearest_word():
    for arguments in (["-h"], ["run", "-h"], ["resume", "-h"], ["verify", "-h"], ["smq", "create", "-h"]):
        assert "75  interrupted" in batchgray(*arguments).stdout
    assert "completion" in batchgray("-h").stdout
    for arguments, nearest in (
        (["stauts", "manifest.json"], "'status'"),
        (["smq", "craete", "name"], "'create'"),
        (["run", "in", "--out", "o", "--qualty", "5"], "'--quality'"),
        (["run", "in", "--out", "o", "--format", "jpg"], "'jpeg'"),
        (["run", "in", "--out", "o", "--notices", "sqm"], "'smq'"),
    ):
        error = batchgray(*arguments, expect=2).stderr
        assert re.search(rf"Did you mean .*{nearest}", error), error


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


def test_the_supervisors_process_imports_no_image_library(pictures, tmp_path):
    probe = f"""
import sys
from pathlib import Path
from batchgray import options
from batchgray.engine import runs
asked = options.RunOptions(inputs=(Path({str(pictures)!r}),), out=Path({str(tmp_path / "out")!r}))
assert runs.run(asked, lambda event: None).exit_code == 0
print({{'numba', 'numpy', 'PIL', 'simplejpeg', 'imageio'}} & set(sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "set()\n"


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere", "--out", "o"], "no such file or folder: nowhere"),
        (["run", "--out", "o"], "no INPUT given"),
        (["run", "in"], "--out"),
        (["run", "in", "--out", "o", "--quality", "0"], "--quality"),
        (["run", "in", "--out", "o", "--compression", "10"], "--compression"),
        (["run", "in", "--out", "o", "--memory", "lots"], "lots is not a size"),
        (["run", "in", "--out", "o", "--no-such-option"], "--no-such-option"),
        (["run", "in", "--out", "/proc/nowhere"], "can't write to the output folder /proc/nowhere"),
        (["run", "in", "--out", "in/a.png"], "can't write to the output folder"),
        (["run", "in", "--out", "o", "--files-from", "nolist"], "can't read the list nolist"),
        (["resume", "nowhere.json"], "/nowhere.json. Name the manifest.json"),
        (["resume", "in/a.png"], "was not written by batchgray"),
        (["run", "in", "--out", ""], "the name is empty"),
        (["run", "in", "--out", "new", "--memory", "5"], "--memory takes 1M or more"),
        (["run", "in", "--out", "o", "--memory", ""], "is not a size"),
        (["run", "in", "--out", "o", "--instance-id", ""], "'--instance-id': it is empty"),
        (["run", "in", "--out", "o", "--smq-endpoint", " "], "'--smq-endpoint': it is empty"),
        (
            ["run", "in", "--out", "o", "--metadata-url", "http://h:abc"],
            "can't ask for instance metadata at http://h:abc",
        ),
        (["smq", "simulate", "--instance-id", ""], "'--instance-id': it is empty"),
        (["smq", "simulate", "--instance-id", "i-\udcff"], "i-\\xff has a character that can't be shown"),
        (["run", "in", "--out", "o", "--smq-queue", "a\nb"], "a\\nb has a character that can't be shown"),
        (["smq", "create", "q", "--smq-endpoint", "http://h:abc", "--metadata-url", "http://h"], "InvalidEndpoint"),
        (["status", "in"], "there is no manifest at in/manifest.json"),
        (["verify", "nowhere.json"], "there is no manifest"),
    ],
)
def test_usage_errors_exit_2_with_a_sentence_and_leave_nothing(pictures, tmp_path, arguments, words):
    done = batchgray(*arguments, expect=2, cwd=tmp_path)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o" / "manifest.json").exists()


def test_doctor_tells_of_an_endpoint_that_is_none():
    said = batchgray("doctor", "--smq-endpoint", "http://h:abc", "--instance-id", "i-1", expect=1)
    assert "clock: can't be compared" in said.stdout
    assert "Traceback" not in said.stderr


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


def test_a_dry_run_prints_the_plan_and_touches_nothing(pictures, tmp_path):
    out = tmp_path / "out"
    plan = batchgray("run", pictures, "--out", out, "--dry-run").stdout
    assert f"{pictures}/sub/b.jpg -> {out}/sub/b.jpg" in plan
    assert not out.exists()


def test_collisions_are_refused_before_any_work(tmp_path):
    for name in ("b.jpg", "b.jpeg"):
        save_gradient(tmp_path / "in" / name, 32, 32)
    error = batchgray("run", tmp_path / "in", "--out", tmp_path / "out", expect=2).stderr
    assert "b.jpg" in error
    assert "b.jpeg" in error
    assert not (tmp_path / "out").exists()


def test_every_option_has_its_variable():
    def options_of(group):
        for each in group.commands.values():
            yield from options_of(each) if isinstance(each, click.Group) else each.params

    options = [option for option in options_of(main.cli) if isinstance(option, click.Option)]
    assert len(options) > 50
    for option in options:
        name = next(name for name in option.opts if name.startswith("--"))
        variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
        assert f"BATCHGRAY_{name[2:].upper().replace('-', '_')}" in variables, name


def test_options_can_come_from_the_environment(pictures, tmp_path):
    environment = os.environ | {
        "BATCHGRAY_OUT": str(tmp_path / "out"),
        "BATCHGRAY_TILE_ROWS": "16",
        "BATCHGRAY_FORMAT": "png",
        "BATCHGRAY_QUIET": "1",
    }
    assert batchgray("run", pictures, env=environment).stdout == ""
    assert manifest_of(tmp_path / "out")["options"]["tile_rows"] == 16
    assert (tmp_path / "out" / "a.png").exists()


def test_a_variable_of_an_option_that_may_be_repeated_has_one_value_a_line(pictures, tmp_path):
    save_gradient(pictures / "Screen Shots" / "x.png", 8, 8)
    save_gradient(pictures / "a:b" / "y.png", 8, 8)
    environment = os.environ | {"BATCHGRAY_EXCLUDE": "Screen Shots\nsub\n"}
    batchgray("run", pictures, "--out", tmp_path / "out", env=environment)
    assert {image["source"] for image in manifest_of(tmp_path / "out")["images"]} == {"a.png", "a:b/y.png"}
    moved = pictures.rename(tmp_path / "in: moved")
    environment = os.environ | {"BATCHGRAY_INPUT_ROOT": str(moved)}
    batchgray("resume", tmp_path / "out", env=environment)
    assert manifest_of(tmp_path / "out")["input_roots"] == [str(moved)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_told_as_the_end_of_a_run_where_there_is_none(pictures, tmp_path, signum):
    """`verify --mend` may have written by then."""
    batchgray("run", pictures, "--out", tmp_path / "out")
    recording = Recording(tmp_path / "record", Rule("call", "batchgray.cli.reading:say"))
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        arguments = command("verify", tmp_path / "out", "--mend")
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=recording.environment)
    finally:
        signal.signal(signal.SIGINT, earlier)
    verifying = wait_for_stopped(SimpleNamespace(process=process))
    process.send_signal(signum)
    verifying.resume()
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 75
    assert said.strip() == f"batchgray: interrupted ({signum.name}). Give the same command again."


def test_a_misspelt_variable_is_warned_of_by_name(pictures, tmp_path):
    environment = os.environ | {"BATCHGRAY_QUALTY": "90", "BATCHGRAY_Z\x1b": "", "BATCHGRAY_INPUT_ROOT": "/nowhere"}
    run = batchgray("run", pictures, "--out", tmp_path / "out", "--progress", "json", env=environment)
    assert run.stderr.splitlines() == [
        "batchgray: warning: BATCHGRAY_QUALTY in the environment is no option's, and is not used; "
        "did you mean BATCHGRAY_QUALITY?",
        "batchgray: warning: BATCHGRAY_Z\\x1b in the environment is no option's, and is not used; "
        f"`{sys.executable} -m batchgray run --help` lists the options",
    ]
    assert named(events_of(run.stdout), "summary")
    assert batchgray("--version", env=environment).stderr == ""


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
    kinds = [event["event"] for event in events]
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


def test_status_in_words_and_json(pictures, tmp_path):
    out = tmp_path / "out"
    (pictures / "bad.png").write_bytes(b"bad")
    batchgray("run", pictures, "--out", out, "--progress", "none", expect=3)
    status = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
    assert status["state"] == "complete_with_failures"
    assert status["counts"] == {"total": 4, "done": 3, "partial": 0, "pending": 0, "failed": 1, "gone": 0}
    assert status["failures"][0]["source"] == "bad.png"
    told = batchgray("status", out / "manifest.json").stdout
    assert "3 of 4 images done" in told
    assert "Failed: 1 image\n  bad.png: " in told
    summary = named(
        events_of(batchgray("run", pictures, "--out", out, "--progress", "json", expect=3).stdout), "summary"
    )[0]
    again = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
    for fact in ("manifest", "resume", "reasons"):
        assert summary[fact] == again[fact] == status[fact], fact
    assert status["pixels"] == 3 * 320 * 240
    converted = [pictures / name for name in ("a.png", "sub/b.jpg", "sub/deep/c.webp")]
    assert status["source_bytes"] == sum(path.stat().st_size for path in converted)
    assert status["output_bytes"] == sum(map(len, tree(out).values()))
    assert 0 <= status["seconds"] < DEADLINE


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


def test_verify_finds_each_kind_of_damage_and_mends_exactly_those(pictures, tmp_path):
    out = tmp_path / "out"
    for number in range(3):
        save_gradient(pictures / f"{number}.png", 100 + number, 100, exact=True)
    batchgray("run", pictures, "--out", out, "--progress", "none")
    whole = tree(out)
    assert "6 outputs checked, 0 damaged" in batchgray("verify", out / "manifest.json").stdout
    (out / "a.jpg").unlink()
    (out / "sub" / "b.jpg").write_bytes(whole["sub/b.jpg"][:-9])
    (out / "0.jpg").write_bytes(whole["0.jpg"][:-9] + b"\x13" + whole["0.jpg"][-8:])
    (out / "1.jpg").write_bytes(whole["2.jpg"])
    verdict = json.loads(batchgray("verify", out / "manifest.json", "--json", expect=3).stdout)
    assert {damage["output"] for damage in verdict["damaged"]} == {"a.jpg", "sub/b.jpg", "0.jpg", "1.jpg"}
    assert tree(out).keys() == whole.keys() - {"a.jpg"}
    batchgray("verify", "--mend", out / "manifest.json", expect=3)
    with Running("resume", out / "manifest.json") as run:
        events = run.finish(expect=0)
    assert len(named(events, "done")) == 4
    assert tree(out) == whole
