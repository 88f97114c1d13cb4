"""The source hears of it when the manifest on disk says interrupted and no worker is left; before, never.

If this broke, the message would be gone and the work with it.
"""

import errno

import psutil
import pytest
from harness import Running, batchgray, manifest_of, named, save_gradient, tree
from recording import Recording, Rule, wait_for_stopped

from batchgray.engine import runs
from batchgray.manifest.store import load_manifest
from batchgray.notices.inbox import InterruptionNotice
from batchgray.notices.spot_event import simulated
from batchgray.options import EngineOptions, RunOptions

BEFORE_THE_COMMIT = Rule("call", "batchgray.engine.ledger:Ledger.commit")


class Rehearsal:
    """A source that gives notice when it is told to, and looks around when it is thanked."""

    name = "rehearsal"

    def __init__(self, out):
        self.out = out
        self.acknowledged = []

    def start(self, inbox):
        self.inbox = inbox

    def give_notice(self):
        self.inbox.put(InterruptionNotice(source="smq", event_id="2256A988"))

    def acknowledge(self, notice):
        workers = [child for child in psutil.Process().children(recursive=True) if child.status() != "zombie"]
        manifest = manifest_of(self.out)
        self.acknowledged.append(
            (notice.event_id, manifest["state"], manifest["interruptions"][-1]["event_id"], workers)
        )

    def stop(self):
        pass


def test_acknowledged_once_and_last(samples, tmp_path):
    source = Rehearsal(tmp_path)
    events = []

    def emit(event):
        events.append(event)
        if type(event).__name__ == "Done":
            source.give_notice()  # comes again and again, and is one

    options = RunOptions(inputs=(samples,), out=tmp_path, engine=EngineOptions(workers=1))
    result = runs.run(options, emit, [source])
    assert result.exit_code == 75
    assert source.acknowledged == [("2256A988", "interrupted", "2256A988", [])]


def test_a_run_that_is_not_interrupted_acknowledges_nothing(samples, tmp_path):
    source = Rehearsal(tmp_path)
    result = runs.run(RunOptions(inputs=(samples / "web",), out=tmp_path), lambda event: None, [source])
    assert result.exit_code == 0
    assert source.acknowledged == []


FULL = [Rule("write", r"/\.manifest\.json\.tmp$", errno.ENOSPC), Rule("write", r"\.journal$", errno.ENOSPC)]


@pytest.mark.parametrize("room", ["none", "in the journal"])
def test_on_a_full_disk_it_is_acknowledged_only_if_the_journal_has_the_work(smq_local, tmp_path, room):
    """The disk fills up after the notice, just before the manifest is written; the queue is a real one."""
    recording = Recording(tmp_path / "record", Rule("decode", r"b\.jpg", hold=True), BEFORE_THE_COMMIT)
    for number, name in enumerate(["a.png", "b.png"]):
        save_gradient(tmp_path / "in" / name, 90, 70, seed=number)
    with smq_local.LocalSMQ(instance_id="i-mine") as server:
        server.create_queue("spot-interruption", VisibilityTimeout=30)
        settings = ("--notices", "smq", "--smq-endpoint", server.endpoint, "--instance-id", "i-mine")
        keys = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "local", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "local"}
        arguments = ("run", tmp_path / "in", "--out", tmp_path / "out", "--workers", 1, *settings)
        with Running(*arguments, env=recording.environment | keys) as run:
            run.wait_for("done")
            recording.wait_until_met(0)
            server.send("spot-interruption", simulated("i-mine", "cn-hangzhou").decode(), base64=False)
            run.wait_for("notice")
            supervisor = wait_for_stopped(run)
            recording.set_rules(*(FULL if room == "none" else FULL[:1]))
            supervisor.resume()
            events = run.finish(expect=75)
        left = len(server.messages("spot-interruption"))
    warned = [event["message"] for event in named(events, "warned")]
    if room == "none":
        assert left == 1
        assert "the disk is full" in warned[0]
    else:
        assert (left, warned) == (0, [])
        assert load_manifest(tmp_path / "out" / "manifest.json").interruptions[-1].source == "smq"
    batchgray("resume", tmp_path / "out" / "manifest.json", "--progress", "none")
    assert set(tree(tmp_path / "out")) == {"a.jpg", "b.jpg"}
