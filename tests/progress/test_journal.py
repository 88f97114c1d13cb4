"""Lines for systemd's journal tell it how much they weigh; lines for anything else are as they are."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from harness import DEADLINE, command, save_gradient
from stream import FAILED, FLUSHED, NOTICE, PLANNED, SUMMARY, done, replaced

from batchgray import events
from batchgray.progress import journal
from batchgray.progress.listeners import Amount, ProgressMode, listening

WARNING = events.Warned(message="a worker died")
WELL = replaced(SUMMARY, failed=0, resume=None)
INTERRUPTED = replaced(SUMMARY, failed=0)


def told(path: Path, *given: events.Event, mode: ProgressMode = "plain", amount: Amount = "normal") -> list[str]:
    """Standard output and error are `path`, which JOURNAL_STREAM names."""
    with (
        path.open("w") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
        listening(mode, amount, "", name_of(stream.fileno())) as feed,
    ):
        for event in given:
            feed(event)
    return path.read_text().splitlines()


def name_of(fd: int) -> str:
    found = os.fstat(fd)
    return f"{found.st_dev}:{found.st_ino}"


@pytest.mark.parametrize(
    ("event", "priority"),
    [
        (PLANNED, journal.INFO),
        (WARNING, journal.WARNING),
        (NOTICE, journal.NOTICE),
        (FLUSHED, journal.NOTICE),
        (WELL, journal.INFO),
        (INTERRUPTED, journal.NOTICE),
        (SUMMARY, journal.WARNING),
        (replaced(INTERRUPTED, space_needed=7), journal.WARNING),
    ],
)
def test_each_line_has_the_weight_of_its_event(tmp_path, event, priority):
    lines = told(tmp_path / "journal", event)
    assert lines
    assert {line[:3] for line in lines} == {f"<{priority}>"}


def test_quiet_and_verbose_lines_have_it_too(tmp_path):
    assert told(tmp_path / "journal", WARNING, amount="quiet") == ["<4>warning: a worker died"]
    lines = told(tmp_path / "journal", done(), FAILED, amount="verbose")
    assert [line[:3] for line in lines] == ["<6>", "<4>"]


def test_json_has_none(tmp_path):
    (line,) = told(tmp_path / "journal", WARNING, mode="json")
    assert line.startswith("{")


@pytest.mark.parametrize("stream", ["", "1:1", "nonsense"])
def test_what_is_not_the_journal_gets_none(capfd, stream):
    with listening("plain", "normal", "", stream) as feed:
        feed(WARNING)
    assert capfd.readouterr().out == "warning: a worker died\n"


def test_the_program_tells_the_journal_of_its_errors_and_of_what_it_does(tmp_path):
    save_gradient(tmp_path / "in" / "a.png", 8, 8)
    with (tmp_path / "journal").open("wb") as stream:

        def run(*arguments: object) -> int:
            environment = {**os.environ, "JOURNAL_STREAM": name_of(stream.fileno()), "BATCHGRAY_MADE_UP": "1"}
            settings = {"cwd": tmp_path, "env": environment, "stdin": subprocess.DEVNULL, "timeout": DEADLINE}
            return subprocess.run(command(*arguments), stdout=stream, stderr=stream, check=False, **settings).returncode

        assert run("run", "nothing", "--out", "gray") == 2
        assert run("run", "in", "--out", "gray") == 0
    lines = (tmp_path / "journal").read_text().splitlines()
    assert [line[:3] for line in lines] == ["<4>", "<3>", "<4>", "<6>", "<6>", "<6>"]
    assert lines[1].startswith("<3>batchgray: error: no such file")
