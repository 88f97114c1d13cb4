"""Whose messages lie in a queue: counted by instance, with their ages, and what to do about them."""

import pytest

from batchgray.findings import Finding
from batchgray.notices.queue import Message
from batchgray.notices.queue_contents import findings_of
from batchgray.notices.spot_event import simulated

CONSOLE = "delete them at the SMQ console (the queue's Receive Message), or let its retention end them"


def message(instance: str, age: float, number: int = 1) -> Message:
    return Message(f"M{number}", simulated(instance, "cn-local").decode(), "", age)


def others(detail: str, remedy: str = "") -> Finding:
    return Finding(what="messages", verdict="note" if remedy else "fine", detail=detail, remedy=remedy)


@pytest.mark.parametrize("own", [None, "i-1"])
def test_an_empty_queue_has_none(own):
    assert list(findings_of([], own)) == [others("none for other instances")]


def test_messages_are_told_by_instance_with_the_age_of_the_oldest():
    page = [message("i-2", 30), message("i-3", 5), message("i-2", 70)]
    assert list(findings_of(page, "i-1")) == [
        others("2 for i-2 (the oldest 1 min 10 s old), 1 for i-3 (5 s old): a run leaves them alone")
    ]
    assert list(findings_of(page, None)) == list(findings_of(page, "i-1"))


def test_old_ones_and_what_is_no_event_are_told_with_what_to_do():
    strange = [Message("M8", '{"name": "Instance:StateChange"}', "", 700), Message("M9", "?", "", 9)]
    detail = "1 for i-2 (20 min old), 1 of another kind (11 min 40 s old), 1 that can't be read as an event (9 s old)"
    remedy = f"2 older than ten minutes, of machines that are gone or of rehearsals: {CONSOLE}"
    assert list(findings_of([message("i-2", 1200), *strange], "i-1")) == [others(detail, remedy)]


def test_a_full_page_may_hide_more_and_names_a_few():
    (finding,) = findings_of([message(f"i-{number}", 1) for number in range(10, 26)], "i-1")
    assert finding.detail.endswith(
        "1 for i-14 (1 s old), and for 11 more; 16 were looked at, and there may be more behind them: "
        "a run leaves them alone"
    )
    assert "i-15" not in finding.detail


def test_a_fresh_one_for_this_instance_would_interrupt_a_run_at_once():
    first, mine = findings_of([message("i-1", 240, 7)], "i-1")
    assert first == others("none for other instances")
    assert (mine.what, mine.verdict) == ("messages for this instance", "note")
    assert mine.detail == "1 for this instance, i-1 (4 min old): a run that begins now is interrupted at once"
    assert "delete message M7 at the SMQ console" in mine.remedy


def test_an_old_one_for_this_instance_is_over():
    _, mine = findings_of([message("i-1", 601, 7), message("i-1", 900, 8)], "i-1")
    assert mine.detail == "2 for this instance, i-1 (the oldest 15 min old)"
    assert mine.remedy == (
        "the instance has outlived it, and a run leaves it alone: delete message M7, M8 at the SMQ console"
    )
