"""The clock that counts the time in which this process ran."""

from stream import Clock

from batchgray.ownclock import OwnClock


def test_it_goes_like_any_clock_while_it_is_read():
    system = Clock()
    own = OwnClock(2.0, system)
    readings = []
    for seconds in (0.5, 2.0, 1.0):
        system.now += seconds
        readings.append(own())
    assert readings == [0.5, 2.5, 3.5]


def test_of_a_time_in_which_it_was_not_read_a_step_counts():
    system = Clock()
    own = OwnClock(2.0, system)
    system.now += 120.0
    assert own() == 2.0
    assert own() == 2.0
    system.now += 1.0
    assert own() == 3.0
