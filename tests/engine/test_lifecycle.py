"""The drawn transitions, all of them, and no other."""

import itertools

import pytest

from batchgray.engine.lifecycle import IllegalTransition, Lifecycle, State, Trigger

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
