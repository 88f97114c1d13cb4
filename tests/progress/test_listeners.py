"""Listeners: which tells what, where, and that the work goes on when it is not read."""

import contextlib
import io
import json
import os
import pty
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import StuckPipe
from stream import FAILED, FLUSHED, NOTICE, PLANNED, SUMMARY, Clock, done, replaced, started

from batchgray import events
from batchgray.progress import listeners, outlet
from batchgray.progress.listeners import Plain, listening

# modes


def test_json_is_one_object_a_line_with_its_event(capfd):
    script = [PLANNED, started("a\n.png"), done(), FAILED]
    script += [events.Checkpoint(done=3, failed=1), events.Warned(message="线"), NOTICE, FLUSHED, SUMMARY]
    with listening("json") as listener:
        for event in script:
            listener(event)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
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


def test_none_says_nothing(capfd):
    with listening("none") as listener:
        for event in (PLANNED, FAILED, SUMMARY):
            listener(event)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["auto", "bar"])
def test_there_is_no_bar_where_there_is_no_terminal(mode, capfd):
    with listening(mode, terminal="xterm") as listener:
        listener(PLANNED)
    assert capfd.readouterr().out.startswith("Converting 8 images")


@contextlib.contextmanager
def terminal():
    """Standard output is a terminal; what it shows is read from the descriptor."""
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w", encoding="utf-8")
    with os.fdopen(ours, "rb", buffering=0) as screen, stream, contextlib.redirect_stdout(stream):
        yield screen


@pytest.mark.parametrize("kind", ["dumb", "unknown", ""])
def test_there_is_no_bar_on_a_terminal_that_can_only_append(kind):
    with terminal() as screen:
        with listening("bar", terminal=kind) as listener:
            listener(PLANNED)
        said = screen.read(65536).decode()
    assert "\x1b" not in said
    assert said.startswith("Converting 8 images")


def test_quiet_speaks_of_trouble_alone_and_to_standard_error(capfd):
    with listening("plain", "quiet") as listener:
        for event in (PLANNED, started(), done(), FAILED, events.Warned(message="a worker died"), SUMMARY):
            listener(event)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "warning: a worker died"
    assert "  c.png: truncated" in said.err.splitlines()


def test_verbose_tells_each_image(capfd):
    with listening("plain", "verbose") as listener:
        for event in (PLANNED, started(), done("a.png"), FAILED):
            listener(event)
    assert [line.partition(":")[0] for line in capfd.readouterr().out.splitlines()[1:]] == ["a.png", "c.png failed"]


@pytest.mark.parametrize("amount", ["quiet", "verbose"])
def test_json_and_none_are_what_they_are_with_any_amount(amount, capfd):
    said = []
    for mode, asked in (("json", "normal"), ("json", amount), ("none", amount)):
        with listening(mode, asked) as listener:
            for event in (PLANNED, done(), FAILED, SUMMARY):
                listener(event)
        said.append(capfd.readouterr())
    assert said[0] == said[1]
    assert said[2] == ("", "")


# plain


class Lines:
    """In place of an outlet."""

    def __init__(self):
        self.lines = []

    def put_text(self, line, last=False):
        self.lines.append(line)


def test_a_line_comes_at_most_every_ten_seconds():
    clock, outlet = Clock(), Lines()
    listener = Plain(outlet, clock=clock)

    def told(*given):
        outlet.lines.clear()
        for event in given:
            listener(event)
        return outlet.lines

    told(PLANNED, started("a.png"), started("b.png"))
    clock.now += 9.9
    assert told(done("a.png"), FAILED) == []
    clock.now += 0.1
    assert told(done("b.png")) == ["4 of 10 images, 48 MP, 1 failed, 2.4 MP/s, 25 s left"]
    clock.now += 9.9
    assert told(done(), done(), done()) == []
    clock.now += 0.1
    assert len(told(FAILED)) == 1


# not read


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_the_work_goes_on_when_the_pipe_is_broken(mode, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        with listening(mode) as listener:
            for event in (PLANNED, done(), SUMMARY):
                listener(event)


def test_the_work_goes_on_when_the_terminal_hangs_up():
    with terminal() as screen, listening("auto", terminal="xterm") as listener:
        listener(PLANNED)
        screen.close()
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
    assert sys.stdout is closed, "no other was put in its place"


def test_a_name_that_the_output_cannot_encode_does_not_silence_the_rest(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="ascii") as narrow:
        monkeypatch.setattr(sys, "stdout", narrow)
        with listening("plain") as listener:
            listener(events.Warned(message="线.png"))
            listener(SUMMARY)
    with os.fdopen(reader) as stream:
        said = stream.read()
    assert "\\u7ebf.png" in said
    assert "c.png: truncated" in said


def test_an_error_of_our_own_is_not_swallowed():
    with listening("plain") as listener, pytest.raises(AttributeError):
        listener(replaced(SUMMARY, ignored=7))


@pytest.fixture
def stuck(monkeypatch):
    monkeypatch.setattr(outlet, "STALLED_SECONDS", 1e6)
    with contextlib.closing(StuckPipe()) as stuck:
        yield stuck


MANY = [done(f"{number:04}.png") for number in range(5000)]


def heard(stuck, mode, *given, amount="normal"):
    """Whether the feed was ready when all events but the last had come, and what a reader gets who begins then."""
    with ThreadPoolExecutor(1) as pool:
        with contextlib.redirect_stdout(stuck.writer), listening(mode, amount) as feed:
            for event in given[:-1]:
                feed(event)
            ready = feed.ready()
            reading = pool.submit(stuck.reader.read)
            feed(given[-1])
        stuck.writer.close()
        return ready, reading.result().decode().lstrip(StuckPipe.FILLING)


def test_json_is_not_ready_while_it_is_not_read_and_nothing_of_it_is_lost(stuck):
    ready, said = heard(stuck, "json", PLANNED, *MANY, replaced(SUMMARY, resume=None))
    assert not ready
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["event"] for line in lines] == ["planned", *["done"] * 5000, "summary"]
    assert [line["source"] for line in lines[1:-1]] == [event.source for event in MANY]


def test_what_json_can_not_keep_is_counted_in_its_place(stuck, monkeypatch):
    monkeypatch.setattr(listeners, "_JSON_BYTES", 100_000)
    _, said = heard(stuck, "json", PLANNED, *MANY, NOTICE, FLUSHED, replaced(SUMMARY, resume=None))
    lines = [json.loads(line) for line in said.splitlines()]
    names = [line["event"] for line in lines]
    kept = names.count("done")
    assert names == ["planned", *["done"] * kept, "dropped", "notice", "flushed", "summary"]
    assert lines[kept + 1]["count"] == 5000 - kept
    assert 0 < kept < 1000


def test_plain_lines_are_dropped_and_counted_and_the_run_is_not_held_back(stuck, monkeypatch):
    monkeypatch.setattr(listeners, "_LINES_BYTES", 10_000)
    ready, said = heard(stuck, "plain", PLANNED, *MANY, replaced(SUMMARY, resume=None), amount="verbose")
    assert ready
    lines = said.splitlines()
    (gap,) = (number for number, line in enumerate(lines) if "left out" in line)
    assert lines[gap] == f"... {5000 - (gap - 1):,} lines left out, as nothing was read here"
    assert lines[gap + 1].startswith("Converted 3 images")


@pytest.mark.parametrize("mode", ["json", "plain"])
def test_after_an_interruption_no_reader_is_waited_for(stuck, mode, monkeypatch):
    monkeypatch.setattr(listeners, "_END_SECONDS", 0.2)
    with contextlib.redirect_stdout(stuck.writer), listening(mode, "verbose") as feed:
        for event in [PLANNED, *MANY, NOTICE, FLUSHED, SUMMARY]:
            feed(event)
