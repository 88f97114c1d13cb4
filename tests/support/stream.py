"""Events of a run that are told of in tests, and what a terminal then shows."""

import re
from types import SimpleNamespace

from batchgray import events
from batchgray.events import Reason

PLANNED = events.Planned(
    manifest="/out/manifest.json",
    out="/out",
    total=10,
    todo=8,
    done=2,
    done_bytes=2_000_000,
    done_pixels=24_000_000,
    todo_bytes=8_000_000,
    todo_bytes_by_kind={".png": 8_000_000},
    new=8,
    changed=1,
    missing=0,
    gone=0,
    ignored={},
    workers=2,
    resumed=False,
    notices=["signals"],
)
SUMMARY = events.Summary(
    state="interrupted",
    total=10,
    done=5,
    already_done=2,
    converted=3,
    failed=1,
    partial=1,
    pending=3,
    pixels=36_000_000,
    source_bytes=3_000_000,
    output_bytes=900_000,
    seconds=4.0,
    ignored={".txt": 2, ".mp4": 7},
    left_out=[],
    changed=1,
    missing=2,
    gone=0,
    newly_gone=[],
    pruned=0,
    notes={"b.gif": "the first of 3 frames or pages"},
    failures={"c.png": "truncated"},
    reasons=[Reason(error="truncated", count=1, sources=["c.png"])],
    manifest="/out/manifest.json",
    resume="batchgray resume /out/manifest.json",
    space_needed=None,
)
FAILED = events.Failed(source="c.png", output="c.jpg", error="truncated", source_bytes=1_000_000)
NOTICE = events.Notice(source="signal", event_id="SIGTERM", deadline=None, seconds=30.0, in_hand=2)
FLUSHED = events.Flushed(in_hand=2, finished=1, kept=1, put_back=0, failed=0, partial=1, pending=3, seconds=0.25)


def started(source="a.png", source_bytes=1_000_000, worker=1):
    return events.Started(source=source, source_bytes=source_bytes, output=f"{source}.jpg", worker=worker)


def done(source="a.png", source_bytes=1_000_000, pixels=12_000_000, seconds=0.5):
    return events.Done(
        source=source,
        output=f"{source}.jpg",
        source_bytes=source_bytes,
        output_bytes=300_000,
        width=pixels // 1000,
        height=1000,
        tiles_total=47,
        tiles_computed=47,
        decoded=True,
        seconds=seconds,
        note=None,
    )


def replaced(event, **changes):
    return type(event)(**{**{name: getattr(event, name) for name in event.__struct_fields__}, **changes})


class Clock(SimpleNamespace):
    """Set `now` to let time pass."""

    now = 1000.0

    def __call__(self):
        return self.now


def lines_on_screen(text):
    """What a terminal shows that never scrolls; it knows what is used here, and fails at anything else."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[\d;?]*[a-zA-Z]|[^\x1b\n\r]+|.", text, re.DOTALL):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[1A":
            row -= 1
            assert row >= 0, "above the first line"
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part != "\r" and not re.fullmatch(r"\x1b\[[\d;]*m", part):
            assert not part.startswith("\x1b"), part
            lines[row] += part
    assert not any(lines[row + 1 :]), "something is left below the cursor"
    return lines[: row + 1]
