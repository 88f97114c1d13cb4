"""How often machines that work together look at one another."""

import pytest

from batchgray.engine import pace
from batchgray.manifest import share_log

QUICK = 0.001  # a look that takes no time to speak of


def looks(until: float, look: float = QUICK) -> list[float]:
    """When a machine looks that has had nothing to do from 0 on."""
    moments = [0.0]
    while moments[-1] < until:
        moments.append(moments[-1] + pace.idle_seconds(moments[-1], look))
    return moments


def test_a_machine_that_has_just_become_idle_is_late_by_a_quarter_of_what_it_has_waited():
    for before, after in zip(looks(12), looks(12)[1:], strict=False):
        assert after - before <= max(0.1, before / 4) + 1e-9


def test_a_machine_that_is_idle_for_long_looks_seldom():
    assert looks(3600)[-1] - looks(3600)[-2] == pace.look_seconds()
    assert len(looks(3600)) < 3600 / pace.look_seconds() + 20


@pytest.mark.parametrize("look", [0.1, 0.3, 0.5])
def test_where_a_look_takes_long_a_machine_is_not_always_at_it(look):
    assert pace.idle_seconds(0.0, look) >= 4 * look


def test_an_idle_machine_waits_no_longer_than_it_may_take_a_share_over():
    assert pace.idle_seconds(1e9, 1e9) == pace.look_seconds() < share_log.STALE_SECONDS


def test_a_machine_looks_for_idle_ones_before_much_of_what_it_could_share_is_done():
    for left in (4.0, 10.0, 30.0):
        assert pace.split_seconds(left) <= left / 8


def test_a_machine_with_much_or_unknown_work_looks_as_seldom_as_one_that_renews():
    assert pace.split_seconds(None) == pace.split_seconds(1e9) == share_log.RENEW_SECONDS / 2


def test_a_machine_with_nothing_left_does_not_look_all_the_time():
    assert pace.split_seconds(0.0) == pace.split_seconds(-1.0) > 0
