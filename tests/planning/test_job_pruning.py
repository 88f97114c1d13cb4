"""Only what is as it was made, of what is gone for sure, is removed from where a job's outputs are."""

import pytest

from batchgray.manifest.results import Result
from batchgray.planning.job_pruning import JobPruning
from batchgray.planning.merging import Input
from batchgray.storage.base import Denied
from batchgray.storage.integrity import checksum
from batchgray.storage.memory import MemoryPlace


@pytest.fixture
def places():
    return MemoryPlace("in"), MemoryPlace("out")


def gone(**given) -> Result:
    made = {"checksum": checksum([b"gray"]), **given}
    return Result(input=0, source="a.png", output="a.jpg", state="gone", size=1, mtime_ns=0, **made)


def pruning(places, check=lambda: None) -> JobPruning:
    return JobPruning([Input(places[0], "")], places[1], check)


def test_what_is_as_it_was_made_goes(places):
    places[1].put("a.jpg", b"gray")
    assert pruning(places)(gone())
    assert list(places[1].list()) == []


def test_what_is_not_as_it_was_made_stays_and_is_named(places):
    places[1].put("a.jpg", b"another's")
    prune = pruning(places)
    assert prune(gone())
    assert places[1].get("a.jpg") == b"another's"
    assert prune.altered == ["a.jpg"]


@pytest.mark.parametrize("there", [b"", b"gray"])
def test_where_nothing_was_made_nothing_is_removed(places, there):
    places[1].put("a.jpg", there)
    assert pruning(places)(gone(checksum=None))
    assert places[1].get("a.jpg") == there


def test_what_was_removed_already_is_forgotten(places):
    assert pruning(places)(gone())


def test_what_is_there_after_all_keeps_its_output(places):
    places[0].put("a.png", b"")
    places[1].put("a.jpg", b"gray")
    assert not pruning(places)(gone())
    assert places[1].get("a.jpg") == b"gray"


@pytest.mark.parametrize("where", [0, 1])
def test_what_can_not_be_seen_or_removed_is_not_forgotten(places, where):
    def denied(key):
        raise Denied(key, "no permission")

    places[1].put("a.jpg", b"gray")
    places[where].stat = places[where].delete = denied
    prune = pruning(places)
    assert not prune(gone())
    assert prune.stuck == [("a.jpg", "no permission")]
    assert places[1].get("a.jpg") == b"gray"


def test_one_that_has_the_plan_no_more_removes_nothing(places):
    class Lost(Exception):
        pass

    def check():
        raise Lost

    places[1].put("a.jpg", b"gray")
    with pytest.raises(Lost):
        pruning(places, check)(gone())
    assert places[1].get("a.jpg") == b"gray"
