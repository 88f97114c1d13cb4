"""Runs over time, as a manifest has them: `run(second)`, `done(second)`, `interruption(second, of)`, `document`."""

from datetime import UTC, datetime

from batchgray.commands import sessions
from batchgray.manifest.records import Image, Interruption, Manifest, Run
from batchgray.options import PixelOptions

START = datetime(2026, 11, 22, 18, 0, 0, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
HOUR = 3600


def run(second, found=None):
    return Run(at=datetime.fromtimestamp(START.timestamp() + second, UTC), workers=2, found=found)


def done(second):
    at = None if second is None else START_MS + int(second * 1000)
    return Image(
        root=0, source="a.jpg", output="a.jpg", size=1, mtime_ns=1, state="done", width=1000, height=1000, done_at_ms=at
    )


def interruption(second, of):
    at = datetime.fromtimestamp(START.timestamp() + second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Interruption(at=at, source="signal", event_id="SIGTERM", deadline=None, run=of)


def document(runs, seconds, interruptions=(), state="complete"):
    return Manifest(
        run_id="default",
        state=state,
        options=PixelOptions(),
        max_pixels=1,
        output_root=".",
        input_roots=["/in"],
        runs=runs,
        interruptions=list(interruptions),
        images=[done(second) for second in seconds],
    )


def sessions_of(*arguments, running=False, now=10 * HOUR, **settings):
    return sessions.sessions(document(*arguments, **settings), running, START_MS + now * 1000)
