"""Listeners: who tells what, where, and that the work goes on when nobody reads it."""

import contextlib
import errno
import io
import json
import os
import sys

import pytest
from stream import FAILED, FLUSHED, NOTICE, PLANNED, SUMMARY, Clock, done, replaced, started

from batchgray import events
from batchgray.progress import Plain, listening

# modes


def test_json_is_one_object_a_line_with_its_event(capsys):
    script = [PLANNED, started("a\n.png"), done(), FAILED]
    script += [events.Checkpoint(done=3, failed=1), events.Warned(message="线"), NOTICE, FLUSHED, SUMMARY]
    with listening("json") as listener:
        for event in script:
            listener(event)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == [
        "planned",
        "started",
        "done",
        "failed",
        "checkpoint",
        "warned",
        "notice",
        "flushed",
        "summary",
    ]
    assert lines[1] == {
        "event": "started",
        "at": 0.0,
        "source": "a\n.png",
        "source_bytes": 1_000_000,
        "output": "a\n.png.jpg",
        "worker": 1,
    }
    assert lines[-1]["failures"] == {"c.png": "truncated"}
    assert all("at" in line for line in lines)


def test_none_says_nothing(capsys):
    with listening("none") as listener:
        for event in (PLANNED, FAILED, SUMMARY):
            listener(event)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["auto", "bar"])
def test_there_is_no_bar_where_there_is_no_terminal(mode, capsys):
    with listening(mode, terminal="xterm") as listener:
        listener(PLANNED)
    assert capsys.readouterr().out.startswith("Converting 8 images")


@pytest.mark.parametrize("kind", ["dumb", "unknown", ""])
def test_there_is_no_bar_on_a_terminal_that_can_only_append(kind, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    with listening("bar", terminal=kind) as listener:
        listener(PLANNED)
    assert "\x1b" not in sys.stdout.getvalue()
    assert sys.stdout.getvalue().startswith("Converting 8 images")


def test_quiet_speaks_of_trouble_alone_and_to_standard_error(capsys):
    with listening("plain", "quiet") as listener:
        for event in (PLANNED, started(), done(), FAILED, events.Warned(message="a worker died"), SUMMARY):
            listener(event)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "warning: a worker died"
    assert "  c.png: truncated" in said.err.splitlines()


def test_verbose_tells_each_image(capsys):
    with listening("plain", "verbose") as listener:
        for event in (PLANNED, started(), done("a.png"), FAILED):
            listener(event)
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["a.png", "c.png failed"]


@pytest.mark.parametrize("amount", ["quiet", "verbose"])
def test_json_and_none_are_what_they_are_with_any_amount(amount, capsys):
    said = []
    for mode, asked in (("json", "normal"), ("json", amount), ("none", amount)):
        with listening(mode, asked) as listener:
            for event in (PLANNED, done(), FAILED, SUMMARY):
                listener(event)
        said.append(capsys.readouterr())
    assert said[0] == said[1]
    assert said[2] == ("", "")


# plain


def test_a_line_comes_at_most_every_ten_seconds(capsys):
    clock = Clock()
    listener = Plain(clock=clock)

    def told(*given):
        for event in given:
            listener(event)
        return capsys.readouterr().out.splitlines()

    told(PLANNED, started("a.png"), started("b.png"))
    clock.now += 9.9
    assert told(done("a.png"), FAILED) == []
    clock.now += 0.1
    assert told(done("b.png")) == ["4 of 10 images, 24 MP, 1 failed, 2 MP/s, 25 s left"]
    clock.now += 9.9
    assert told(done(), done(), done()) == []
    clock.now += 0.1
    assert len(told(FAILED)) == 1


# nobody reads


class Refusing(io.StringIO):
    """A stream whose writes fail with `error`; `refused` counts them."""

    def __init__(self, error):
        super().__init__()
        self._error, self.refused = error, 0

    def write(self, text):
        self.refused += 1
        raise self._error


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_the_work_goes_on_when_nobody_reads_any_more(mode, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    broken = os.fdopen(writer, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", broken)
    heard = []
    try:
        with listening(mode) as listener:
            for event in (PLANNED, done(), SUMMARY):
                listener(event)
                heard.append(event)
        assert heard == [PLANNED, done(), SUMMARY]
        with pytest.raises(BrokenPipeError):  # what it met and swallowed
            print("somebody?", file=broken, flush=True)
    finally:
        with contextlib.suppress(BrokenPipeError):
            broken.close()


@pytest.mark.parametrize("mode", ["plain", "json"])
@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "full"), ValueError("I/O on closed file")])
def test_once_nobody_reads_nothing_more_is_written(mode, error, monkeypatch):
    """Each event would cost the work an attempt."""
    refusing = Refusing(error)
    monkeypatch.setattr(sys, "stdout", refusing)
    with listening(mode) as listener:
        for event in (PLANNED, FAILED, SUMMARY):
            listener(event)
    assert refusing.refused == 1


class Terminal(io.StringIO):
    """A terminal until it hangs up."""

    gone = False

    def isatty(self):
        return True

    def write(self, text):
        if self.gone:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)


def test_the_work_goes_on_when_the_terminal_hangs_up(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with listening("auto", terminal="xterm") as listener:
        listener(PLANNED)
        assert "Converting 8 images" in terminal.getvalue()
        terminal.gone = True
        listener(NOTICE)
        listener(SUMMARY)


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_the_work_goes_on_when_the_output_is_closed(mode, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    heard = []
    with listening(mode) as listener:
        for event in (PLANNED, SUMMARY):
            listener(event)
            heard.append(event)
    assert heard == [PLANNED, SUMMARY]
    assert sys.stdout is closed, "nobody put another in its place"


def test_a_name_that_the_output_cannot_encode_does_not_silence_the_rest(monkeypatch):
    written = io.BytesIO()
    narrow = io.TextIOWrapper(written, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", narrow)
    with listening("plain") as listener:
        listener(events.Warned(message="线.png"))
        listener(SUMMARY)
    assert b"c.png: truncated" in written.getvalue()


def test_an_error_of_our_own_is_not_swallowed():
    with listening("plain") as listener, pytest.raises(AttributeError):
        listener(replaced(SUMMARY, ignored=7))
