"""The drawn transitions, all of them, and no other."""

import itertools

import pytest

from batchgray.engine.lifecycle import SALVAGE_SECONDS, IllegalTransition, Lifecycle, State, Trigger, drain_deadline

DRAWN = """
            planned  notice      deadline  drained     committed
planning    running  -           -         -           -
running     -        draining    -         committing  -
draining    -        draining    killing   committing  -
killing     -        killing     -         committing  -
committing  -        committing  -         -           finished
finished    -        -           -         -           -
"""


def drawn():
    """(state, trigger) to the next state's name, or "-"."""
    head, *rows = (line.split() for line in DRAWN.strip().splitlines())
    return {(row[0], trigger): after for row in rows for trigger, after in zip(head, row[1:], strict=True)}


def after(*triggers):
    lifecycle = Lifecycle()
    for trigger in triggers:
        lifecycle.happened(trigger)
    return lifecycle


@pytest.mark.parametrize(("state", "trigger"), list(itertools.product(State, Trigger)))
def test_every_state_answers_every_trigger_as_drawn(state, trigger):
    lifecycle = Lifecycle()
    lifecycle.state = state
    expected = drawn()[state.value, trigger.value]
    if expected == "-":
        with pytest.raises(IllegalTransition, match=f"{trigger.value} can't happen while {state.value}"):
            lifecycle.happened(trigger)
        assert lifecycle.state is state
    else:
        lifecycle.happened(trigger)
        assert lifecycle.state.value == expected


def test_a_run_begins_with_planning():
    assert Lifecycle().state is State.PLANNING


@pytest.mark.parametrize("later", [[], [Trigger.DEADLINE], [Trigger.NOTICE, Trigger.DEADLINE, Trigger.NOTICE]])
def test_notices_at_any_moment_do_not_keep_it_from_its_end(later):
    lifecycle = after(Trigger.PLANNED, Trigger.NOTICE, *later, Trigger.DRAINED, Trigger.NOTICE, Trigger.COMMITTED)
    assert lifecycle.state is State.FINISHED


@pytest.mark.parametrize(
    ("left", "deadline"),
    [(None, 130.0), (300.0, 130.0), (35.0, 130.0), (20.0, 115.0), (SALVAGE_SECONDS, 100.0), (-60.0, 100.0)],
)
def test_the_first_notice_gives_the_grace_or_what_the_machine_has_left_but_for_the_salvage(left, deadline):
    assert drain_deadline(100.0, 30.0, left, None, again=False) == deadline


def test_another_notice_never_moves_the_deadline_away_and_may_bring_it_nearer():
    assert drain_deadline(110.0, 30.0, None, 130.0, again=False) == 130.0
    assert drain_deadline(110.0, 30.0, 300.0, 130.0, again=False) == 130.0
    assert drain_deadline(110.0, 30.0, 12.0, 130.0, again=False) == 117.0


def test_a_signal_again_moves_the_deadline_to_now():
    assert drain_deadline(105.0, 30.0, None, 130.0, again=True) == 105.0
    assert drain_deadline(105.0, 30.0, 300.0, 130.0, again=True) == 105.0
