"""The file of metrics: what is in it, by the rules of its format, and that neither it nor its place holds up a run."""

import os
import threading
from pathlib import Path

import pytest
from harness import DEADLINE, batchgray, save_gradient
from prometheus_client.parser import text_string_to_metric_families
from stream import FAILED, FLUSHED, NOTICE, PLANNED, SUMMARY, Clock, done, replaced, started

from batchgray import errors, events
from batchgray.progress import metrics
from batchgray.progress.metrics import Counts, measuring

CHECKPOINT = events.Checkpoint(done=3, failed=1)


def values(text: str) -> dict[str, float]:
    """What a server would store, by name and labels; all have the manifest."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("manifest")
            found[sample.name + "".join(f"/{value}" for value in labels.values())] = sample.value
    return found


def counted(*given: events.Event) -> dict[str, float]:
    clock = Clock()
    counts = Counts(clock)
    for event in given:
        clock.now += 1
        counts.count(event)
    return values(metrics.generate_latest(metrics._Families(list(counts.families()))).decode())


def images(found: dict[str, float]) -> dict[str, float]:
    return {name.partition("/")[2]: value for name, value in found.items() if name.startswith("batchgray_images/")}


def test_the_plan_is_the_beginning():
    found = counted(replaced(PLANNED, gone=1))
    assert images(found) == {"done": 2, "partial": 0, "pending": 7, "failed": 0, "gone": 1}
    assert found["batchgray_start_timestamp_seconds"] == 1001
    assert found["batchgray_workers"] == 2
    assert [name for name in found if name.startswith("batchgray_info/")]
    assert not {"batchgray_last_checkpoint_timestamp_seconds", "batchgray_end_timestamp_seconds"} & set(found)


def test_what_a_run_has_done_is_counted():
    found = counted(PLANNED, started(), done(), done("b.png", pixels=1_000_000), FAILED, CHECKPOINT)
    assert images(found) == {"done": 4, "partial": 0, "pending": 5, "failed": 1, "gone": 0}
    assert found["batchgray_converted_images_total"] == 2
    assert found["batchgray_pixels_total"] == 13_000_000
    assert found["batchgray_input_bytes_total"] == 2_000_000
    assert found["batchgray_output_bytes_total"] == 600_000
    assert found["batchgray_image_seconds_total"] == 1
    assert found["batchgray_last_checkpoint_timestamp_seconds"] == 1006
    assert found["batchgray_run_state/running"] == 1


def test_an_interruption_is_one_however_many_signals_come():
    found = counted(PLANNED, NOTICE, replaced(NOTICE, again=True), FLUSHED, SUMMARY)
    interruptions = {name: value for name, value in found.items() if name.startswith("batchgray_interruptions_total/")}
    assert interruptions == {
        f"batchgray_interruptions_total/{source}": source == "signal" for source in metrics.SOURCES
    }
    assert images(found) == {"done": 5, "partial": 1, "pending": 3, "failed": 1, "gone": 0}
    states = {name: value for name, value in found.items() if name.startswith("batchgray_run_state/")}
    assert states == {f"batchgray_run_state/{state}": state == "interrupted" for state in metrics.STATES}
    assert found["batchgray_end_timestamp_seconds"] == 1005


def test_after_the_summary_the_file_is_whole_and_for_everyone(tmp_path):
    path, told = tmp_path / "batchgray.prom", []
    before = os.umask(0o077)
    try:
        with measuring(path, told.append) as listener:
            for event in (PLANNED, done(), SUMMARY):
                listener(event)
            assert values(path.read_text())["batchgray_run_state/interrupted"] == 1
    finally:
        os.umask(before)
    assert told == [PLANNED, done(), SUMMARY]
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == [path.name]


def test_it_is_written_also_while_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "WRITE_SECONDS", 0.01)
    times, enough = [], threading.Event()

    def write(self, families):
        times.append(len(families))
        if len(times) == 5:
            enough.set()
        return ""

    monkeypatch.setattr(metrics._Metrics, "_write", write)
    with measuring(tmp_path / "a.prom", lambda event: None) as listener:
        listener(PLANNED)
        assert enough.wait(DEADLINE)


def test_events_alone_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "WRITE_SECONDS", 10 * DEADLINE)
    written = []
    monkeypatch.setattr(metrics._Metrics, "_write", lambda self, families: written.append(1) or "")
    with measuring(tmp_path / "a.prom", lambda event: None) as listener:
        for event in (PLANNED, *[done()] * 1000, SUMMARY):
            listener(event)
    assert len(written) <= 2, "at the start and at the end"


def test_a_run_that_ends_with_an_error_says_so(tmp_path):
    path = tmp_path / "a.prom"

    def fail():
        with measuring(path, lambda event: None) as listener:
            listener(PLANNED)
            raise errors.OutputLost("/out", "gone")

    with pytest.raises(errors.OutputLost):
        fail()
    assert values(path.read_text())["batchgray_run_state/fatal"] == 1


def test_a_run_that_is_refused_leaves_the_last_ones_file(tmp_path):
    path = tmp_path / "a.prom"
    with pytest.raises(errors.NothingNamed), measuring(path, lambda event: None):
        raise errors.NothingNamed
    assert os.listdir(tmp_path) == []


def warnings_of(path: Path, *given: events.Event) -> list[str]:
    told = []
    with measuring(path, told.append) as listener:
        for event in given:
            listener(event)
        assert [event for event in told if not isinstance(event, events.Warned)] == list(given)
    assert told[-1] is given[-1], "the summary is the last word"
    return [event.message for event in told if isinstance(event, events.Warned)]


def test_a_place_that_can_not_be_written_to_is_one_warning(tmp_path):
    path, told = tmp_path / "none" / "a.prom", []
    with measuring(path, told.append) as listener:
        for event in (PLANNED, done(), done(), SUMMARY):
            listener(event)
            listener._write_now()
    warning = events.Warned(message=f"can't write metrics to {path}: No such file or directory; trying on")
    assert told == [PLANNED, warning, done(), done(), SUMMARY]


def test_a_full_disk_leaves_the_file_as_it_was_and_no_piece(tmp_path, monkeypatch):
    path = tmp_path / "a.prom"
    assert warnings_of(path, PLANNED, SUMMARY) == []
    before = path.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metrics.durable.AppendFile, "append", full)
    (warning,) = warnings_of(path, PLANNED, done(), SUMMARY)
    assert "No space left on device" in warning
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_disk_that_never_answers_holds_up_the_end_alone_and_for_a_moment(tmp_path, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(metrics, "END_SECONDS", 0.05)
    monkeypatch.setattr(metrics._Metrics, "_write", lambda self, families: str(answer.wait(10 * DEADLINE)))
    try:
        (warning,) = warnings_of(tmp_path / "a.prom", PLANNED, *[done()] * 1000, NOTICE, FLUSHED, SUMMARY)
        assert "nothing was written within 0.05 s" in warning
    finally:
        answer.set()


@pytest.mark.parametrize("kind", ["a file", "a link", "a folder", "a FIFO"])
def test_what_is_not_of_batchgray_is_never_replaced(tmp_path, kind):
    path = tmp_path / "a.prom"
    match kind:
        case "a file":
            path.write_text("# HELP node_load1 of another program\n")
        case "a link":
            path.symlink_to(save_gradient(tmp_path / "a.png", 8, 8))
        case "a folder":
            path.mkdir()
        case "a FIFO":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(errors.ForeignMetrics), measuring(path, lambda event: None):
        pass
    assert path.lstat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("name", ["a.prom", ".a.prom.tmp"])
def test_what_comes_there_later_is_not_replaced_either(tmp_path, name):
    with measuring(tmp_path / "a.prom", lambda event: None):
        (tmp_path / name).write_text("mine")
        (warning,) = warnings_of_later(tmp_path / "a.prom")
    assert "not of batchgray" in warning
    assert (tmp_path / name).read_text() == "mine"


def warnings_of_later(path: Path) -> list[str]:
    told = []
    later = metrics._Metrics(path, told.append)
    for event in (PLANNED, SUMMARY):
        later(event)
    later.stop()
    return [event.message for event in told if isinstance(event, events.Warned)]


def test_what_a_kill_left_is_replaced(tmp_path):
    (tmp_path / ".a.prom.tmp").write_bytes(b"# HELP batchg")
    assert warnings_of(tmp_path / "a.prom", PLANNED, SUMMARY) == []
    assert os.listdir(tmp_path) == ["a.prom"]


def test_run_and_resume_write_it(tmp_path):
    save_gradient(tmp_path / "in" / "a.png", 64, 48)
    path, manifest = tmp_path / "gray.prom", tmp_path / "gray" / "manifest.json"
    batchgray("run", tmp_path / "in", "--out", tmp_path / "gray", "--metrics", path)
    found = values(path.read_text())
    assert (found["batchgray_images/done"], found["batchgray_pixels_total"]) == (1, 64 * 48)
    assert f'manifest="{manifest}"' in path.read_text()
    batchgray("resume", manifest, env={**os.environ, "BATCHGRAY_METRICS": str(path)})
    found = values(path.read_text())
    assert (found["batchgray_images/done"], found["batchgray_pixels_total"]) == (1, 0)
    assert found["batchgray_run_state/complete"] == 1


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_without_the_library_it_is_refused_with_what_to_install(tmp_path, more):
    save_gradient(tmp_path / "in" / "a.png", 64, 48)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['prometheus_client'] = None")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    refused = batchgray(
        "run", tmp_path / "in", "--out", tmp_path / "gray", "--metrics", "a.prom", *more, expect=2, env=environment
    )
    assert "batchgray[metrics]" in refused.stderr
    assert not (tmp_path / "gray").exists()
    batchgray("run", tmp_path / "in", "--out", tmp_path / "gray", env=environment)


def test_the_library_is_imported_only_when_it_is_asked_for(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refused:\n"
        "    def find_spec(self, name, *_):\n"
        "        assert not name.startswith('prometheus'), name\n"
        "sys.meta_path.insert(0, Refused())\n"
    )
    save_gradient(tmp_path / "in" / "a.png", 64, 48)
    batchgray("run", "in", "--out", "gray", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
