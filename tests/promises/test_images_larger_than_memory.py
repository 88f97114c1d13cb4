"""An image whose planes exceed --memory is converted in bands, to the same bytes, and goes on where it was stopped.

If this broke, a scan or a mosaic could only be converted on a machine as large as itself, or would come out another.
"""

import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from harness import (
    Running,
    batchgray,
    events_of,
    leftovers,
    manifest_of,
    named,
    save_gradient,
    tree,
    wait_until,
)
from PIL import Image
from recording import Recording, Rule, interrupt, is_stopped, wait_for_stopped_worker

# The planes of the scan take 92 MB, converting it in bands some 16 MB.
SIDE = 4800
LIMIT = 30 << 20
LITTLE = ("--memory", LIMIT, "--workers", 1)
TILES_IN_A_BAND = 6
LIBRARIES = 20 << 20  # what libvips itself allocates, and allocators keep


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Each of a kind that takes its own way through the reader; none fits into LIMIT."""
    folder = tmp_path_factory.mktemp("larger")
    save_gradient(folder / "a.jpg", 3000, 2400, quality=85, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", exact=True)
    image = Image.open(folder / "a.jpg")
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(folder / "palette.png", compress_level=1)
    gray = np.asarray(image.convert("L")).astype(np.uint16) * 257 - 7
    Image.fromarray(gray).save(folder / "deep.tif", big_tiff=True)
    return folder


@pytest.mark.parametrize(
    "options",
    [
        ("--method", "bt601"),
        ("--method", "luma", "--format", "png"),
        *(("--format", "png", "--compression", effort) for effort in (0, 6)),
    ],
)
def test_the_bytes_are_those_of_enough_memory(pictures, tmp_path, options):
    arguments = ("run", pictures, *options, "--progress", "none")
    batchgray(*arguments, "--out", tmp_path / "tight", "--memory", LIMIT)
    batchgray(*arguments, "--out", tmp_path / "wide", "--memory", "2G")
    assert tree(tmp_path / "tight") == tree(tmp_path / "wide")
    assert leftovers(tmp_path / "tight") == []


def without_the_extra(folder: Path) -> dict[str, str]:
    """An environment in which pyvips can't be imported."""
    folder.mkdir()
    (folder / "pyvips.py").write_text("raise ModuleNotFoundError('pyvips')\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_without_the_extra_they_fail_with_the_figures_and_its_name(pictures, tmp_path):
    arguments = ("run", pictures, "--out", tmp_path / "out", "--memory", LIMIT, "--progress", "json")
    run = batchgray(*arguments, env=without_the_extra(tmp_path / "shim"), expect=3)
    failed = {event["source"]: event["error"] for event in named(events_of(run.stdout), "failed")}
    assert failed.keys() == {"deep.tif"}  # a baseline JPEG, and a PNG or TIFF of the usual kinds, need no libvips
    for error in failed.values():
        assert "over the limit of 31 MB; install batchgray[large] to convert it in bands, or raise --memory" in error


LARGE = (3000, 2000)
IN_BANDS, IN_MEMORY = {"LARGE_PIXELS": "1000000"}, {"LARGE_PIXELS": "1000000000"}  # from so many pixels on


@pytest.mark.parametrize("options", [(), ("--format", "png"), ("--method", "luma", "--quality", 93)])
def test_a_large_image_is_the_same_whatever_cores_work_at_it(tmp_path, options):
    save_gradient(tmp_path / "in" / "a.jpg", *LARGE, quality=85, exact=True)
    save_gradient(tmp_path / "in" / "b.jpg", *LARGE, quality=80, exact=True, progressive=True)
    save_gradient(tmp_path / "in" / "c.tif", *LARGE, exact=True)
    arguments = ("run", tmp_path / "in", *options, "--memory", "2G", "--progress", "none", "--out")
    environment = Recording(tmp_path / "record").environment
    batchgray(*arguments, tmp_path / "whole", env=environment | IN_MEMORY)
    for workers in (1, 2, 5):
        batchgray(*arguments, tmp_path / str(workers), "--workers", workers, env=environment | IN_BANDS)
        assert tree(tmp_path / str(workers)) == tree(tmp_path / "whole")
        assert leftovers(tmp_path / str(workers)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_what_bands_can_not_take_is_converted_in_memory(tmp_path, workers):
    """A large image of a kind that is not read in bands, and one with a fault that only another decoder knows."""
    save_gradient(tmp_path / "in" / "a.webp", *LARGE, exact=True)
    path = save_gradient(tmp_path / "in" / "b.jpg", *LARGE, quality=85, exact=True)
    data = path.read_bytes()
    at = data.index(b"\xff\xda")
    path.write_bytes(data[:at] + b"stray bytes" + data[at:])
    arguments = ("run", tmp_path / "in", "--out", tmp_path / "out", "--memory", "2G", "--workers", workers)
    environment = Recording(tmp_path / "record").environment | IN_BANDS
    assert "11 extraneous bytes" in batchgray(*arguments, env=environment).stdout
    assert tree(tmp_path / "out").keys() == {"a.jpg", "b.jpg"}
    assert leftovers(tmp_path / "out") == []


def test_what_can_not_be_read_in_bands_says_why(tmp_path):
    save_gradient(tmp_path / "in" / "a.webp", 2000, 1500, exact=True)
    save_gradient(tmp_path / "in" / "progressive.jpg", 4000, 4000, quality=80, progressive=True, exact=True)
    arguments = ("run", tmp_path / "in", "--out", tmp_path / "out", "--memory", LIMIT, "--progress", "json")
    failed = named(events_of(batchgray(*arguments, expect=3).stdout), "failed")
    errors = {event["source"]: event["error"] for event in failed}
    assert "; only JPEG, PNG and TIFF can be converted in bands; raise --memory" in errors["a.webp"]
    assert "MB in bands; raise --memory" in errors["progressive.jpg"]  # its coefficients: 3 bytes a pixel
    assert leftovers(tmp_path / "out") == []


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A folder with one large image."""
    folder = tmp_path_factory.mktemp("scan")
    save_gradient(folder / "scan.jpg", SIDE, SIDE, quality=90, exact=True)
    return folder


@pytest.fixture(scope="module")
def converted_scan(scan, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("converted-scan") / "gray"
    batchgray("run", scan, "--out", out, "--tile-rows", 8, "--memory", "2G", "--progress", "none")
    return out


CHECKPOINTED = Rule("rename", r"\.bands$", after=2)
BEGINS = "batchgray.workers.worker:Worker._make_output"
PIECE_IS_MADE = "batchgray.codecs.png:_chunk"


@contextlib.contextmanager
def begun_in_bands(scan, out, *rules, options=()):
    """A run whose worker has stopped itself at a checkpoint. Yields the run, the worker and the recording."""
    recording = Recording(out.parent / "record", CHECKPOINTED, *rules)
    arguments = ("run", scan, "--out", out, *LITTLE, "--tile-rows", 8, "--checkpoint", 0.000001, *options)
    with Running(*arguments, env=recording.environment) as run:
        yield run, wait_for_stopped_worker(run), recording


@pytest.fixture(scope="module")
def interrupted(scan, tmp_path_factory) -> Path:
    """An output folder after SIGTERM, before anything was resumed: to be copied."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    with begun_in_bands(scan, out) as (run, worker, _):
        interrupt(run, worker)
        run.finish(expect=75)
    return out


@pytest.fixture
def out(interrupted, tmp_path) -> Path:
    # Copied and not moved: a moved output folder finds its manifest all the same.
    copied = tmp_path / "out"
    for path in sorted(interrupted.rglob("*")):
        target = copied / path.relative_to(interrupted)
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return copied


def resumed(out: Path, *options) -> dict:
    """The `done` event of the one image."""
    run = batchgray("resume", out / "manifest.json", "--progress", "json", *options)
    assert leftovers(out) == []
    (done,) = named(events_of(run.stdout), "done")
    return done


def test_sigterm_keeps_every_finished_band(out, converted_scan):
    image = check_picture(out, converted_scan)
    done = resumed(out, *LITTLE)
    assert done["tiles_computed"] == image["tiles_total"] - image["tiles_done"]
    assert tree(out) == tree(converted_scan)


def check_picture(out: Path, converted_scan: Path, untold: int = 0) -> dict:
    """The image in the manifest, after its partial JPEG was looked at.

    So many rows more may be in the picture, of bands that the manifest has not heard of.
    """
    image = manifest_of(out)["images"][0]
    assert image["state"] == "partial"
    assert 0 < image["tiles_done"] < image["tiles_total"]
    with Image.open(out / "scan.partial.jpg") as partial:
        shown = np.asarray(partial)
    with Image.open(converted_scan / "scan.jpg") as whole:
        expected = np.asarray(whole)
    edge = image["tiles_done"] * 8
    assert np.array_equal(shown[:edge], expected[:edge])
    assert not shown[edge + untold :].any()
    return image


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (True, Rule("band", "scan", after=3)),
        (False, Rule("call", "batchgray.codecs.jpeg_slices:SliceReader.part")),  # it passes over what is finished
    ],
)
def test_a_second_interruption_leaves_a_picture_of_all_that_is_finished(out, converted_scan, tmp_path, more, rule):
    before = manifest_of(out)["images"][0]["tiles_done"]
    recording = Recording(tmp_path / "record", rule)
    with Running("resume", out / "manifest.json", *LITTLE, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert (check_picture(out, converted_scan)["tiles_done"] > before) == more
    resumed(out, *LITTLE)
    assert tree(out) == tree(converted_scan)


def test_a_worker_that_is_killed_at_the_deadline_leaves_a_picture_too(scan, converted_scan, tmp_path):
    out = tmp_path / "out"
    with begun_in_bands(scan, out, options=("--grace", 0.2)) as (run, *_):
        run.signal(signal.SIGTERM)
        run.finish(expect=75)
    check_picture(out, converted_scan, untold=SIDE // 2)  # it was killed before it told of its last checkpoint
    resumed(out, *LITTLE)
    assert tree(out) == tree(converted_scan)


def test_a_band_that_is_damaged_on_disk_is_computed_again(out, converted_scan):
    image = manifest_of(out)["images"][0]
    (plane,) = out.glob(".batchgray/*/*.gray")
    with plane.open("r+b") as file:
        file.write(b"damaged!")
    done = resumed(out, *LITTLE)
    assert done["tiles_computed"] == image["tiles_total"] - image["tiles_done"] + TILES_IN_A_BAND
    assert tree(out) == tree(converted_scan)


def test_with_enough_memory_the_finished_bands_are_taken_over(out, converted_scan):
    image = manifest_of(out)["images"][0]
    done = resumed(out, "--memory", "2G")
    assert done["tiles_computed"] == image["tiles_total"] - image["tiles_done"]
    assert tree(out) == tree(converted_scan)


def test_bands_of_an_image_that_is_away_for_a_run_are_kept(out, scan, converted_scan):
    image = manifest_of(out)["images"][0]
    moved = out.with_name("elsewhere")
    moved.mkdir()
    other = save_gradient(out.with_name("other") / "small.jpg", 40, 40).parent
    (scan / "scan.jpg").rename(moved / "scan.jpg")
    try:
        assert "1 gone" in batchgray("run", other, "--out", out, "--tile-rows", 8).stdout
    finally:
        (moved / "scan.jpg").rename(scan / "scan.jpg")
    done = resumed(out, *LITTLE)
    assert done["tiles_computed"] == image["tiles_total"] - image["tiles_done"]
    assert tree(out).items() >= tree(converted_scan).items()


def test_what_was_begun_with_enough_memory_goes_on_in_bands(scan, converted_scan, tmp_path):
    out = tmp_path / "out"
    recording = Recording(tmp_path / "record", Rule("tile", r"scan\.jpg", after=99))
    arguments = ("run", scan, "--out", out, "--memory", "2G", "--tile-rows", 8, "--workers", 1)
    with Running(*arguments, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    image = manifest_of(out)["images"][0]
    missing = image["tiles_total"] - image["tiles_done"]
    assert missing <= resumed(out, *LITTLE)["tiles_computed"] < missing + TILES_IN_A_BAND
    assert tree(out) == tree(converted_scan)


def test_a_png_that_is_interrupted_while_it_is_written_loses_no_band_and_is_the_same(scan, tmp_path):
    options = ("--format", "png", "--compression", 1, "--tile-rows", 8, "--progress", "none")
    batchgray("run", scan, "--out", tmp_path / "whole", "--memory", "2G", *options)
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("call", PIECE_IS_MADE, after=9))
    with Running("run", scan, "--out", out, *LITTLE, *options, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    image = manifest_of(out)["images"][0]
    assert (image["state"], 0 < image["tiles_done"] < image["tiles_total"]) == ("partial", True)
    assert not (out / "scan.png").exists()
    assert resumed(out, *LITTLE)["tiles_computed"] == image["tiles_total"] - image["tiles_done"]
    assert tree(out) == tree(tmp_path / "whole")


def own_memory(pid: int) -> int:
    """Bytes that nothing but the process's end gives back; pages of mapped files are the system's to take."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    # Of a process that has just ended there are none.
    return sum(int(fields.get(name, "0").split()[0]) << 10 for name in ("RssAnon", "RssShmem"))


def test_a_killed_worker_loses_what_came_after_its_checkpoint(scan, converted_scan, tmp_path):
    out = tmp_path / "out"
    next_one_begins = Rule("call", BEGINS, after=1)
    with begun_in_bands(scan, out, next_one_begins) as (run, worker, recording):
        worker.kill()
        worker = wait_for_stopped_worker(run)
        base = own_memory(worker.pid)
        recording.set_rules(Rule("band", "scan", after=1))  # only now: the first one's bands are not to count
        worker.resume()
        recording.wait_until_met(0, times=2)
        wait_until(lambda: is_stopped(worker))
        peak = own_memory(worker.pid)
        worker.resume()
        while run.process.poll() is None:
            with contextlib.suppress(OSError):
                peak = max(peak, own_memory(worker.pid))
        events = run.finish(expect=0)
    done = named(events, "done")[0]
    assert done["tiles_computed"] < done["tiles_total"]
    assert 0 < base < peak < base + LIMIT + LIBRARIES  # the planes alone would be 92 MB
    assert tree(out) == tree(converted_scan)


def test_a_killed_run_goes_on_from_its_checkpoint(scan, converted_scan, tmp_path):
    out = tmp_path / "out"
    with begun_in_bands(scan, out) as (run, _, _):
        run.kill()
    assert resumed(out, *LITTLE)["tiles_computed"] < SIDE // 8
    assert tree(out) == tree(converted_scan)
