"""A name is bytes. What old archives and other systems call their pictures comes out under the same name.

If this broke, pictures from the years before UTF-8 could not be converted at all, or a program that reads what
batchgray writes could not find them.
"""

import base64
import os
import signal
from pathlib import Path

import pytest
from harness import DEADLINE, Running, batchgray, events_of, leftovers, manifest_of, named, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

import batchgray as library

NAMES = {  # as they are, and the same pictures under names that are UTF-8
    b"caf\xe9/na\xefve \xff.png": "1/a.png",
    b"caf\xe9/b\x80.jpg": "1/b.jpg",
    b"a\\xff.png": "a.png",  # written as the next one is escaped
    b"a\xff.png": "c.png",
}


def path_of(folder: Path, name: bytes) -> Path:
    return folder / os.fsdecode(name)


def output_of(name: str | bytes) -> str:
    return os.path.splitext(os.fsdecode(name))[0] + ".jpg"


def bytes_of(record: dict, field: str) -> bytes:
    """As docs/formats.md says."""
    if f"{field}_base64" not in record:
        return record[field].encode()
    data = base64.b64decode(record[f"{field}_base64"])
    assert record[field] == data.decode("utf-8", "backslashreplace")
    return data


def pictures(tmp_path: Path, width: int = 64, height: int = 48) -> tuple[Path, Path]:
    """The folder of the pictures, and that of the same ones under plain names."""
    odd, plain = path_of(tmp_path, b"in\xe9"), tmp_path / "plain"
    for seed, (name, other) in enumerate(NAMES.items()):
        source = save_gradient(path_of(odd, name), width, height, seed, exact=True)
        path_of(plain, other.encode()).parent.mkdir(parents=True, exist_ok=True)
        path_of(plain, other.encode()).write_bytes(source.read_bytes())
    return odd, plain


def check_same_outputs(out: Path, reference: Path) -> None:
    converted = tree(reference)
    assert tree(out) == {output_of(name): converted[output_of(other)] for name, other in NAMES.items()}


def test_all_are_converted_and_programs_read_their_bytes(tmp_path):
    odd, plain = pictures(tmp_path)
    out = path_of(tmp_path, b"out\xe9")
    batchgray("run", plain, "--out", tmp_path / "reference", "--progress", "none")
    run = batchgray("run", odd, "--out", out, "--progress", "json")
    assert run.stderr == ""
    check_same_outputs(out, tmp_path / "reference")
    events = events_of(run.stdout)
    outputs = {os.fsencode(output_of(name)) for name in NAMES}
    for event in ("started", "done"):
        assert {bytes_of(each, "source") for each in named(events, event)} == NAMES.keys()
        assert {bytes_of(each, "output") for each in named(events, event)} == outputs
    for event in (*named(events, "planned"), *named(events, "summary")):
        assert bytes_of(event, "manifest") == os.fsencode(out / "manifest.json")
    document = manifest_of(out)
    assert {bytes_of(image, "source") for image in document["images"]} == NAMES.keys()
    assert {bytes_of(image, "output") for image in document["images"]} == outputs
    assert [base64.b64decode(root) for root in document["input_roots_base64"]] == [os.fsencode(odd)]
    assert batchgray("verify", out).stdout == "4 outputs checked, 0 damaged.\n"
    assert batchgray("run", odd, "--out", out).stdout.startswith("4 images, nothing to do.")


@pytest.mark.parametrize("way", ["flushed", "salvaged"])
def test_an_interrupted_one_goes_on_where_it_was(tmp_path, way):
    odd, plain = pictures(tmp_path, 640, 480)
    out, manifest = tmp_path / "out", path_of(tmp_path, b"m\xff.json")
    options = ("--tile-rows", 8, "--workers", 1, "--manifest", manifest)
    batchgray("run", plain, "--out", tmp_path / "reference", "--tile-rows", 8, "--progress", "none")
    recording = Recording(tmp_path / "record", Rule("tile", "na\udcefve", after=19))
    grace = 10 * DEADLINE if way == "flushed" else 0.2
    with Running("run", odd, "--out", out, *options, "--grace", grace, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        if way == "flushed":
            interrupt(run, worker)
        else:
            run.signal(signal.SIGTERM)
        run.finish(expect=75)
    assert path_of(out, b"caf\xe9/na\xefve \xff.partial.jpg").exists()
    events = events_of(batchgray("resume", manifest, "--progress", "json").stdout)
    done = {bytes_of(event, "source"): event for event in named(events, "done")}
    begun = done[b"caf\xe9/na\xefve \xff.png"]
    assert 0 < begun["tiles_computed"] <= begun["tiles_total"] - 20
    check_same_outputs(out, tmp_path / "reference")
    assert leftovers(out) == []


def test_one_that_is_larger_than_memory_goes_on_where_it_was(tmp_path):
    source = save_gradient(path_of(tmp_path / "in", b"large \xff.tif"), 3000, 2400, exact=True)
    save_gradient(tmp_path / "plain" / "a.tif", 3000, 2400, exact=True)
    assert source.read_bytes() == (tmp_path / "plain" / "a.tif").read_bytes()
    batchgray("run", tmp_path / "plain", "--out", tmp_path / "reference", "--progress", "none")
    recording = Recording(tmp_path / "record", Rule("band", "large", after=9))
    options = ("--memory", 20 << 20, "--workers", 1)
    out = tmp_path / "out"
    with Running("run", tmp_path / "in", "--out", out, *options, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    events = events_of(batchgray("resume", out, *options, "--progress", "json").stdout)
    [done] = named(events, "done")
    assert 0 < done["tiles_computed"] < done["tiles_total"]
    assert tree(out) == {output_of(b"large \xff.tif"): (tmp_path / "reference" / "a.jpg").read_bytes()}
    assert leftovers(out) == []


def test_a_killed_run_is_gone_on_with_and_places_nothing_twice(tmp_path):
    odd, plain = pictures(tmp_path)
    out = tmp_path / "out"
    batchgray("run", plain, "--out", tmp_path / "reference", "--progress", "none")
    recording = Recording(tmp_path / "record", Rule("rename", r"\.jpg$", after=1))
    with Running("run", odd, "--out", out, "--workers", 1, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        run.kill()
    assert run.process.returncode == -signal.SIGKILL
    batchgray("resume", out, "--progress", "none")
    check_same_outputs(out, tmp_path / "reference")
    assert leftovers(out) == []


def test_those_that_fail_are_told_safely_and_each(tmp_path):
    odd, _ = pictures(tmp_path)
    for name in NAMES:
        path_of(odd, name).write_bytes(b"")
    out = tmp_path / "out"
    run = batchgray("run", odd, "--out", out, expect=3)
    assert run.stdout.isprintable() or all(line.isprintable() for line in run.stdout.splitlines())
    assert r"caf\xe9/b\x80.jpg" in run.stdout
    run = batchgray("run", odd, "--out", out, "--progress", "json", expect=3)
    events = events_of(run.stdout)
    [summary] = named(events, "summary")
    assert len(summary["failures"]) == len(NAMES)
    told = {base64.b64decode(summary["failures_base64"].get(name, "")) or name.encode() for name in summary["failures"]}
    assert told == NAMES.keys()
    status = events_of("".join(batchgray("status", "--json", out).stdout.splitlines()))[0]
    assert {bytes_of(failure, "source") for failure in status["failures"]} == NAMES.keys()
    batchgray("report", out)
    page = (out / "report.html").read_text("utf-8")
    assert r"caf\xe9/b\x80.jpg" in page


def test_a_program_gets_the_names_that_open_the_files(tmp_path):
    odd, _ = pictures(tmp_path)
    path_of(odd, b"a\xff.png").write_bytes(b"")
    heard = []
    result = library.run(library.RunOptions(inputs=odd, out=tmp_path / "out"), heard.append)
    assert list(result.failures) == [path_of(odd, b"a\xff.png")]
    done = [event for event in heard if isinstance(event, library.events.Done)]
    assert len(done) == len(NAMES) - 1
    assert all((odd / event.source).exists() and (tmp_path / "out" / event.output).exists() for event in done)
