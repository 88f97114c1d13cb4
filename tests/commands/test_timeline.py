"""The work over time: which run made what, how it ended, and where a chart has it."""

from datetime import UTC, datetime

import pytest

from batchgray.commands.report import timeline
from batchgray.manifest.manifest import Image, Interruption, Manifest, Run
from batchgray.options import PixelOptions

START = datetime(2026, 11, 22, 18, 0, 0, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
HOUR = 3600


def run(second, found=None):
    return Run(at=datetime.fromtimestamp(START.timestamp() + second, UTC), workers=2, found=found)


def done(second):
    at = None if second is None else START_MS + int(second * 1000)
    return Image(
        root=0, source="a.jpg", output="a.jpg", size=1, mtime_ns=1, state="done", width=1000, height=1000, done_at_ms=at
    )


def interruption(second, of):
    at = datetime.fromtimestamp(START.timestamp() + second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Interruption(at=at, source="signal", event_id="SIGTERM", deadline=None, run=of)


def document(runs, seconds, interruptions=(), state="complete"):
    return Manifest(
        run_id="default",
        state=state,
        options=PixelOptions(),
        max_pixels=1,
        output_root=".",
        input_roots=["/in"],
        runs=runs,
        interruptions=list(interruptions),
        images=[done(second) for second in seconds],
    )


def sessions(*arguments, running=False, now=10 * HOUR, **settings):
    return timeline.sessions(document(*arguments, **settings), running, START_MS + now * 1000)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_moment_that_has_no_date_is_told_as_the_nearest_that_has_one(at):
    strange = Run(at=datetime.fromisoformat(at), workers=1, found=None)
    [session] = sessions([strange], [], [Interruption(at=at, source="signal", event_id=None, deadline=None, run=0)])
    for moment in (session.start_ms, session.end_ms):
        assert 1970 <= datetime.fromtimestamp(moment / 1000, UTC).year <= 9999


def test_what_was_made_of_an_input_that_is_gone_was_made_all_the_same():
    made = document([run(0)], [1, 2])
    made.images[0].state, made.images[0].was = "gone", "done"
    (session,) = timeline.sessions(made, False, START_MS)
    assert len(session.converted) == 2


def test_every_image_belongs_to_the_run_that_made_it():
    first, second = sessions(
        [run(0), run(HOUR, "interrupted")], [HOUR + 1, 1, 2, None, HOUR + 5], [interruption(3, of=0)]
    )
    assert [item.at_ms - START_MS for item in first.converted] == [1000, 2000]
    assert [item.at_ms - START_MS for item in second.converted] == [HOUR * 1000 + 1000, HOUR * 1000 + 5000]
    assert (first.seconds, first.pixels) == (3.0, 2_000_000)
    assert (second.seconds, second.ending) == (5.0, "finished")
    assert first.ending == "interrupted"
    assert first.interruption.event_id == "SIGTERM"


@pytest.mark.parametrize(
    ("state", "running", "ending", "seconds"),
    [
        ("running", True, "running", 60),
        ("running", False, "died", 2),
        ("complete", False, "finished", 2),
        ("complete_with_failures", False, "finished", 2),
    ],
)
def test_how_the_last_run_ended(state, running, ending, seconds):
    (last,) = sessions([run(0)], [1, 2], state=state, running=running, now=60)
    assert (last.ending, last.seconds) == (ending, seconds)


def test_a_run_that_died_is_known_by_what_the_next_one_found():
    assert [session.ending for session in sessions([run(0), run(10, "running"), run(20, "complete")], [1, 11])] == [
        "died",
        "finished",
        "finished",
    ]


def test_clocks_that_differ_turn_no_time_back():
    found = sessions([run(100), run(50, "running")], [40, 101, 102])
    spans = [(session.start_ms - START_MS, session.end_ms - START_MS) for session in found]
    assert spans == [(40_000, 100_000), (100_000, 102_000)]
    assert [len(session.converted) for session in found] == [1, 2]
    assert all(0 <= x <= 100.001 for x, _ in timeline.charts(found, 3, 0).line)


def test_nothing_is_known_without_runs():
    assert sessions([], [1, 2]) == []


def test_the_line_ends_at_what_is_done_and_pauses_have_one_width():
    found = sessions(
        [run(0), run(9 * HOUR, "interrupted")], [1, 2, 3, 9 * HOUR + 4, None], [interruption(4, of=0)], now=20 * HOUR
    )
    drawn = timeline.charts(found, total=10, before=1)
    assert drawn.line[0] == (0, pytest.approx(10))
    assert drawn.line[-1] == (pytest.approx(100), pytest.approx(50))
    assert [y for _, y in drawn.line] == sorted(y for _, y in drawn.line)
    (pause,) = drawn.pauses
    assert (pause.x, pause.width, pause.label) == (pytest.approx(48.75), 2.5, "8 h 59 min")
    assert drawn.stops == [(pytest.approx(48.75), "interrupted")]
    assert [tick.label for tick in drawn.counts] == ["0", "2", "4", "6", "8", "10"]
    assert [tick.label for tick in drawn.times] == ["0 s", "2 s", "4 s", "6 s", "8 s"]


def test_the_bars_hold_every_megapixel():
    found = sessions([run(0)], [0.5, 1.5, 1.6, 3.9, 4.0])
    drawn = timeline.charts(found, 5, 0)
    highest = float(drawn.rates[-1].label)
    seconds = sum(session.seconds for session in found)
    assert sum(bar.height / 100 * highest * bar.width / 100 * seconds for bar in drawn.bars) == pytest.approx(5)


def test_a_hundred_thousand_images_make_a_short_line():
    found = sessions([run(0)], [index / 100 for index in range(100_000)])
    assert len(timeline.charts(found, 100_000, 0).line) < 1100
    assert len(timeline.charts(found, 100_000, 0).bars) <= 100


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_runs_in_which_nothing_was_done_can_be_drawn(count):
    drawn = timeline.charts(sessions([run(index, "interrupted") for index in range(count)], []), 0, 0)
    assert len(drawn.pauses) == count - 1
    assert all(0 <= pause.x <= 100 for pause in drawn.pauses)
