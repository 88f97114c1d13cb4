"""When the workers are killed, whatever notices come, and which of them counts. No process is started."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream import Clock

from batchgray.engine.drain import SALVAGE_SECONDS, Drain, drain_deadline
from batchgray.notices.inbox import InterruptionNotice

SIGTERM = InterruptionNotice(source="signal", event_id="SIGTERM")
QUEUE = InterruptionNotice(source="smq", event_id="E5")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def drain(clock):
    return Drain(30.0, clock)


# the deadline


@pytest.mark.parametrize(
    ("left", "deadline"),
    [(None, 130.0), (300.0, 130.0), (35.0, 130.0), (20.0, 115.0), (SALVAGE_SECONDS, 100.0), (-60.0, 100.0)],
)
def test_the_first_notice_gives_the_grace_or_what_the_machine_has_left_but_for_the_salvage(left, deadline):
    assert drain_deadline(100.0, 30.0, left, None, second_signal=False) == deadline


def test_another_notice_never_moves_the_deadline_away_and_may_bring_it_nearer():
    assert drain_deadline(110.0, 30.0, None, 130.0, second_signal=False) == 130.0
    assert drain_deadline(110.0, 30.0, 300.0, 130.0, second_signal=False) == 130.0
    assert drain_deadline(110.0, 30.0, 12.0, 130.0, second_signal=False) == 117.0


def test_a_second_signal_moves_the_deadline_to_now():
    assert drain_deadline(105.0, 30.0, None, 130.0, second_signal=True) == 105.0
    assert drain_deadline(105.0, 30.0, 300.0, 130.0, second_signal=True) == 105.0


# notices


def test_it_begins_with_the_first_notice_and_keeps_what_was_in_hand_then(drain, clock):
    assert (drain.begun, drain.overdue, drain.notice) == (False, False, None)
    heard = drain.hear(QUEUE, None, [3, 1])
    assert (heard.first, heard.second_signal, heard.seconds) == (True, False, 30.0)
    clock.now += 2.0
    drain.hear(SIGTERM, None, [1])
    assert (drain.begun, drain.notice, drain.in_hand, drain.seconds) == (True, QUEUE, [3, 1], 2.0)


def test_it_is_overdue_at_the_deadline_and_not_before(drain, clock):
    drain.hear(SIGTERM, None, [])
    clock.now += 29.9
    assert not drain.overdue
    clock.now += 0.1
    assert drain.overdue


def test_another_signal_ends_it_at_once(drain, clock):
    drain.hear(SIGTERM, None, [])
    clock.now += 1.0
    heard = drain.hear(SIGTERM, None, [])
    assert (heard.first, heard.second_signal, heard.seconds) == (False, True, 0.0)
    assert (drain.overdue, drain.second_signal) == (True, True)


def test_a_notice_of_another_source_is_no_second_signal(drain, clock):
    drain.hear(SIGTERM, None, [])
    clock.now += 10.0
    heard = drain.hear(QUEUE, None, [])
    assert (heard.first, heard.second_signal, heard.seconds) == (False, False, 20.0)
    assert not drain.second_signal


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["signal", "smq", "metadata", "disk"]),
            st.none() | st.floats(-100, 1000),
            st.floats(0, 100),
        ),
        min_size=1,
    )
)
def test_over_any_notices_the_deadline_only_comes_nearer_and_the_first_one_stays(notices):
    clock = Clock()
    drain, latest = Drain(30.0, clock), clock.now + 30.0
    for number, (source, left, seconds) in enumerate(notices):
        notice = InterruptionNotice(source=source, event_id=str(number))
        heard = drain.hear(notice, left, [number])
        assert heard.first == (number == 0)
        assert heard.second_signal == (number > 0 and source == "signal")
        assert heard.seconds == max(0.0, drain.deadline - clock.now)
        assert heard.seconds == 0.0 or not heard.second_signal
        assert drain.deadline <= max(latest, clock.now)
        latest = drain.deadline
        clock.now += seconds
    assert (drain.notice.event_id, drain.in_hand) == ("0", [0])
