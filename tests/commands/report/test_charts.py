"""Where the charts have the runs and what they made."""

import pytest
from runs_over_time import HOUR, interruption, run, sessions_of

from batchgray.commands.report import charts
from batchgray.commands.report.timeline import times_of


def test_the_line_ends_at_what_is_done_and_pauses_have_one_width():
    found = sessions_of(
        [run(0), run(9 * HOUR, "interrupted")], [1, 2, 3, 9 * HOUR + 4, None], [interruption(4, of=0)], now=20 * HOUR
    )
    drawn = charts.charts(found, total=10, before=1)
    assert drawn.line[0] == (0, pytest.approx(10))
    assert drawn.line[-1] == (pytest.approx(100), pytest.approx(50))
    assert [y for _, y in drawn.line] == sorted(y for _, y in drawn.line)
    (pause,) = drawn.pauses
    assert (pause.x, pause.width, pause.label) == (pytest.approx(48.75), 2.5, "8 h 59 min")
    assert drawn.stops == [(pytest.approx(48.75), "interrupted")]
    assert [tick.label for tick in drawn.counts] == ["0", "2", "4", "6", "8", "10"]
    assert [tick.label for tick in drawn.times] == ["0 s", "2 s", "4 s", "6 s", "8 s"]


def test_the_bars_hold_every_megapixel():
    found = sessions_of([run(0)], [0.5, 1.5, 1.6, 3.9, 4.0])
    drawn = charts.charts(found, 5, 0)
    highest = float(drawn.rates[-1].label)
    seconds = sum(session.seconds for session in found)
    assert sum(bar.height / 100 * highest * bar.width / 100 * seconds for bar in drawn.bars) == pytest.approx(5)


def test_an_image_that_is_done_at_the_end_of_a_piece_was_worked_on_in_it():
    found = times_of((1000 * second + 500, 1_000_000 * megapixels) for second, megapixels in enumerate((1, 4, 2)))
    drawn = charts.charts(found, 3, 0)
    assert [tick.label for tick in drawn.rates][-1] == "4"
    assert [bar.height for bar in drawn.bars] == pytest.approx([25, 100, 50])


def test_a_hundred_thousand_images_make_a_short_line():
    found = sessions_of([run(0)], [index / 100 for index in range(100_000)])
    assert len(charts.charts(found, 100_000, 0).line) < 1100
    assert len(charts.charts(found, 100_000, 0).bars) <= 100


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_runs_in_which_nothing_was_done_can_be_drawn(count):
    drawn = charts.charts(sessions_of([run(index, "interrupted") for index in range(count)], []), 0, 0)
    assert len(drawn.pauses) == count - 1
    assert all(0 <= pause.x <= 100 for pause in drawn.pauses)
