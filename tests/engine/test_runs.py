"""The end of a run: what has to be durable before a source of notices hears of it. The work itself is a stub."""

import contextlib
from types import SimpleNamespace

import pytest
from harness import save_gradient

from batchgray import errors, events
from batchgray.engine import runs, session
from batchgray.engine.supervisor import Outcome
from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.options import EngineOptions, RunOptions

NOTICE = InterruptionNotice(source="smq", event_id="E5")
SERVER = SimpleNamespace(preload=lambda *_: None)


class Source:
    """Says what it is acknowledged for."""

    name = "stub"

    def __init__(self, failure=None):
        self.acknowledged, self.failure = [], failure

    def start(self, inbox):
        pass

    def acknowledge(self, notice):
        self.acknowledged.append(notice)
        return self.failure

    def stop(self):
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose supervisor ends at once, interrupted by a notice; `ended(ledger)` says how."""

    def run(ended, sources, notice=NOTICE):
        def supervisor(*_):
            def work(_tasks, ledger, _ready):
                ended(ledger)
                return Outcome(notice)

            return SimpleNamespace(run=work, close=lambda: None)

        monkeypatch.setattr(runs, "Supervisor", supervisor)
        save_gradient(tmp_path / "in" / "a.png", 8, 8)
        options = RunOptions(inputs=(tmp_path / "in",), out=tmp_path / "out", engine=EngineOptions(workers=1))
        said = []
        result = runs.run(options, said.append, sources, SERVER)
        return result, [event.message for event in said if isinstance(event, events.Warned)]

    return run


def commit(ledger):
    ledger.commit(NOTICE)


def commit_on_a_full_disk(ledger):
    ledger.disk_full = True  # the journal lacks something
    ledger._replace_document = lambda: False
    commit(ledger)


def test_every_source_hears_once_of_what_is_durable(run):
    sources = [Source(), Source()]
    result, warned = run(commit, sources)
    assert [source.acknowledged for source in sources] == [[NOTICE], [NOTICE]]
    assert (result.exit_code, warned) == (75, [])


def test_a_commit_that_raises_is_never_acknowledged(run):
    """The notice would be gone, and with it the only trace of why the work stopped."""
    source = Source()

    def fail(_):
        raise errors.ManifestUnwritable("manifest.json", "Input/output error")

    with pytest.raises(errors.ManifestUnwritable):
        run(fail, [source])
    assert source.acknowledged == []


def test_a_flush_that_a_full_disk_did_not_take_is_never_acknowledged(run):
    source = Source()
    result, warned = run(commit_on_a_full_disk, [source])
    assert source.acknowledged == []
    assert result.exit_code == 75
    assert len(warned) == 1
    assert "the manifest lacks what was flushed" in warned[0]
    assert "may come again" in warned[0]


@pytest.mark.parametrize("source", ["signal", "disk"])
def test_no_missing_acknowledgement_is_told_of_where_there_is_none_to_give(run, source):
    notice = InterruptionNotice(source=source, event_id=None)
    assert run(commit_on_a_full_disk, [Source()], notice)[1] == []


def test_one_source_that_can_not_acknowledge_keeps_no_other_from_it(run):
    sources = [Source("AccessDenied"), Source()]
    _, warned = run(commit, sources)
    assert [len(source.acknowledged) for source in sources] == [1, 1]
    assert warned == ["the notice could not be acknowledged (AccessDenied); it may come again"]


def test_a_run_without_a_notice_acknowledges_nothing(run):
    source = Source()
    run(lambda ledger: ledger.commit(None), [source], notice=None)
    assert source.acknowledged == []


def test_what_is_left_out_waits_for_room_and_never_for_longer_than_a_notice(monkeypatch):
    """The list may have a million names of files that are none of it, and whoever reads them may be slow."""
    monkeypatch.setattr(session, "READY_SECONDS", 0)
    heard, asked = [], []

    def ready():
        asked.append(len(heard))
        return len(asked) % 3 == 0

    inbox = Inbox()
    with contextlib.closing(inbox):
        tell = runs._telling_left_out(heard.append, ready, inbox)
        tell("/in/b.txt", ".txt")
        tell("/in/c.txt", ".txt")
        assert asked == [0, 0, 0, 1, 1, 1]
        inbox.put(NOTICE)
        runs._telling_left_out(heard.append, lambda: False, inbox)("/in/d.txt", ".txt")
    assert [event.source for event in heard] == ["/in/b.txt", "/in/c.txt", "/in/d.txt"]
