"""Each benchmark runs from end to end, on a handful of small pictures, and writes what the report draws."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import DEADLINE, save_gradient

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = {path.stem for path in BENCHMARKS.glob("*.py") if "main(__file__" in path.read_text()}
FEW = {
    "throughput": ["--only", "bt601", "--only", "jpegtran"],
    "thumbnails": ["--count", "12", "--only", "draft"],
    "png_output": ["--only", "batchgray", "--only", "Pillow"],
    "formats": ["--counts", "2", "--kinds", "png", "webp", "--only", "batchgray", "--only", "Pillow"],
    "kernel": ["--megapixels", "1"],
    "checkpoint_cost": ["--count", "2", "--large", "1", "--megapixels", "1"],
    "resume_cost": ["--interruptions", "1", "--workers", "1"],
    "notice_latency": ["--count", "200", "--workers", "1"],
    "scaling": ["--workers", "1"],
    "memory": ["--only", "draft"],
    "large": ["--side", "600", "--bare", "--kinds", "jpeg", "lzw"],
    "dispatch": ["--planned", "20,40"],
    "planning": ["--names", "3000", "--latency", "0.001"],
    "stores": ["--photographs", "2", "--thumbnails", "4", "--latency", "0.001", "--workers", "1"],
    "joined": ["--photographs", "2", "--thumbnails", "2", "--only", "folders"],
    "fleet": ["--instances", "2", "--foreign", "2", "--long-poll-runs", "1"],
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("one", "two"):
        save_gradient(folder / f"{name}.jpg", 640, 480, quality=85)
    save_gradient(folder / "other" / "small.png", 32, 32)
    return folder


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Path:
    """Enough that there is work left when an interruption comes."""
    folder = tmp_path_factory.mktemp("many")
    first = save_gradient(folder / "000.jpg", 1600, 1200, quality=85)
    for number in range(1, 30):
        (folder / f"{number:03}.jpg").hardlink_to(first)
    return folder


@pytest.fixture(scope="session")
def measured(pictures, many, tmp_path_factory) -> Path:
    """The results of one round of each, some at a time: what they measure does not matter here."""
    folder = tmp_path_factory.mktemp("results")
    for names in (sorted(NAMES)[::2], sorted(NAMES)[1::2]):
        running = {name: start(name, many if name == "resume_cost" else pictures, folder) for name in names}
        try:
            for name, process in running.items():
                output, _ = process.communicate(timeout=DEADLINE)
                assert process.returncode == 0, f"{name}: exit {process.returncode}\n{output}"
        finally:
            for process in running.values():
                with contextlib.suppress(ProcessLookupError):  # it has ended, and all that it started
                    os.killpg(process.pid, signal.SIGKILL)
    return folder


def start(name: str, pictures: Path, results: Path) -> subprocess.Popen:
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--images", pictures, "--runs", 1, *FEW.get(name, [])]
    places = ["--json", results / f"{name}.json", "--work", results / "work"]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen(list(map(str, command + places)), **settings)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_its_json_has_the_schema(measured, name):
    report = json.loads((measured / f"{name}.json").read_text())
    assert set(report) == {"name", "date", "machine", "parameters", "rows"}
    assert report["name"] == name
    assert {"processor", "cores", "memory_bytes", "kernel", "file_system", "load", "versions"} == set(report["machine"])
    assert report["parameters"]["runs"] == 1
    assert report["rows"]
    for row in report["rows"]:
        assert set(row) == {"name", "figure", "unit", "median", "min", "max", "runs", "note"}
        assert row["min"] <= row["median"] <= row["max"]
        assert row["runs"]


def figures(measured: Path, name: str) -> dict[tuple[str, str], float]:
    rows = json.loads((measured / f"{name}.json").read_text())["rows"]
    return {(row["name"], row["figure"]): row["median"] for row in rows}


def test_peers_and_the_floor_are_held_against_batchgray(measured):
    found = figures(measured, "throughput")
    assert found["batchgray bt601", "wall"] > found["batchgray bt601", "cpu"] / 4 > 0
    assert ("batchgray bt601 / codec floor bt601", "cpu ratio") in found


def test_a_png_has_its_time_and_its_size_beside_its_peers(measured):
    found = figures(measured, "png_output")
    name = "batchgray, effort 2, its default"
    assert found[name, "encoding"] > 0
    assert found["batchgray, effort 0", "size"] > found[name, "size"] >= found["batchgray, effort 9", "size"] > 0
    assert found[f"Pillow, its default / {name}", "size ratio"] > 0
    assert ("Pillow pool to PNG / batchgray --format png", "wall ratio") in found


def test_other_formats_have_their_peers_and_their_start_up(measured):
    found = figures(measured, "formats")
    for kind in ("png", "webp"):
        assert found[f"{kind}, 2 files: batchgray bt601, start-up", "cpu"] > 0
        assert found[f"{kind}, 2 files: Pillow convert pool / batchgray bt601", "cpu ratio"] > 0


def test_an_interruption_is_timed_from_its_sending(measured):
    found = figures(measured, "notice_latency")
    for way in ("notice from the queue", "SIGTERM"):
        assert 0 < found[way, "heard to exit"] <= found[way, "sent to exit"]


def test_runs_over_stores_tell_of_waiting_and_of_requests(measured):
    found = figures(measured, "stores")
    for name in ("photographs, S3 at 0 ms", "photographs, OSS at 1 ms", "thumbnails, S3 at 1 ms"):
        assert 0 <= found[name, "waiting"] <= 100
        assert found[name, "requests"] >= 2
        assert found[name, "cpu to folders"] > 0


def test_dispatch_has_what_the_supervisor_alone_and_a_bare_loop_take_beside_it(measured):
    found = figures(measured, "dispatch")
    for floor in ("idle workers", "codec floor"):
        assert found[f"40 images, {floor}", "images a second"] > 0
        assert found[f"40 images / {floor}", "processor time, ratio"] > 0
    assert found["40 images", "processor time"] > found["40 images", "supervisor"]


def test_memory_is_that_of_all_processes(measured):
    found = figures(measured, "memory")
    name = "batchgray bt601, files of every format"
    assert 50 < found[name, "peak PSS"] <= found[name, "peak RSS"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda out: (out / "0.jpg").unlink(), "0.jpg"),
        (lambda out: save_gradient(out / "0.jpg", 16, 24, exact=True), "0.jpg"),
        (lambda out: save_gradient(out / "0.jpg", 24, 16, exact=True), "not gray: 0.jpg"),
        (lambda out: (out / "1.jpg").write_bytes((out / "0.jpg").read_bytes()), "1.jpg"),
    ],
)
def test_outputs_are_checked(tmp_path, monkeypatch, fault, words):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from pictures import check
    from PIL import Image

    source, out = tmp_path / "in", tmp_path / "out"
    save_gradient(source / "0.jpg", 24, 16, exact=True)
    out.mkdir()
    Image.new("L", (24, 16)).save(out / "0.jpg")
    check(source, out)
    fault(out)
    with pytest.raises(SystemExit, match=words):
        check(source, out)


@pytest.mark.processes  # by a module that is not there before the test
def test_a_contender_that_does_nothing_ends_the_contest(pictures, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from contest import way
    from peers import Contender

    idle = Contender("idle", "bt601", lambda source, target, workers: ["true"])
    with pytest.raises(SystemExit, match="one"):
        way(idle, pictures, tmp_path, 1)()


def test_the_report_draws_them_all(measured, tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "report.py", "--results", measured, "--out", tmp_path], check=False
    )
    assert done.returncode == 0
    assert {path.stem for path in tmp_path.iterdir()} == NAMES
