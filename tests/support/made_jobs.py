"""Jobs that no machine worked on: plan, logs and tallies as if some had, in a place in memory."""

from collections.abc import Iterator, Sequence

from batchgray.manifest import job_head, tally
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import ImageChange, Interruption
from batchgray.manifest.share_log import ShareLog
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.options import PixelOptions
from batchgray.planning.shares import Input, Planner
from batchgray.storage.memory import MemoryPlace

SIDE = 100  # of every image


class Counted(MemoryPlace):
    """Tells what was asked of it."""

    def __init__(self) -> None:
        super().__init__("memory://gray")
        self.listed: list[tuple[str, str]] = []
        self.got: list[str] = []

    def list(self, prefix: str = "", after: str = "") -> Iterator:
        self.listed.append((prefix, after))
        return super().list(prefix, after)

    def get(self, key, version=None, start=0, end=None) -> bytes:
        self.got.append(key)
        return super().get(key, version, start, end)


class MadeJob:
    """A job of `images` images in shares of `share_images`."""

    def __init__(self, images: int, share_images: int = 2) -> None:
        self.place, source = Counted(), MemoryPlace()
        for number in range(images):
            source.put(f"{number:04}.png", b"x" * 10)
        self.head = job_head.begin(
            self.place,
            JobHead(
                job="abc",
                options=PixelOptions(),
                max_pixels=10**9,
                inputs=["memory://photos"],
                include=[],
                exclude=[],
            ),
        )
        inputs = [Input(source, "")]
        self.round = Round(self.head.prefix, 1)
        planner = Planner(self.place, self.round.prefix, inputs, "jpeg", lambda _: None, share_images)
        self.shares = list(planner.shares())

    def take(self, share: int, owner: str = "machine 1", done: Sequence[int] = (), failed: Sequence[int] = ()):
        """A machine takes a share, and tells of some of its images. Returns the log, open."""
        log = ShareLog(self.place, self.round.log(name(share)), owner, self.round.finished)
        log.catch_up()
        assert log.take()
        log.record([changed(index) for index in done])
        log.record([ImageChange(image=index, state="failed", error="bad") for index in failed])
        log.sync()
        return log

    def give_back(self, log: ShareLog) -> None:
        at = "2026-11-26T20:00:00Z"
        log.sync("free", Interruption(at=at, source="smq", event_id="e1", deadline=None))

    def finish(self, share: int, failed: Sequence[int] = (), tallied: bool = True) -> None:
        """A share is worked off."""
        indices = set(range(len(self.shares[share - 1].images))) - set(failed)
        self.take(share, done=sorted(indices), failed=failed).sync("done")
        if tallied:
            count = len(indices)
            self.tell_done(DoneTally(name(share), count, len(failed), count * SIDE**2, count * 10, count * 5, 0))

    def tell_done(self, figures: DoneTally) -> None:
        tally.put_done(self.place, self.round, figures)

    def tell_planned(self) -> None:
        for share in self.shares:
            size = sum(image.size for image in share.images)
            tally.put_planned(self.place, self.round, PlannedTally(name(share.number), len(share.images), size))


def name(share: int) -> str:
    return f"{share:08d}"


def changed(index: int) -> ImageChange:
    return ImageChange(
        image=index,
        state="done",
        width=SIDE,
        height=SIDE,
        tiles_done=1,
        tiles_total=1,
        output_size=5,
        checksum="xxh3-128:00",
    )
