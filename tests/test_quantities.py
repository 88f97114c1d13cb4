import pytest

from batchgray import quantities
from batchgray.quantities import duration, rounded_duration, size


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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7200, "2 h"), (7201, "2 h"), (273600, "3 d 4 h")],
)
def test_rounded_durations(seconds, words):
    assert rounded_duration(seconds) == words


@pytest.mark.parametrize(
    ("pixels", "count", "seconds", "said"),
    [
        (36_000_000, 3, 4.0, "9.0 MP/s"),
        (1_234_000_000, 100, 1.0, "1,234 MP/s"),
        (9_960_000, 1, 1.0, "10 MP/s"),
        (65_536_000, 1_000, 2.0, "33 MP/s, 500 images/s"),
        (65_536, 1, 2.0, "0.0 MP/s, 0.5 images/s"),
        (1, 1, 0.0, ""),
    ],
)
def test_a_rate_of_thumbnails_is_told_by_images_too(pixels, count, seconds, said):
    assert quantities.rate(pixels, count, seconds) == said
