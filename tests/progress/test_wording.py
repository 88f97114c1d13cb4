"""What people are told of each event."""

import pytest
from stream import FAILED, FLUSHED, NOTICE, PLANNED, SUMMARY, done, replaced, started

from batchgray import events, extras
from batchgray.events import Reason
from batchgray.progress.wording import lines_for, lines_for_image, lines_for_trouble
from batchgray.records import LeftOutKind


def test_a_run_begins_with_what_there_is_to_do():
    assert lines_for(PLANNED) == [
        "Converting 8 images (10 images, 2 done already, 1 changed since; 8.0 MB), 2 workers, to /out"
    ]


def test_a_resumed_run_says_so_and_one_worker_is_no_plural():
    going_on = replaced(PLANNED, resumed=True, workers=1, done=0, changed=0, missing=3)
    assert lines_for(going_on) == [
        "Going on with 8 images (10 images, 3 with their output missing; 8.0 MB), 1 worker, to /out"
    ]


def test_where_notices_come_from_is_told_where_it_is_not_signals_alone():
    assert lines_for(replaced(PLANNED, notices=["signals", "smq"]))[0].endswith("to /out; notices from signals, smq")


def test_nothing_to_do_is_said():
    assert lines_for(replaced(PLANNED, todo=0)) == ["10 images, nothing to do."]


def test_single_images_are_told_to_those_who_ask():
    seen = [started(), done("b/[1].png"), FAILED, events.Checkpoint(done=3, failed=1), events.WorkerEnded(worker=1)]
    assert [line for event in seen for line in lines_for(event)] == []
    assert [line for event in seen for line in lines_for_image(event)] == [
        "b/[1].png: 12000 x 1000, 1.0 MB -> 300 kB, 0.5 s",
        "c.png failed: truncated",
    ]
    assert lines_for_image(replaced(done(), note="the first of 3 frames"))[0].endswith(" 0.5 s (the first of 3 frames)")


def test_an_interruption_is_a_story():
    """Who gave notice, how long there is, what is being flushed, what was, and what to type next."""
    again = replaced(NOTICE, event_id="SIGINT", seconds=0.0, again=True)
    story = [line for event in (NOTICE, again, FLUSHED, SUMMARY) for line in lines_for(event)]
    assert story[:3] == [
        "Interrupted by SIGTERM: finishing or saving 2 images in hand, at most 30 s.",
        "Interrupted again by SIGINT: stopping at once; what is finished is kept.",
        "Everything is on disk after 0.25 s: of 2 images in hand 1 finished, 1 kept as partial, 0 put back to pending. "
        "Left: 1 partial, 3 pending.",
    ]
    assert story[-1] == "To go on: batchgray resume /out/manifest.json"


@pytest.mark.parametrize(
    ("notice", "words"),
    [
        ({"source": "disk", "event_id": None}, "The disk is full"),
        ({"source": "disk", "event_id": "Read-only"}, "The output can't be written (Read-only)"),
        (
            {"source": "smq", "deadline": "2026-11-22T18:05:00Z"},
            "This machine will be taken away at 2026-11-22T18:05:00Z (notice from smq)",
        ),
        ({"source": "metadata"}, "This machine will be taken away (notice from metadata)"),
    ],
)
def test_who_gave_notice(notice, words):
    assert lines_for(replaced(NOTICE, **notice)) == [f"{words}: finishing or saving 2 images in hand, at most 30 s."]


def test_a_notice_with_nothing_in_hand_promises_no_flush():
    assert lines_for(replaced(NOTICE, in_hand=0)) == ["Interrupted by SIGTERM: nothing is in hand, stopping."]


def test_a_first_notice_without_any_grace_is_not_told_as_a_second():
    assert "again" not in lines_for(replaced(NOTICE, seconds=0.0))[0]


def test_a_warning_is_told():
    assert lines_for(events.Warned(message="a worker died")) == ["warning: a worker died"]


def test_the_summary_tells_what_is_gone_and_what_was_pruned():
    gone = replaced(SUMMARY, gone=6, newly_gone=["a.png", "b\n.png", "c.png", "d.png"], pruned=1_000)
    lines = lines_for(gone)
    assert "1 failed, 6 gone. Manifest" in lines[1]
    assert lines[4:6] == [
        "Inputs that are gone since the last run: a.png, b\\n.png, c.png and 1 more. "
        "What was made of them stays; --prune removes it.",
        "Removed because the input is gone: 1,000.",
    ]
    planned = lines_for(replaced(PLANNED, gone=6))[0]
    assert "6 gone" in planned


def test_the_summary_tells_all_that_a_person_has_to_know():
    assert lines_for(SUMMARY) == [
        "Converted 3 images, 36 MP in 4.0 s (9.0 MP/s), 3.0 MB -> 900 kB.",
        "Done: 5 of 10 images (2 skipped, done before), 1 partial, 3 pending, 1 failed. Manifest: /out/manifest.json",
        "Taken up again because the input had changed: 1.",
        "Taken up again because the output was missing: 2.",
        "Left out, as files of these types are not read: 7 .mp4, 2 .txt.",
        "Notes:",
        "  b.gif: the first of 3 frames or pages",
        "Failed: 1 image",
        "  c.png: truncated",
        "To go on: batchgray resume /out/manifest.json",
    ]


def test_of_what_an_extra_would_read_the_summary_says_what_to_install(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "heif", ("no_such_module", ""))
    lines = lines_for(replaced(SUMMARY, ignored={".heic": 12, ".txt": 1}))
    at = lines.index("Left out, as files of these types are not read: 12 .heic, 1 .txt.")
    assert lines[at + 1] == "To convert them too: install batchgray[heif], which reads .heic; then run again."


def test_links_that_were_not_followed_are_named_with_the_way_to_follow_them():
    kinds = [
        LeftOutKind(kind=".txt", count=2, sources=["/in/a.txt", "/in/b.txt"]),
        LeftOutKind(kind="links to folders", count=1000, sources=["/in/one", "/in/t\nwo", "/in/3", "/in/four"]),
        LeftOutKind(kind="links back to a folder above", count=1, sources=["/in/loop"]),
    ]
    ignored = {kind.kind: kind.count for kind in kinds}
    lines = lines_for(replaced(SUMMARY, ignored=ignored, left_out=kinds))
    assert lines[4:7] == [
        "Left out, as files of these types are not read: 2 .txt.",
        "Left out: 1,000 links to folders: /in/one, /in/t\\nwo, /in/3 and 997 more. --follow-links walks into them.",
        "Left out: 1 links back to a folder above: /in/loop.",
    ]


def test_what_is_left_out_has_a_line_as_images_have():
    assert lines_for_image(events.LeftOut(source="/in/a\n.txt", kind=".txt")) == ["/in/a\\n.txt is not taken: .txt"]
    assert lines_for(events.LeftOut(source="/in/a.txt", kind=".txt")) == []


def test_a_note_that_many_images_have_is_told_once_and_hides_no_other():
    notes = {f"{number}.png": "transparency was dropped" for number in range(1000)} | {"z.gif": "the first of 2 frames"}
    lines = lines_for(replaced(SUMMARY, notes=notes))
    at = lines.index("Notes:")
    assert lines[at + 1 : at + 3] == [
        "  0.png, 1.png, 2.png and 997 more: transparency was dropped",
        "  z.gif: the first of 2 frames",
    ]
    assert lines[at + 3] == "Failed: 1 image"


_NOTHING = {"converted": 0, "pixels": 0, "source_bytes": 0, "output_bytes": 0}
_WELL = {"failed": 0, "partial": 0, "pending": 0, "failures": {}, "reasons": [], "resume": None}


def test_a_summary_of_a_run_with_nothing_to_do_says_no_more_than_that():
    quiet = {"done": 10, "already_done": 10, "ignored": {}, "changed": 0, "missing": 0, "notes": {}}
    assert lines_for(replaced(SUMMARY, **_NOTHING, **_WELL, **quiet)) == [
        "Done: 10 of 10 images (10 skipped, done before). Manifest: /out/manifest.json"
    ]


def test_a_run_that_came_to_nothing_tells_no_rate():
    assert lines_for(replaced(SUMMARY, **_NOTHING))[0] == "Converted nothing in 4.0 s."


def test_a_full_disk_is_told_with_what_it_lacks():
    assert "The disk is full: about 2.5 GB more are needed for what is left." in lines_for(
        replaced(SUMMARY, space_needed=2_500_000_000)
    )


def test_a_reason_that_many_images_share_is_told_once():
    many = [Reason(error="truncated", count=1200, sources=["a.png", "b\n.png", "c.png"])]
    lines = lines_for(replaced(SUMMARY, reasons=[*many, Reason(error="empty", count=2, sources=["d.gif", "e.gif"])]))
    at = lines.index("Failed: 1,202 images")
    assert lines[at + 1 : at + 3] == [
        "  a.png, b\\n.png, c.png and 1,197 more: truncated",
        "  d.gif, e.gif: empty",
    ]


def test_a_long_list_of_reasons_is_cut_and_counted():
    reasons = [Reason(error=f"reason {chr(97 + number)}", count=1, sources=[f"{number}.png"]) for number in range(25)]
    lines = lines_for(replaced(SUMMARY, reasons=reasons))
    assert "  19.png: reason t" in lines
    assert "  20.png: reason u" not in lines
    assert "  ... and 5 more, in the manifest" in lines


def test_quiet_is_told_what_is_not_as_it_should_be():
    well = replaced(SUMMARY, **_WELL, done=10)
    assert [lines_for_trouble(event) for event in (PLANNED, started(), done(), FAILED, well)] == [[]] * 5
    assert lines_for_trouble(SUMMARY) == [
        "Failed: 1 image",
        "  c.png: truncated",
        "To go on: batchgray resume /out/manifest.json",
    ]
    for event in (events.Warned(message="a worker died"), NOTICE, FLUSHED):
        assert lines_for_trouble(event) == lines_for(event) != []
