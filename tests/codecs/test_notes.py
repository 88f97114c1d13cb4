"""The words for what was left out are the same for each format."""

from batchgray.codecs.limits import MOST_FRAMES
from batchgray.codecs.notes import depth_note, frames_note


def test_what_was_left_out_is_said_and_nothing_else():
    assert depth_note(8) is None
    assert depth_note(10) == "the upper 8 of 10 bits were taken"
    assert frames_note(1) is None
    assert frames_note(2) == "the first of 2 frames or pages"
    assert frames_note(MOST_FRAMES) == "the first of 1000 or more frames or pages"
