"""What each run made, and how it ended."""

from datetime import UTC, datetime

import pytest
from msgspec import structs
from runs_over_time import HOUR, START_MS, document, interruption, run, sessions_of

from batchgray.commands import sessions
from batchgray.commands.report import charts
from batchgray.manifest.records import Interruption, Run


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_moment_that_has_no_date_is_told_as_the_nearest_that_has_one(at):
    strange = Run(at=datetime.fromisoformat(at), workers=1, found=None)
    [session] = sessions_of([strange], [], [Interruption(at=at, source="signal", event_id=None, deadline=None, run=0)])
    for moment in (session.start_ms, session.end_ms):
        assert 1970 <= datetime.fromtimestamp(moment / 1000, UTC).year <= 9999


def test_what_was_made_of_an_input_that_is_gone_was_made_all_the_same():
    made = document([run(0)], [1, 2])
    made.images[0].state, made.images[0].was = "gone", "done"
    (session,) = sessions.sessions(made, False, START_MS)
    assert len(session.converted) == 2


def test_every_image_belongs_to_the_run_that_made_it():
    first, second = sessions_of(
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
    (last,) = sessions_of([run(0)], [1, 2], state=state, running=running, now=60)
    assert (last.ending, last.seconds) == (ending, seconds)


def test_a_run_that_told_how_long_it_worked_did_so():
    """From its first moment to its last word: longer than to its last image."""
    told = structs.replace(run(0), seconds=7.25)
    (last,) = sessions_of([told], [1, 2])
    assert (last.seconds, last.end_ms - last.start_ms) == (7.25, 7_250)


def test_a_run_that_died_is_known_by_what_the_next_one_found():
    assert [session.ending for session in sessions_of([run(0), run(10, "running"), run(20, "complete")], [1, 11])] == [
        "died",
        "finished",
        "finished",
    ]


def test_clocks_that_differ_turn_no_time_back():
    found = sessions_of([run(100), run(50, "running")], [40, 101, 102])
    spans = [(session.start_ms - START_MS, session.end_ms - START_MS) for session in found]
    assert spans == [(40_000, 100_000), (100_000, 102_000)]
    assert [len(session.converted) for session in found] == [1, 2]
    assert all(0 <= x <= 100.001 for x, _ in charts.charts(found, 3, 0).line)


def test_nothing_is_known_without_runs():
    assert sessions_of([], [1, 2]) == []
