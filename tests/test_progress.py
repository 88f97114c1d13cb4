"""Listeners: what they say for a stream of events, and that the work goes on when nobody reads it."""

import contextlib
import errno
import io
import json
import os
import sys
from types import SimpleNamespace

import pytest

from batchgray import events, progress
from batchgray.progress import Plain, Tally, duration, listening, size

PLANNED = events.Planned(
    manifest="/out/manifest.json",
    out="/out",
    total=10,
    todo=8,
    done=2,
    todo_bytes=8_000_000,
    new=8,
    changed=1,
    missing=0,
    ignored={},
    workers=2,
    resumed=False,
    notices=["signals"],
)
SUMMARY = events.Summary(
    state="interrupted",
    total=10,
    done=5,
    already_done=2,
    converted=3,
    failed=1,
    partial=1,
    pending=3,
    pixels=36_000_000,
    source_bytes=3_000_000,
    output_bytes=900_000,
    seconds=4.0,
    ignored={".txt": 2, ".mp4": 7},
    changed=1,
    missing=2,
    notes={"b.gif": "the first of 3 frames or pages"},
    failures={"c.png": "truncated"},
    manifest="/out/manifest.json",
    resume="batchgray resume /out/manifest.json",
    space_needed=None,
)
FAILED = events.Failed(source="c.png", error="truncated", source_bytes=1_000_000)
NOTICE = events.Notice(source="signal", event_id="SIGTERM", deadline=None, seconds=30.0)
FLUSHED = events.Flushed(partial=1, pending=3, seconds=0.25)


def done(source="a.png", source_bytes=1_000_000):
    return events.Done(
        source=source,
        output="a.jpg",
        source_bytes=source_bytes,
        output_bytes=300_000,
        width=4000,
        height=3000,
        tiles_total=47,
        tiles_computed=47,
        decoded=True,
        seconds=0.5,
        note=None,
    )


def replaced(event, **changes):
    return type(event)(**{**{name: getattr(event, name) for name in event.__struct_fields__}, **changes})


@pytest.fixture
def clock(monkeypatch):
    """Set `now` to let time pass."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def told(capsys, clock):
    """What a plain listener says for these events."""
    listener = Plain()

    def told(*given):
        for event in given:
            listener(event)
        return capsys.readouterr().out.splitlines()

    return told


# plain


def test_a_run_begins_with_what_there_is_to_do(told):
    assert told(PLANNED) == [
        "Converting 8 images (10 images, 2 done already, 1 changed since; 8.0 MB), 2 workers, to /out"
    ]


def test_a_resumed_run_says_so_and_one_worker_is_no_plural(told):
    going_on = replaced(PLANNED, resumed=True, workers=1, done=0, changed=0, missing=3)
    assert told(going_on) == ["Going on with 8 images (10 images, 3 with their output gone; 8.0 MB), 1 worker, to /out"]


def test_where_notices_come_from_is_told_where_it_is_not_signals_alone(told):
    assert told(replaced(PLANNED, notices=["signals", "smq"]))[0].endswith("to /out; notices from signals, smq")


def test_nothing_to_do_is_said(told):
    assert told(replaced(PLANNED, todo=0)) == ["10 images, nothing to do."]


def test_a_line_comes_at_most_every_ten_seconds(told, clock):
    told(PLANNED)
    clock.now += 9.9
    assert told(done(), FAILED) == []
    clock.now += 0.1
    assert told(done()) == ["4 of 10 images, 1 failed, 2 MP/s, 16.7 s left"]
    clock.now += 9.9
    assert told(done()) == []
    clock.now += 0.1
    assert told(done()) == ["6 of 10 images, 1 failed, 2 MP/s, 12.0 s left"]


def test_single_images_are_not_told(told):
    assert told(events.Started(source="a.png", output="a.jpg", worker=1), done(), FAILED) == []
    assert told(events.Checkpoint(done=3, failed=1)) == []


def test_an_interruption_is_told_from_the_notice_to_the_flush(told):
    again = replaced(NOTICE, event_id="SIGINT", seconds=0.0, again=True)
    assert told(NOTICE, again, FLUSHED) == [
        "Interrupted (SIGTERM): flushing, at most 30 s...",
        "Interrupted again (SIGINT): stopping at once...",
        "Flushed in 0.25 s: 1 begun, 3 not begun.",
    ]
    assert told(replaced(NOTICE, source="disk", event_id=None)) == ["The disk is full. Flushing what is finished..."]


def test_a_notice_of_the_machines_end_says_when_and_from_where(told):
    spot = replaced(NOTICE, source="smq", event_id="2256A988", deadline="2026-11-22T18:05:00Z")
    assert told(spot) == [
        "This machine will be taken away at 2026-11-22T18:05:00Z (notice from smq): flushing, at most 30 s..."
    ]
    assert told(replaced(spot, deadline=None)) == [
        "This machine will be taken away (notice from smq): flushing, at most 30 s..."
    ]


def test_a_first_notice_without_any_grace_is_not_told_as_a_second(told):
    assert "again" not in told(replaced(NOTICE, seconds=0.0))[0]


def test_a_warning_is_told(told):
    assert told(events.Warned(message="a worker died")) == ["warning: a worker died"]


def test_the_summary_tells_all_that_a_person_has_to_know(told):
    assert told(SUMMARY) == [
        "Converted 3 images, 36 MP in 4.0 s (9 MP/s), 3.0 MB -> 900 kB.",
        "Of 10 images 5 are done, 1 begun, 3 not begun, 1 failed. Manifest: /out/manifest.json",
        "Made anew because the input had changed: 1.",
        "Made anew because the output was gone: 2.",
        "Not images, left out: 7 .mp4, 2 .txt.",
        "Notes:",
        "  b.gif: the first of 3 frames or pages",
        "Failed:",
        "  c.png: truncated",
        "To go on: batchgray resume /out/manifest.json",
    ]


def test_a_summary_of_a_run_with_nothing_to_do_says_no_more_than_that(told):
    quiet = {"done": 10, "already_done": 10, "converted": 0, "failed": 0, "partial": 0, "pending": 0, "pixels": 0}
    quiet |= {"ignored": {}, "changed": 0, "missing": 0, "notes": {}, "failures": {}, "resume": None}
    assert told(replaced(SUMMARY, **quiet)) == ["Of 10 images 10 are done. Manifest: /out/manifest.json"]


def test_a_full_disk_is_told_with_what_it_lacks(told):
    assert "The disk is full: about 2.5 GB more are needed for what is left." in told(
        replaced(SUMMARY, space_needed=2_500_000_000)
    )


def test_a_long_list_of_failures_is_cut_and_counted(told):
    lines = told(replaced(SUMMARY, failures={f"{number}.png": "truncated" for number in range(25)}))
    assert "  19.png: truncated" in lines
    assert "  20.png: truncated" not in lines
    assert "  ... and 5 more, in the manifest" in lines


# figures


def test_the_rest_of_the_time_is_reckoned_by_bytes_and_not_by_images(clock):
    tally = Tally()
    tally.count(PLANNED)
    assert tally.seconds_left is None
    clock.now += 10
    tally.count(done(source_bytes=2_000_000))
    assert tally.seconds_left == 30.0
    tally.count(replaced(FAILED, source_bytes=2_000_000))
    assert tally.seconds_left == 10.0
    tally.count(done(source_bytes=9_000_000))
    assert tally.seconds_left == 0.0
    assert (tally.done, tally.failed, tally.total) == (4, 1, 10)
    assert tally.rate == pytest.approx(2.4)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (4.21, "4.2 s"),
        (60, "1 min 00 s"),
        (200.4, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_as_people_write_them(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (123_456_789, "123 MB"),
        (2.5e9, "2.5 GB"),
        (7e15, "7000.0 TB"),
    ],
)
def test_sizes_are_in_powers_of_1000(count, words):
    assert size(count) == words


def test_figures_that_round_up_move_to_the_next_unit():
    assert [size(999_999), duration(59.97)] == ["1.0 MB", "1 min 00 s"]


# modes


def test_json_is_one_object_a_line_with_its_event(capsys):
    script = [PLANNED, events.Started(source="a\n.png", output="a.jpg", worker=1), done(), FAILED]
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
    assert lines[1] == {"event": "started", "at": 0.0, "source": "a\n.png", "output": "a.jpg", "worker": 1}
    assert lines[-1]["failures"] == {"c.png": "truncated"}
    assert all("at" in line for line in lines)


def test_none_says_nothing(capsys):
    with listening("none") as listener:
        for event in (PLANNED, FAILED, SUMMARY):
            listener(event)
    assert capsys.readouterr() == ("", "")


def test_auto_is_plain_where_there_is_no_terminal(capsys):
    with listening("auto") as listener:
        listener(PLANNED)
    assert capsys.readouterr().out.startswith("Converting 8 images")


def test_the_bar_tells_the_same_words_above_itself(capsys):
    with listening("bar") as listener:
        for event in (PLANNED, done("[bold]a.png"), FAILED, events.Warned(message="[red] is not markup"), SUMMARY):
            listener(event)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0].startswith("Converting 8 images")
    assert "warning: [red] is not markup" in lines
    assert lines[-1] == "To go on: batchgray resume /out/manifest.json"


@pytest.mark.parametrize("mode", ["plain", "json", "bar"])
def test_the_work_goes_on_when_nobody_reads_any_more(mode, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    broken = os.fdopen(writer, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", broken)
    try:
        with listening(mode) as listener:
            for event in (PLANNED, done(), SUMMARY):
                listener(event)
    finally:
        with contextlib.suppress(BrokenPipeError):
            broken.close()


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
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    with listening("auto") as listener:
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
    with listening(mode) as listener:
        listener(PLANNED)
        listener(SUMMARY)


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
