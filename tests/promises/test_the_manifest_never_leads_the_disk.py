"""What the manifest calls done is durable; a line follows the fsync it tells of, never the other way.

If this broke, a power cut would leave images that everybody believes done and nobody has.
"""

import threading
from pathlib import Path

import psutil
import pytest
from harness import Running, named, save_gradient, wait_until, written
from recording import Recording, Rule, is_stopped, wait_for_stopped

from batchgray.checkpoints.folder import FolderCheckpoints
from batchgray.manifest.store import load_manifest
from batchgray.options import PixelOptions
from batchgray.storage import durable, integrity
from batchgray.storage.intents import IntentLog
from batchgray.storage.publishing import FolderPublisher
from batchgray.workers import committer
from batchgray.workers.messages import Done


@pytest.mark.parametrize(
    ("rule", "at_least"),
    [
        (Rule("rename", r"/out/.*\.jpg$", after=6), 0),
        (Rule("write", r"\.journal$", after=1), 1),
        (Rule("sync", r"\.journal$"), 0),
        (Rule("call", "batchgray.engine.ledger:Ledger.commit"), 16),
    ],
    ids=lambda value: f"{value.kind} {value.path[-8:]}" if isinstance(value, Rule) else None,
)
def test_after_a_kill_everything_called_done_is_there_and_right(samples, tmp_path, rule, at_least):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", rule)
    with Running("run", samples, "--out", out, "--checkpoint", 1000, env=recording.environment) as run:
        wait_until(lambda: any(is_stopped(process) for process in [psutil.Process(run.process.pid), *run.workers()]))
        run.kill()
    found = load_manifest(out / "manifest.json")
    done = [image for image in found.images if image.state == "done"]
    assert len(done) >= at_least
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

    publisher = FolderPublisher(out, flight, IntentLog(flight, 1))
    checkpoints = FolderCheckpoints(flight, out, PixelOptions())
    worker = committer.Committer(publisher, checkpoints, report, broken=lambda error: log.append(repr(error)))
    worker.start()
    worker.put(written(flight, 0))
    worker.finish()
    assert reported.is_set()
    assert log == ["flight", "0-1.out", "1.intents", "rename", tmp_path.name, "Done"]


@pytest.mark.parametrize("kept", ["nothing", "half", "all"])
def test_a_journal_that_a_crash_cut_off_only_lags(tmp_path, kept):
    pictures = tmp_path / "in"
    for number in range(6):
        save_gradient(pictures / f"{number}.png", 400, 300, seed=number)
    out, recording = (
        tmp_path / "out",
        Recording(tmp_path / "record", Rule("call", "batchgray.engine.ledger:Ledger.commit")),
    )
    with Running("run", pictures, "--out", out, env=recording.environment) as run:
        wait_for_stopped(run)  # all is done, and only the journal tells of it
        run.kill()
    journal = out / "manifest.json.journal"
    data = journal.read_bytes()
    journal.write_bytes(data[: {"nothing": 0, "half": len(data) // 2, "all": len(data)}[kept]])
    with Running("resume", out / "manifest.json") as run:
        events = run.finish(expect=0)
    assert named(events, "summary")[0]["done"] == 6
