"""What the manifest calls done is durable; a line follows the fsync it tells of, never the other way.

If this broke, a power cut would leave images that everybody believes done and nobody has.
"""

import signal
import threading
from pathlib import Path

import pytest
from harness import Running, named, save_gradient, written

from batchgray import committer, durable, integrity, manifest
from batchgray.intents import IntentLog
from batchgray.messages import Done


def test_after_a_kill_everything_called_done_is_there_and_right(samples, tmp_path):
    for kill_after in range(1, 8, 2):
        out = tmp_path / str(kill_after)
        with Running("run", samples, "--out", out) as run:
            for _ in range(kill_after):
                run.wait_for("done")
            run.signal(signal.SIGKILL)
            run.finish()
        found = manifest.load(out / "manifest.json")
        done = [image for image in found.images if image.state == "done"]
        assert len(done) >= kill_after
        for image in done:
            assert integrity.checksum([(out / image.output).read_bytes()]) == image.checksum


def test_an_output_is_reported_only_after_file_intent_rename_and_folder_are_synced(tmp_path, monkeypatch):
    """The order of operations of the committer, as it happens on a real file system."""
    log = []

    def sync(fd, real=durable.sync):
        log.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        real(fd)

    def rename_new(*names, real=durable.Folder.rename_new):
        log.append("rename")
        real(*names)

    monkeypatch.setattr(durable, "sync", sync)
    monkeypatch.setattr(durable.Folder, "rename_new", rename_new)
    (tmp_path / "flight").mkdir()
    out, flight = durable.Folder.at(tmp_path), durable.Folder.at(tmp_path / "flight")
    reported = threading.Event()

    def report(message):
        log.append(type(message).__name__)
        if isinstance(message, Done):
            reported.set()

    intents = IntentLog(flight, 1)
    worker = committer.Committer(out, flight, intents, report, broken=lambda error: log.append(repr(error)))
    worker.start()
    worker.put(written(flight, 0))
    worker.finish()
    assert reported.is_set()
    assert log == ["flight", "0.out", "1.intents", "rename", tmp_path.name, "Done"]


@pytest.mark.parametrize("kept", ["nothing", "half", "all"])
def test_a_journal_that_a_crash_cut_off_only_lags(tmp_path, kept):
    pictures = tmp_path / "in"
    for number in range(6):
        save_gradient(pictures / f"{number}.png", 400, 300, seed=number)
    out = tmp_path / "out"
    with Running("run", pictures, "--out", out) as run:
        for _ in range(6):
            run.wait_for("done")
        run.signal(signal.SIGKILL)
        run.finish()
    journal = out / "manifest.json.journal"
    if journal.exists():
        data = journal.read_bytes()
        journal.write_bytes(data[: {"nothing": 0, "half": len(data) // 2, "all": len(data)}[kept]])
    with Running("resume", out / "manifest.json") as run:
        events = run.finish(expect=0)
    assert named(events, "summary")[0]["done"] == 6
