"""What a round comes to, as it is heard bit by bit."""

import msgspec
import pytest

from batchgray.engine.crew import Progress
from batchgray.engine.job_totals import JobTotals
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.results import Totals
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.options import PixelOptions
from batchgray.planning.shares import PlanEnd

HEAD = JobHead(job="j", options=PixelOptions(), max_pixels=10**9, inputs=["/in"], include=[], exclude=[])
END = PlanEnd(shares=2, images=10, order=[1, 2], ignored={}, kept=Totals(), all_kept=Totals())


@pytest.fixture
def totals():
    """Of a driver that knows of two shares, of seven and three images."""
    totals = JobTotals(HEAD, "manifest.json", "/gray")
    for share, images in (("00000001", 7), ("00000002", 3)):
        totals.sized(PlannedTally(share, images, 1000))
    return totals


def tally(share, done, failed):
    return DoneTally(share, done, failed, pixels=1, source_bytes=1, output_bytes=1, splits=0)


def test_all_is_told_when_supervisors_elsewhere_have_done_what_is_listed(totals):
    totals.elsewhere(Progress(done=9))
    totals.all_listed(END)
    assert not totals.all_told
    totals.elsewhere(Progress(done=1))
    assert totals.all_told


def test_while_the_listing_goes_on_there_may_be_more(totals):
    totals.elsewhere(Progress(done=10))
    assert not totals.all_told


def test_what_earlier_rounds_made_is_not_taken_for_what_supervisors_elsewhere_have_told(totals):
    totals.all_listed(msgspec.structs.replace(END, kept=Totals(done=100)))
    totals.elsewhere(Progress(done=9))
    planned = totals.planned(2, [])
    assert (planned.total, planned.done, planned.todo) == (110, 109, 1)


def test_what_was_done_again_elsewhere_is_no_more_than_all(totals):
    totals.all_listed(msgspec.structs.replace(END, kept=Totals(gone=5)))
    totals.elsewhere(Progress(done=12))
    planned = totals.planned(2, [])
    assert (planned.total, planned.done, planned.todo) == (15, 10, 0)
    assert totals.all_told


def test_images_that_failed_elsewhere_are_told_by_the_tallies(totals):
    totals.all_listed(END)
    totals.elsewhere(Progress(done=9))
    totals.done(tally("00000001", 6, 1))
    assert totals.all_told
