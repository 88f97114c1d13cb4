"""The source hears of it when the manifest on disk says interrupted and no worker is left; before, never.

If this broke, the message would be gone and the work with it.
"""

import psutil
from harness import manifest_of

from batchgray import engine
from batchgray.notices import InterruptionNotice
from batchgray.options import EngineOptions, RunOptions


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
    result = engine.run(options, emit, [source])
    assert result.exit_code == 75
    assert source.acknowledged == [("2256A988", "interrupted", "2256A988", [])]


def test_a_run_that_is_not_interrupted_acknowledges_nothing(samples, tmp_path):
    source = Rehearsal(tmp_path)
    result = engine.run(RunOptions(inputs=(samples / "web",), out=tmp_path), lambda event: None, [source])
    assert result.exit_code == 0
    assert source.acknowledged == []
