"""What run, resume and the reading commands make of jobs and URLs."""

import json
import os
import subprocess
import sys

import pytest
from harness import batchgray, save_gradient, tree


@pytest.fixture
def images(tmp_path):
    save_gradient(tmp_path / "in" / "a.png", 64, 48)
    return tmp_path / "in"


@pytest.mark.parametrize(
    "option",
    [
        ("--manifest", "m.json"),
    ],
    ids=" ".join,
)
def test_what_a_job_does_not_know_yet_is_refused_in_words(images, tmp_path, option):
    said = batchgray("run", images, "--out", tmp_path / "out", "--job", *option, expect=2).stderr
    assert f"{option[0]} can't be used with --job or a URL yet" in said
    assert not (tmp_path / "out").exists()


def test_a_job_needs_no_lock(images, tmp_path):
    batchgray("run", images, "--out", tmp_path / "out", "--job", "--no-lock", "-q")
    batchgray("resume", tmp_path / "out", "--no-lock", "-q")


def test_outputs_get_the_times_of_their_inputs(images, tmp_path):
    save_gradient(images / "sub" / "b.png", 64, 2000)
    moments = {"a": 1_500_000_000_123_456_789, "sub/b": 1_400_000_000_987_654_321}
    for name, moment in moments.items():
        os.utime(images / f"{name}.png", ns=(moment, moment))
    out = tmp_path / "out"
    batchgray("run", images, "--out", out, "--job", "--times", "--memory", "30M", "-q")
    assert {name: (out / f"{name}.jpg").stat().st_mtime_ns for name in moments} == moments
    (out / "a.jpg").unlink()
    batchgray("verify", out, "--mend", expect=3)
    batchgray("resume", out, "-q")
    assert (out / "a.jpg").stat().st_mtime_ns == moments["a"]
    assert "times True" in batchgray("run", images, "--out", out, "--job", expect=2).stderr
    said = batchgray("run", images, "--out", "memory:///x", "--times", expect=2).stderr
    assert "--times with memory:///x can't be used" in said


def test_links_to_folders_are_followed_where_that_is_asked_for(images, tmp_path):
    save_gradient(tmp_path / "elsewhere" / "b.png", 64, 48)
    out = images / "gray"
    for name, target in (("more", "../elsewhere"), ("again", "."), ("made", "gray"), ("m.raw", "../elsewhere")):
        (images / name).symlink_to(target)
    batchgray("run", images, "--out", tmp_path / "plain", "--follow-links", "--exclude", "made", "-q")
    for _ in range(2):
        batchgray("run", images, "--out", out, "--job", "--follow-links", "-q")
        made = {name for name in tree(out) if name.endswith(".jpg")}
        assert made == {name for name in tree(tmp_path / "plain") if name.endswith(".jpg")}
        assert made == {"a.jpg", "more/b.jpg", "m.raw/b.jpg"}
    batchgray("resume", out, "-q")
    dry = batchgray("run", images, "--out", tmp_path / "new", "--job", "--follow-links", "--dry-run").stdout
    assert f"{images}/more/b.png -> {tmp_path}/new/more/b.jpg" in dry
    assert "follow_links True" in batchgray("run", images, "--out", out, "--job", expect=2).stderr


def test_the_inputs_of_a_job_may_move(images, tmp_path):
    out, moved = tmp_path / "out", tmp_path / "elsewhere"
    whole = (images / "a.png").read_bytes()
    (images / "b.png").write_bytes(whole[:-100])
    batchgray("run", images, "--out", out, "--job", "-q", expect=3)
    images.rename(moved)
    assert "--input-root DIR" in batchgray("resume", out, expect=2).stderr
    said = batchgray("resume", out, "--input-root", moved, "--input-root", moved, expect=2).stderr
    assert f"the run has 1 input folders ({images})" in said
    (moved / "b.png").write_bytes(whole)
    batchgray("resume", out, "--input-root", moved, "-q")
    assert tree(out)["a.jpg"] == tree(out)["b.jpg"]
    assert json.loads((out / "manifest.json").read_text())["inputs"] == [str(moved)]
    batchgray("resume", out, "-q")
    batchgray("run", moved, "--out", out, "--job", "-q")
    assert "an INPUT within the output place" in batchgray("resume", out, "--input-root", out / "x", expect=2).stderr


def test_resume_prunes_what_is_known_to_be_gone(images, tmp_path):
    out = tmp_path / "out"
    for name in ("b.png", "c.png", "d.png"):
        save_gradient(images / name, 64, 48)
    batchgray("run", images, "--out", out, "--job", "-q")
    away = [(images / name).rename(tmp_path / name) for name in ("b.png", "c.png")]
    batchgray("run", images, "--out", out, "--job", "-q")
    (images / "d.png").unlink()  # which nobody has looked for
    away[1].rename(images / "c.png")
    batchgray("resume", out, "--prune", "-q")
    assert {name for name in tree(out) if name.endswith(".jpg")} == {"a.jpg", "c.jpg", "d.jpg"}
    counts = json.loads(batchgray("status", out, "--json").stdout)["counts"]
    assert (counts["done"], counts["gone"], counts["total"]) == (3, 0, 3)
    batchgray("resume", out, "--prune", "-q")
    batchgray("verify", out)


def test_a_job_takes_files_lists_and_a_base(images, tmp_path):
    for name in ("one/in/b.png", "two.png"):
        save_gradient(tmp_path / name, 64, 48)
    (tmp_path / "list").write_text("two.png\none/in\n")
    out = tmp_path / "out"
    batchgray("run", images, "--files-from", "list", "--base", ".", "--out", out, "--job", "-q", cwd=tmp_path)
    assert {name for name in tree(out) if name.endswith(".jpg")} == {"in/a.jpg", "one/in/b.jpg", "two.jpg"}
    differs = batchgray("run", images, "--out", out, "--job", cwd=tmp_path, expect=2).stderr
    assert "is another job" in differs or "inputs" in differs


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "in", "--out", "out", "--manifest", "oss://gray/m.json"),
    ],
    ids=" ".join,
)
def test_urls_where_none_is_taken_yet(images, arguments):
    assert "can't be used with --job or a URL yet" in batchgray(*arguments, cwd=images.parent, expect=2).stderr


def test_a_scheme_that_nobody_knows_is_no_folder(images):
    assert "batchgray knows no os://" in batchgray("run", images, "--out", "os://gray", expect=2).stderr


def test_a_job_in_a_folder_is_known_by_its_head(images, tmp_path):
    out = tmp_path / "out"
    batchgray("run", images, "--out", out, "--job", "-q")
    before = tree(out)
    assert "is the head of a job" in batchgray("run", images, "--out", out, expect=2).stderr
    for name in (out, out / "manifest.json"):
        batchgray("resume", name, "-q")
        status = json.loads(batchgray("status", name, "--json").stdout)
        assert (status["state"], status["counts"]["done"], status["job"]["listed"]) == ("complete", 1, True)
    assert "complete: 1 of 1 image done" in batchgray("status", out).stdout
    assert tree(out) == before
    said = batchgray("report", out).stdout
    assert said == f"Report: {out}/report.html\n"
    assert tree(out).keys() - before.keys() == {"report.html"}


def test_a_dry_run_tells_what_a_job_would_convert_and_touches_nothing(images, tmp_path):
    out = tmp_path / "out"
    asked = ("run", images, "--out", out, "--job", "--dry-run")
    lines = [f"{images}/a.png -> {out}/a.jpg", "1 image to convert, 0 done already. Nothing was touched."]
    assert batchgray(*asked).stdout.splitlines() == lines
    assert not out.exists()
    batchgray(*asked[:-1], "-q")
    before = tree(out)
    save_gradient(images / "b.png", 64, 48)
    [event] = [json.loads(line) for line in batchgray(*asked, "--progress", "json").stdout.splitlines()]
    assert (event["source"], event["output"]) == (f"{images}/b.png", f"{out}/b.jpg")
    assert batchgray(*asked).stdout.splitlines()[-1] == "1 image to convert, 1 done already. Nothing was touched."
    assert "other options" in batchgray(*asked, "--quality", 7, expect=2).stderr
    assert tree(out) == before


def test_a_run_on_folders_imports_nothing_of_jobs_and_stores():
    code = """import sys, batchgray.cli.main, batchgray.engine.runs, batchgray.workers.worker
print([name for name in sys.modules if name.startswith(("batchgray.storage.urls", "batchgray.engine.job", "obstore",
    "batchgray.workers.job_places", "batchgray.storage.oss", "batchgray.manifest.share_log", "alibabacloud"))])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
